/**
 * `manifest.json` beside a database's levels: an index for people and tools, and a mark of the newest TXID.
 * It is rewritten on snapshots and compactions, and is the only object that is not create-only. The listing
 * overrules it, with one exception: a manifest that names a newer TXID than the listing has shows that
 * objects were deleted.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { manifestKey } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import { parseBoundedJson, readBounded } from "../contract/bounded-json.ts";
import { decodeMetadata } from "../contract/object-metadata.ts";
import type { ObjectStore } from "../contract/store.ts";
import { type LtxObject, newestObjectOrNull, readHeader, rememberedObjects } from "./catalog.ts";

/** The most snapshots in a manifest: it is rewritten often, and must not grow with the history. */
export const MANIFEST_SNAPSHOTS_MAX = 100;

/** Our manifests have at most 20 KB; older ones name all snapshots. */
const BOUNDS = { sizeMax: 4 << 20, depthMax: 8, valuesMax: 100_000 };
const TIME_LENGTH_MAX = 40;

/** The content of the manifest. */
export interface Manifest {
  readonly format: 1;
  readonly database: string;
  readonly pageSizeBytes: number;
  /** The newest TXID in the bucket when the manifest was written, its time and its chain value. */
  readonly latest: { readonly txid: Txid; readonly time: string; readonly chain: string };
  readonly writer: string;
  /** The number of all snapshots; absent in older manifests, which name all of them. */
  readonly snapshotCount?: number;
  /** The newest snapshots, oldest first. */
  readonly snapshots: readonly { readonly key: string; readonly txid: Txid; readonly sizeBytes: number }[];
  /** Objects and bytes by level. */
  readonly levels: Readonly<Record<string, { readonly objects: number; readonly bytes: number }>>;
}

/** The facts of a manifest that the listing does not have. */
export interface ManifestMark {
  readonly pageSizeBytes: number;
  readonly txid: Txid;
  readonly timeMs: number;
  readonly chain: string;
  readonly writer: string;
}

/** Builds a manifest from a listing. */
export function buildManifest(database: string, objects: readonly LtxObject[], mark: ManifestMark): Manifest {
  const levels: Record<string, { objects: number; bytes: number }> = {};
  for (const object of objects) {
    const level = (levels[object.level] ??= { objects: 0, bytes: 0 });
    level.objects++;
    level.bytes += object.sizeBytes;
  }
  const snapshots = objects
    .filter((object) => object.minTxid === 1)
    .sort((a, b) => a.maxTxid - b.maxTxid)
    .map(({ key, maxTxid, sizeBytes }) => ({ key, txid: maxTxid, sizeBytes }));
  const snapshotCount = snapshots.length;
  const latest = { txid: mark.txid, time: new Date(mark.timeMs).toISOString(), chain: mark.chain };
  const { pageSizeBytes, writer } = mark;
  const named = snapshots.slice(-MANIFEST_SNAPSHOTS_MAX);
  return { format: 1, database, pageSizeBytes, latest, writer, snapshotCount, snapshots: named, levels };
}

/** Writes the manifest, in place of the last one. */
export async function writeManifest(
  store: ObjectStore,
  manifest: Manifest,
  signal?: AbortSignal,
): Promise<void> {
  const bytes = new TextEncoder().encode(`${JSON.stringify(manifest, null, 2)}\n`);
  await store.put(
    manifestKey(manifest.database),
    { kind: "bytes", bytes },
    { contentType: "application/json", signal },
  );
}

/**
 * Writes the manifest anew from the objects alone, without local state.
 * @returns null when it is written, else the reason why not: the newest object needs a chain value and a
 * writer
 * @throws WalrustError with a storage code, or "corrupt" or "integrity" when the newest object is damaged
 */
export async function rebuildManifest(
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<string | null> {
  const objects = await rememberedObjects(store, database, signal);
  const newest = newestObjectOrNull(objects);
  if (newest === null) return "the database has no objects";
  const { timestampMs: timeMs, pageSizeBytes } = await readHeader(store, newest.key, signal);
  const head = await store.head(newest.key, { signal });
  const { chain, writer } = decodeMetadata(newest.key, head.metadata);
  if (chain === null || writer === null) return `walrust did not write ${newest.key}`;
  const mark = { pageSizeBytes, txid: newest.maxTxid, timeMs, chain, writer };
  await writeManifest(store, buildManifest(database, objects, mark));
  return null;
}

/** The result of reading a manifest. */
export type ManifestReading =
  | { readonly kind: "manifest"; readonly manifest: Manifest }
  | { readonly kind: "none" }
  | { readonly kind: "unreadable"; readonly reason: string };

/** Reads the manifest of a database, within bounds. @throws WalrustError with a storage code only */
export async function readManifest(
  store: ObjectStore,
  database: string,
  signal?: AbortSignal,
): Promise<ManifestReading> {
  try {
    const body = await store.get(manifestKey(database), { signal });
    const bytes = await readBounded(body, BOUNDS.sizeMax);
    return { kind: "manifest", manifest: parseManifest(parseBoundedJson(bytes, BOUNDS)) };
  } catch (error) {
    if (hasCode(error, "not-found")) return { kind: "none" };
    const isContent = error instanceof SyntaxError || hasCode(error, "integrity");
    if (!isContent) throw error;
    return { kind: "unreadable", reason: error.message };
  }
}

/**
 * The database that a manifest names, if that is another one than the folder it lies in; else null. The
 * folder was renamed, copied, or exchanged for that of another database. One name may be the end of the
 * other: what one command gives as the prefix of the destination, another gives as part of the name.
 */
export function otherNameOrNull({ database }: Manifest, folder: string): string | null {
  if (typeof database !== "string" || database === folder) return null;
  return `/${database}`.endsWith(`/${folder}`) || `/${folder}`.endsWith(`/${database}`) ? null : database;
}

function parseManifest(value: unknown): Manifest {
  const manifest = value as Manifest;
  const latest = manifest?.latest;
  if (manifest?.format !== 1) throw new WalrustError("integrity", "its format is not 1");
  if (!Number.isSafeInteger(latest?.txid) || latest.txid < 1) {
    throw new WalrustError("integrity", "its latest TXID is malformed");
  }
  if (typeof latest.time !== "string" || latest.time.length > TIME_LENGTH_MAX) {
    throw new WalrustError("integrity", "its latest time is malformed");
  }
  return manifest;
}
