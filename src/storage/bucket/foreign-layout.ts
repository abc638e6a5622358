/**
 * Recognizes backups of other programs and formats where a database's objects should be, so that no verb
 * reports "there is no backup" where there is one, and nothing of ours is written into a foreign backup. Runs
 * only when our own listing is empty or contradicts itself; costs a listing of at most 1,000 keys, and a read
 * of the first bytes of a few objects.
 *
 *   format           written by                          keys below the database's name
 *   hadbp            walrust for Rust, library of 0.7    0000/<seq>.hadbp, 0001/<seq>.hadbp (snapshots),
 *                                                        levels/L1/<min>-<max>.hadbp, state.json
 *   ltx-generations  walrust for Rust, program to 0.7    0000/<min>-<max>.ltx; 0001/1-<max>.ltx, 0002/... (a
 *                                                        snapshot each); levels/L1/<min>-<max>.ltx (HADBP)
 *   ltx-flat         walrust for Rust, early 0.x         <min>-<max>.ltx of 8 decimal digits, manifest.json
 *   walsync          walrust for Rust, its first name    snapshots/<14 digits>.db, wal/<8>-<17 digits>.wal,
 *                                                        state.json
 *   litestream-0.3   Litestream before 0.5               generations/<16 hex>/snapshots/<8 hex>.snapshot.lz4,
 *                                                        generations/<16 hex>/wal/<8 hex>_<8 hex>.wal.lz4
 *   other-layout     walrust or Litestream 0.5           keys of a bucket in a folder, or the reverse: a
 *                                                        backup that was copied
 *
 * Numbers are 16 hexadecimal digits unless the table says otherwise. Keys of ltx-generations have the form of
 * ours, so the content decides. An object is foreign if and only if its key has a form above and
 *   1. hadbp, or anything below levels/: it begins with "HADBP",
 *   2. ltx-*: it begins with "LTX1", header flag bit 0 (LZ4) is set and an LZ4 frame begins at byte 100, in
 *      place of a page header. walrust and Litestream set only bit 1, and one damaged bit is not enough,
 *   3. walsync: a state.json or a WAL segment lies beside it; a snapshot begins with SQLite's magic,
 *   4. litestream-0.3: it begins with an LZ4 frame,
 *   5. other-layout: its LTX header is valid.
 * Sources: russellromney/walrust (src/sync/manifest.rs, crates/walrust-core/src/compaction/layout.rs, the
 * keys under tests/fixtures/format-stability), russellromney/walsync (src/sync.rs), objects of the crate
 * litepages 0.1.0, Litestream 0.5.18 (v3.go).
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../format/ltx.ts";
import type { ObjectStore } from "../contract/store.ts";
import type { LtxObject } from "./catalog.ts";

/** The stable name of a foreign layout. */
export type ForeignFormat = keyof typeof TITLES;

/** A foreign backup. */
export interface ForeignLayout {
  readonly format: ForeignFormat;
  /** The database in the backup; empty for a backup at the root of the destination. */
  readonly database: string;
  /** The key of one of its objects. */
  readonly key: string;
  /** The kind of backup, e.g. `a backup of the Rust walrust (HADBP)`. */
  readonly title: string;
  /** How to restore or convert the backup. */
  readonly hint: string;
}

const TITLES = {
  hadbp: "a backup of the Rust walrust (HADBP)",
  "ltx-generations": "a backup of the Rust walrust (LTX by generation)",
  "ltx-flat": "a backup of the Rust walrust (flat LTX files)",
  walsync: "a backup of walsync, the first Rust walrust",
  "litestream-0.3": "a backup of Litestream 0.3 (generations)",
  "other-layout": "a copied backup whose folders have the names of another kind of destination",
} as const;

const RESTORE_WITH_ITS_VERSION =
  "Restore it with the version that wrote it, then watch the restored database with a new prefix";

const HINTS: Readonly<Record<ForeignFormat, string>> = {
  hadbp: RESTORE_WITH_ITS_VERSION,
  "ltx-generations": RESTORE_WITH_ITS_VERSION,
  "ltx-flat": RESTORE_WITH_ITS_VERSION,
  walsync: RESTORE_WITH_ITS_VERSION,
  "litestream-0.3":
    "Restore it with `litestream restore` (0.5 still reads it), then watch the restored database",
  "other-layout":
    "In a folder the levels are ltx/0 to ltx/9, in a bucket 0000 to 0009: copy them under those names",
};

const KEYS_MAX = 1000;
/** The most databases in a search over all. */
const DATABASES_MAX = 20;
/** The most objects of one form of key that are read. */
const READS_MAX = 3;
/** An LTX header, and a magic number after it. */
const HEAD_BYTES = LTX_HEADER_SIZE + 4;

const LZ4_FRAME_MAGIC = "\x04\x22\x4d\x18";
const FLAG_LZ4 = 1;

/** A form of key, whose first group is the database's name, and the format of an object with such a key. */
interface KeyForm {
  readonly pattern: RegExp;
  readonly formatOrNull: (head: Uint8Array, scan: Scan, database: string) => ForeignFormat | null;
}

/** A store, and the first keys below a prefix of it. */
interface Scan {
  readonly store: ObjectStore;
  readonly keys: ReadonlySet<string>;
}

const HEX16 = "[0-9a-f]{16}";
const RANGE = `${HEX16}-${HEX16}`;

const KEY_FORMS: readonly KeyForm[] = [
  {
    pattern: form(`(?:[0-9a-f]{4}/${HEX16}(?:-${HEX16})?|levels/L[0-9]/${RANGE})\\.hadbp`),
    formatOrNull: (head) => (beginsWith(head, 0, "HADBP") ? "hadbp" : null),
  },
  {
    pattern: form(`levels/L[0-9]/${RANGE}\\.ltx`),
    formatOrNull: (head) => (beginsWith(head, 0, "HADBP") ? "ltx-generations" : null),
  },
  {
    pattern: form(`[0-9a-f]{4}/${RANGE}\\.ltx`),
    formatOrNull: (head, { store }) => {
      if (isRustLtx(head)) return "ltx-generations";
      return store.layout === "file" && isOurLtx(head) ? "other-layout" : null;
    },
  },
  {
    pattern: form(`ltx/[0-9]/${RANGE}\\.ltx`),
    formatOrNull: (head, { store }) => (store.layout === "s3" && isOurLtx(head) ? "other-layout" : null),
  },
  {
    pattern: form("[0-9]{8,}(?:-[0-9]{8,})?\\.ltx"),
    formatOrNull: (head) => (isRustLtx(head) ? "ltx-flat" : null),
  },
  { pattern: form("wal/[0-9]{8}-[0-9]{17}\\.wal"), formatOrNull: () => "walsync" },
  {
    pattern: form("snapshots/[0-9]{14}\\.db"),
    // A person may keep dated copies in a folder of this name.
    formatOrNull: (head, { keys }, database) =>
      beginsWith(head, 0, "SQLite format 3\0") && keys.has(`${prefixOf(database)}state.json`)
        ? "walsync"
        : null,
  },
  {
    pattern: form(
      `generations/${HEX16}/(?:snapshots/[0-9a-f]{8}\\.snapshot|wal/[0-9a-f]{8}_[0-9a-f]{8,16}\\.wal)\\.lz4`,
    ),
    formatOrNull: (head) => (beginsWith(head, 0, LZ4_FRAME_MAGIC) ? "litestream-0.3" : null),
  },
];

/**
 * The foreign backup under a database's name, or null.
 * @throws WalrustError with a storage code; a missing bucket or folder counts as empty
 */
export async function detectForeignLayoutOrNull(
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<ForeignLayout | null> {
  const [found = null] = await scanForForeign(store, database, signal);
  return found;
}

/**
 * The foreign backups below the destination, one a database, among the first 1,000 keys. @throws WalrustError
 * with a storage code
 */
export async function findForeignDatabases(
  store: ObjectStore,
  signal?: AbortSignal,
): Promise<ForeignLayout[]> {
  return scanForForeign(store, null, signal);
}

/** Whether a listing may be that of a foreign backup: ours have a snapshot. */
export function isDoubtful(objects: readonly LtxObject[]): boolean {
  return !objects.some(({ level }) => level === SNAPSHOT_LEVEL);
}

/** The error about a foreign backup. A verb over all databases reports it and goes on. */
export class ForeignLayoutError extends WalrustError {
  readonly layout: ForeignLayout;

  constructor(store: ObjectStore, layout: ForeignLayout) {
    const { database, title, key, format, hint } = layout;
    const where = database === "" ? store.url : `${JSON.stringify(database)} in ${store.url}`;
    super("restore", `${where} is ${title}, which walrust cannot read: ${key}`, {
      hint,
      context: { database, format, key },
    });
    this.name = "ForeignLayoutError";
    this.layout = layout;
  }
}

/** @throws ForeignLayoutError when the backup under a database's name is foreign, or a storage code */
export async function assertNotForeign(
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<void> {
  const layout = await detectForeignLayoutOrNull(store, database, signal);
  if (layout !== null) throw new ForeignLayoutError(store, layout);
}

/**
 * Replaces an error about a database's objects by a ForeignLayoutError if the objects are foreign. Returns
 * any other error unchanged.
 */
export async function foreignErrorOr(
  error: unknown,
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<unknown> {
  const isAboutObjects = ["restore", "integrity", "corrupt"].some((code) =>
    hasCode(error, code as "restore"),
  );
  if (!isAboutObjects || signal?.aborted) return error;
  try {
    const layout = await detectForeignLayoutOrNull(store, database, signal);
    return layout === null ? error : new ForeignLayoutError(store, layout);
  } catch {
    // The first error is the one to report.
    return error;
  }
}

/** @param only a single database; null: all */
async function scanForForeign(
  store: ObjectStore,
  only: string | null,
  signal: AbortSignal | undefined,
): Promise<ForeignLayout[]> {
  const scan = { store, keys: await firstKeys(store, prefixOf(only ?? ""), signal) };
  const found = new Map<string, ForeignLayout>();
  const reads = new Map<string, number>();
  for (const key of scan.keys) {
    const parsed = parseKeyOrNull(key);
    if (parsed === null || (only !== null && parsed.database !== only)) continue;
    const { database, keyForm } = parsed;
    const readKey = `${KEY_FORMS.indexOf(keyForm)} ${database}`;
    const readCount = reads.get(readKey) ?? 0;
    if (found.has(database) || found.size === DATABASES_MAX || readCount === READS_MAX) continue;
    reads.set(readKey, readCount + 1);
    const format = keyForm.formatOrNull(await readHead(store, key, signal), scan, database);
    if (format === null) continue;
    found.set(database, { format, database, key, title: TITLES[format], hint: HINTS[format] });
  }
  return [...found.values()];
}

function parseKeyOrNull(key: string): { database: string; keyForm: KeyForm } | null {
  for (const keyForm of KEY_FORMS) {
    const match = keyForm.pattern.exec(key);
    if (match !== null) return { database: match[1] ?? "", keyForm };
  }
  return null;
}

async function firstKeys(
  store: ObjectStore,
  prefix: string,
  signal: AbortSignal | undefined,
): Promise<Set<string>> {
  const keys = new Set<string>();
  const options = { limit: KEYS_MAX, signal };
  try {
    for await (const { key } of store.list(prefix, options)) {
      keys.add(key);
      if (keys.size >= KEYS_MAX) break;
    }
  } catch (error) {
    if (!hasCode(error, "missing-bucket")) throw error;
  }
  return keys;
}

/** The first bytes of an object; none if the object is gone. */
async function readHead(
  store: ObjectStore,
  key: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  try {
    const range = { offset: 0, length: HEAD_BYTES };
    const body = await store.get(key, { range, signal });
    return await body.bytes();
  } catch (error) {
    if (hasCode(error, "not-found")) return new Uint8Array();
    throw error;
  }
}

/** Whether an object is of the crate litepages: LTX of an early version, all pages in one LZ4 frame. */
function isRustLtx(head: Uint8Array): boolean {
  return (
    beginsWith(head, 0, "LTX1") &&
    (head[7]! & FLAG_LZ4) !== 0 &&
    beginsWith(head, LTX_HEADER_SIZE, LZ4_FRAME_MAGIC)
  );
}

function isOurLtx(head: Uint8Array): boolean {
  try {
    decodeLtxHeader(head);
    return true;
  } catch (error) {
    if (hasCode(error, "corrupt")) return false;
    throw error;
  }
}

function beginsWith(bytes: Uint8Array, offset: number, magic: string): boolean {
  if (bytes.length < offset + magic.length) return false;
  return [...magic].every((char, index) => bytes[offset + index] === char.charCodeAt(0));
}

function prefixOf(database: string): string {
  return database === "" ? "" : `${database}/`;
}

function form(rest: string): RegExp {
  return new RegExp(`^(?:(.+)/)?${rest}$`, "s");
}
