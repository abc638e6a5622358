/**
 * Lists a database, and checks the listing: a snapshot to begin with, gaps in the history after it, keys that
 * belong to no object, and the manifest.
 *
 * From the oldest snapshot on, an increment or compaction must hold every TXID. A later snapshot does not
 * bridge a gap, because the points inside the gap are lost. Objects that end at or before the oldest snapshot
 * are leftovers of an interrupted retention. Superseded objects of lower levels are deleted; that is no gap.
 */
import { parseObjectKey, SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { LEVELS, type LtxObject, listedTwice } from "../../storage/bucket/catalog.ts";
import type { ManifestReading } from "../../storage/bucket/manifest.ts";
import type { Leftover, ObjectInfo, ObjectStore } from "../../storage/contract/store.ts";
import type { Findings } from "./verify-report.ts";

/** Younger files may belong to a running put. */
const LEFTOVER_AGE_MIN_MS = 3_600_000;
/** The manifest is rewritten after an upload: for this long a snapshot may be missing from it. */
const MANIFEST_DELAY_MAX_MS = 300_000;
/** The most unknown keys of one database that are kept. */
const UNKNOWN_MAX = 2000;

/** All keys below the levels of a database. */
export interface Listing {
  readonly objects: readonly LtxObject[];
  readonly unknown: readonly ObjectInfo[];
  readonly leftovers: readonly Leftover[];
}

/**
 * Lists a database, snapshots first and increments last. A running watch deletes superseded objects in that
 * order, so the listing never lacks the sources of a snapshot or compaction that it shows.
 * @throws WalrustError code "integrity" when the store names a key twice, or a storage code
 */
export async function takeListing(
  store: ObjectStore,
  database: string,
  signal: AbortSignal | undefined,
): Promise<Listing> {
  const options = signal === undefined ? {} : { signal };
  const base = `${database}/${store.layout === "file" ? "ltx/" : ""}`;
  const pattern = store.layout === "file" ? /^[0-9]$/ : /^000[0-9]$/;
  const folders = (await store.listFolders(base, options)).filter((folder) => pattern.test(folder));
  const objects: LtxObject[] = [];
  const unknown: ObjectInfo[] = [];
  for (const folder of [...new Set(folders)].sort().reverse()) {
    let last = "";
    for await (const info of store.list(`${base}${folder}/`, options)) {
      if (info.key === last) throw listedTwice(store, last);
      last = info.key;
      const object = objectOrNull(store, database, info);
      if (object !== null) objects.push(object);
      else if (isStray(`${base}${folder}/`, info.key) && unknown.length < UNKNOWN_MAX) unknown.push(info);
    }
  }
  const leftovers: Leftover[] = [];
  const levelFolders = LEVELS.map((level) => `${base}${store.layout === "file" ? level : `000${level}`}/`);
  for (const folder of new Set([`${database}/`, base, ...levelFolders])) {
    leftovers.push(...((await store.leftovers?.(folder)) ?? []));
  }
  return { objects, unknown, leftovers };
}

/**
 * Whether a key that is no object lies directly in a level folder. A deeper key, or a manifest, belongs to
 * another database, whose name may look like a level.
 */
function isStray(folder: string, key: string): boolean {
  const name = key.slice(folder.length);
  return !name.includes("/") && name !== "manifest.json";
}

function objectOrNull(store: ObjectStore, database: string, info: ObjectInfo): LtxObject | null {
  const parsed = parseObjectKey(store.layout, info.key);
  const isRead = parsed !== null && (LEVELS as readonly number[]).includes(parsed.level);
  if (!isRead || parsed.database !== database) return null;
  const { level, minTxid, maxTxid } = parsed;
  return { ...info, level, minTxid, maxTxid };
}

/**
 * The snapshot that the restorable history begins with, or null. Level 9 is preferred: Litestream's retention
 * keeps the last object of every level, and such an object may hold the whole database before a gap.
 */
export function oldestBaseOrNull(objects: readonly LtxObject[]): LtxObject | null {
  let oldest: LtxObject | null = null;
  for (const object of objects) {
    if (object.minTxid !== 1) continue;
    const isSnapshot = object.level === SNAPSHOT_LEVEL;
    const wasSnapshot = oldest?.level === SNAPSHOT_LEVEL;
    const isOlder = oldest === null || object.maxTxid < oldest.maxTxid;
    if (isSnapshot === wasSnapshot ? isOlder : isSnapshot) oldest = object;
  }
  return oldest;
}

/**
 * Finds a missing snapshot, and every gap between the oldest snapshot and the last increment.
 * @returns the last TXID of the increments and compactions, or the TXID of the oldest snapshot
 */
export function checkCoverage(objects: readonly LtxObject[], findings: Findings): number {
  const base = oldestBaseOrNull(objects);
  const increments = objects
    .filter((object) => object.level !== SNAPSHOT_LEVEL)
    .sort((a, b) => a.minTxid - b.minTxid);
  if (base === null) {
    const first = increments[0];
    const what = first === undefined ? "there are no objects" : `the history begins at TXID ${first.minTxid}`;
    findings.add("missing-snapshot", null, null, `there is no snapshot to begin a restore with: ${what}`);
  }
  let reached: number = base === null ? (increments[0]?.minTxid ?? 1) - 1 : base.maxTxid;
  for (const { key, minTxid, maxTxid } of increments) {
    if (minTxid > reached + 1) findings.add("gap", key, reached + 1, gapText(reached + 1, minTxid - 1));
    if (maxTxid > reached) reached = maxTxid;
  }
  return reached;
}

/**
 * Finds increments that are missing before a newer snapshot. Walrust uploads a snapshot after its increments;
 * Litestream may upload it before them, so its snapshots are no evidence.
 */
export function checkEnd(reachedTxid: number, newestOursTxid: number, findings: Findings): void {
  if (newestOursTxid <= reachedTxid) return;
  const message = `${gapText(reachedTxid + 1, newestOursTxid)}, although a newer snapshot exists`;
  findings.add("gap", null, reachedTxid + 1, message);
}

function gapText(firstTxid: number, lastTxid: number): string {
  if (firstTxid === lastTxid) return `no object holds TXID ${firstTxid}`;
  return `no object holds TXID ${firstTxid} to ${lastTxid}`;
}

/** Finds files that belong to no object, and keys that no restore reads. */
export function checkStrays(listing: Listing, nowMs: number, findings: Findings): void {
  for (const { key, kind, changedMs } of listing.leftovers) {
    if (kind === "stranger") {
      findings.add("special-file", key, null, "is neither a file nor a folder: it is passed over");
    }
    if (kind === "stranger" || nowMs - changedMs < LEFTOVER_AGE_MIN_MS) continue;
    if (kind === "sidecar") findings.add("orphan-sidecar", key, null, "metadata without an object");
    else findings.add("temporary-file", key, null, "left behind by an unfinished upload");
  }
  for (const { key, modifiedMs } of listing.unknown) {
    if (!key.endsWith(".tmp")) {
      findings.add("unknown-key", key, null, "not an object that a restore reads; it is left alone");
    } else if (nowMs - modifiedMs >= LEFTOVER_AGE_MIN_MS) {
      findings.add("temporary-file", key, null, "left behind by an unfinished upload");
    }
  }
}

/** Compares the manifest with the listing. @param hasOurs whether walrust wrote an object of the listing */
export function checkManifest(
  key: string,
  reading: ManifestReading,
  objects: readonly LtxObject[],
  hasOurs: boolean,
  nowMs: number,
  findings: Findings,
): void {
  const settled = objects.filter((object) => nowMs - object.modifiedMs >= MANIFEST_DELAY_MAX_MS);
  if (reading.kind === "unreadable") {
    return findings.add("manifest-unreadable", key, null, `the manifest cannot be read: ${reading.reason}`);
  }
  if (reading.kind === "none") {
    const isExpected = hasOurs && settled.some((object) => object.minTxid === 1);
    if (isExpected) findings.add("manifest-missing", key, null, "there is no manifest");
    return;
  }
  const { latest, snapshots, snapshotCount } = reading.manifest;
  const newest = objects.reduce<number>((max, object) => Math.max(max, object.maxTxid), 0);
  if (latest.txid > newest) {
    const text = `the manifest names TXID ${latest.txid} of ${latest.time}, the newest object is ${newest}`;
    return findings.add("manifest-ahead", key, latest.txid, `${text}: objects were deleted`);
  }
  const named: ReadonlyMap<string, number> | null = Array.isArray(snapshots)
    ? new Map(snapshots.map((snapshot) => [snapshot?.key, snapshot?.sizeBytes]))
    : null;
  if (named === null) {
    return findings.add(
      "manifest-unreadable",
      key,
      null,
      "the manifest cannot be read: it lists no snapshots",
    );
  }
  const sizes = new Map(objects.map((object) => [object.key, object.sizeBytes]));
  for (const [snapshotKey, sizeBytes] of named) {
    if (sizes.get(snapshotKey) === sizeBytes) continue;
    const what = sizes.has(snapshotKey) ? "with another size" : "which is gone";
    findings.add("manifest-stale", key, null, `the manifest names ${snapshotKey}, ${what}`);
  }
  // A manifest names only the newest snapshots of many, and counts all.
  const isShortened = named.size > 0 && (snapshotCount ?? 0) > named.size;
  let oldestNamedTxid = isShortened ? Number.POSITIVE_INFINITY : 0;
  let newestNamedTxid = 0;
  for (const snapshot of snapshots) {
    oldestNamedTxid = Math.min(oldestNamedTxid, snapshot?.txid);
    newestNamedTxid = Math.max(newestNamedTxid, snapshot?.txid);
  }
  const counted = objects.filter(
    ({ minTxid, maxTxid }) => minTxid === 1 && maxTxid <= newestNamedTxid,
  ).length;
  if (isShortened && counted < snapshotCount!) {
    const text = `the manifest counts ${snapshotCount} snapshots, there are ${counted}`;
    findings.add("manifest-stale", key, null, text);
  }
  for (const object of settled) {
    if (object.level !== SNAPSHOT_LEVEL || named.has(object.key)) continue;
    if (object.maxTxid < oldestNamedTxid) continue;
    findings.add("manifest-stale", key, object.maxTxid, `the manifest does not name ${object.key}`);
  }
}
