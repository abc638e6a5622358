/**
 * Backups that are not ours where a database's objects should be: told apart, so that nobody reads "there is
 * no backup" where there is one, and nothing of ours is written into somebody else's. Asked only when our own
 * listing is empty or makes no sense: a listing of at most 1,000 keys and a look at a few objects' first
 * bytes.
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
 *   other-layout     walrust or Litestream 0.5           ours, but as in a bucket while this is a folder, or
 *                                                        the reverse: somebody copied it
 *
 * Numbers are 16 hexadecimal digits where nothing else is said. The keys of ltx-generations are also ours: it
 * is told by the content. An object is taken for foreign if and only if its key has the form above and
 *   1. hadbp, or anything below levels/: it begins with "HADBP",
 *   2. ltx-*: it begins with "LTX1", header flag bit 0 (LZ4) is set and an LZ4 frame begins at byte 100, in
 *      place of a page header. We and Litestream set only bit 1; one damaged bit does not make it foreign,
 *   3. walsync: there is a state.json or a WAL segment beside it; a snapshot begins with SQLite's magic,
 *   4. litestream-0.3: it begins with an LZ4 frame,
 *   5. other-layout: its LTX header is valid.
 * Sources: russellromney/walrust (src/sync/manifest.rs, crates/walrust-core/src/compaction/layout.rs, the
 * keys under tests/fixtures/format-stability), russellromney/walsync (src/sync.rs), what the crate litepages
 * 0.1.0 writes, Litestream 0.5.18 (v3.go).
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../format/ltx.ts";
import type { ObjectStore } from "../contract/store.ts";
import type { LtxObject } from "./catalog.ts";

/** The stable name of a layout that is not ours. */
export type ForeignFormat = keyof typeof TITLES;

/** A backup that is not ours. */
export interface ForeignLayout {
  readonly format: ForeignFormat;
  /** The database it is of; empty when it lies at the root of the destination. */
  readonly database: string;
  /** One object that shows it. */
  readonly key: string;
  /** What it is, e.g. `a backup of the Rust walrust (HADBP)`. */
  readonly title: string;
  /** What to do about it. */
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
    "In a folder the levels are ltx/0 to ltx/9, in a bucket 0000 to 0009: rename or copy them so",
};

const KEYS_MAX = 1000;
/** Databases that are named when all are asked for. */
const DATABASES_MAX = 20;
/** Objects of one kind of key that are looked into. */
const LOOKS_MAX = 3;
/** Header, and the magic of what follows it. */
const HEAD_BYTES = LTX_HEADER_SIZE + 4;

const LZ4_FRAME_MAGIC = "\x04\x22\x4d\x18";
const FLAG_LZ4 = 1;

/** A form of key, with the database's name as its first group, and what an object with it turns out to be. */
interface KeyForm {
  readonly pattern: RegExp;
  readonly formatOrNull: (head: Uint8Array, scan: Scan, database: string) => ForeignFormat | null;
}

/** The keys below a prefix. */
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
    // Anybody may keep dated copies in a folder of this name.
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
 * Which backup that is not ours lies under a database's name, or null.
 * @throws WalrustError with a storage code; a missing bucket or folder holds nothing
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
 * Backups that are not ours anywhere below the destination, one a database, as far as the first 1,000 keys
 * tell. @throws WalrustError with a storage code
 */
export async function findForeignDatabases(
  store: ObjectStore,
  signal?: AbortSignal,
): Promise<ForeignLayout[]> {
  return scanForForeign(store, null, signal);
}

/** Whether a listing may be somebody else's: it is empty, or lacks the snapshot that ours begin with. */
export function isDoubtful(objects: readonly LtxObject[]): boolean {
  return !objects.some(({ level }) => level === SNAPSHOT_LEVEL);
}

/** A backup cannot be read, for it is not ours. Whoever goes through all databases leaves it out. */
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

/** @throws ForeignLayoutError when what lies under a database's name is not ours, or a storage code */
export async function assertNotForeign(
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<void> {
  const layout = await detectForeignLayoutOrNull(store, database, signal);
  if (layout !== null) throw new ForeignLayoutError(store, layout);
}

/**
 * What an error about a database's objects really means: that they are not ours, where that is so. Any other
 * error comes back as it is.
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
    // The first error is the one to tell.
    return error;
  }
}

/** @param only the database that is asked for; null: all of them */
async function scanForForeign(
  store: ObjectStore,
  only: string | null,
  signal: AbortSignal | undefined,
): Promise<ForeignLayout[]> {
  const scan = { store, keys: await firstKeys(store, prefixOf(only ?? ""), signal) };
  const found = new Map<string, ForeignLayout>();
  const looks = new Map<string, number>();
  for (const key of scan.keys) {
    const parsed = parseKeyOrNull(key);
    if (parsed === null || (only !== null && parsed.database !== only)) continue;
    const { database, keyForm } = parsed;
    const look = `${KEY_FORMS.indexOf(keyForm)} ${database}`;
    const lookCount = looks.get(look) ?? 0;
    if (found.has(database) || found.size === DATABASES_MAX || lookCount === LOOKS_MAX) continue;
    looks.set(look, lookCount + 1);
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
  const options = { limit: KEYS_MAX, ...(signal === undefined ? {} : { signal }) };
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

/** The first bytes of an object; none when it is gone by now. */
async function readHead(
  store: ObjectStore,
  key: string,
  signal: AbortSignal | undefined,
): Promise<Uint8Array> {
  try {
    const range = { offset: 0, length: HEAD_BYTES };
    const body = await store.get(key, { range, ...(signal === undefined ? {} : { signal }) });
    return await body.bytes();
  } catch (error) {
    if (hasCode(error, "not-found")) return new Uint8Array();
    throw error;
  }
}

/** What the crate litepages writes: LTX of an early version, all pages in one LZ4 frame. */
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
