/**
 * Adopts the history that the bucket holds, or begins one, when no local state can be continued. The bucket's
 * newest object becomes the predecessor of a full anchor, which holds all that was captured and not uploaded.
 *
 * HEADER
 */
import { rmSync } from "node:fs";
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex } from "../../format/chain.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { FLAG_NO_CHECKSUM } from "../../format/ltx.ts";
import { NO_CHECKSUM, TXID_MAX } from "../../format/types.ts";
import { clearSpool } from "../../local/spool.ts";
import { readState } from "../../local/state.ts";
import {
  type LtxObject,
  listObjects,
  newestObjectOrNull,
  readHeader,
  readTrailer,
} from "../../storage/bucket/catalog.ts";
import { detectForeignLayoutOrNull, type ForeignLayout } from "../../storage/bucket/foreign-layout.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { Predecessor } from "../capture/anchor.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import { writerText } from "../upload/foreign-writer.ts";

/** The attached database and what has to happen next. */
export interface Attached {
  readonly live: LiveDatabase;
  /** Null: continue with captures. Otherwise: anchor, after this predecessor, for this reason. */
  readonly anchor: { readonly before: Predecessor; readonly reason: string } | null;
  /** Whether a snapshot is needed because the bucket lost what the state counts on. */
  readonly needsSnapshot: boolean;
}

/** Why there is nothing to continue from where nothing is wrong. */
export const NO_STATE = "there is no local state";

/**
 * Continues the bucket's history (or begins one) without a usable local state: what was captured and not
 * uploaded is in the database itself and comes back with the full anchor. Says whose history it is when that
 * is not ours.
 * @param knownWriter the id that we go on writing with; a new one if there is none
 */
export async function adopt(
  live: LiveDatabase,
  store: ObjectStore,
  env: Env,
  reason: string,
  knownWriter = live.state?.writer,
): Promise<Attached> {
  const objects = await objectsOrNone(live, store);
  const newest = newestObjectOrNull(objects);
  const writer = knownWriter ?? hex(env.randomBytes(16));
  if (newest === null) await assertNotForeign(live.name, store, env);
  const found =
    newest === null ? null : await predecessorOrForeign(newest, objects, live.name, writer, store, env);
  if (newest?.maxTxid === TXID_MAX) throw noTxidLeft(newest.key);
  forgetLocal(live);
  if (newest === null || found === null) {
    // Said only now: as long as the bucket cannot be looked at, this is tried again and again.
    if (reason !== NO_STATE) env.log.warn(`${reason}: a new history begins`, { database: live.name });
    const begun = "a new history begins";
    return {
      live,
      anchor: { before: noPredecessor(store, live.name, writer), reason: begun },
      needsSnapshot: false,
    };
  }
  const what = `continuing after TXID ${newest.maxTxid} of the bucket with a full file`;
  env.log.warn(`${reason}: ${what}${whoseText(live, found.writer, writer)}`, {
    database: live.name,
    txid: newest.maxTxid,
  });
  return { live, anchor: { before: found.before, reason }, needsSnapshot: found.isDamaged };
}

/** Whose the newest object is, if that is not plain: who else writes there has to stop. */
function whoseText({ name, ownWriters }: LiveDatabase, found: string | null, writer: string): string {
  if (found === writer) return "";
  if (ownWriters?.has(name, found) === true) return ", which this process wrote";
  const other = writerText(found);
  return `; that is the object of another writer, ${other}, who must write there no more`;
}

/**
 * The database's objects. A folder that does not exist yet is made by the first put; but only for a database
 * that was never replicated: otherwise it is a disk that is not mounted.
 */
async function objectsOrNone(live: LiveDatabase, store: ObjectStore): Promise<LtxObject[]> {
  try {
    return await listObjects(store, live.name);
  } catch (error) {
    const isFirstTime = live.state === null && !wasReplicatedTo(live, store.url);
    if (store.layout === "file" && isFirstTime && hasCode(error, "missing-bucket")) return [];
    throw error;
  }
}

/** Whether the local state is of this destination, or is lost and may have been. */
function wasReplicatedTo(live: LiveDatabase, destination: string): boolean {
  const reading = readState(live.paths);
  return reading.kind === "lost" || (reading.kind === "state" && reading.state.destination === destination);
}

/** The start of a history. */
function noPredecessor(store: ObjectStore, name: string, writer: string): Predecessor {
  const chain = hex(CHAIN_ZERO);
  return {
    destination: store.url,
    name,
    writer,
    txid: 0,
    timeMs: 0,
    checksum: NO_CHECKSUM,
    chain,
    snapshot: null,
  };
}

/** Drops what the local files claim: from here on the bucket and the database itself are the truth. */
function forgetLocal(live: LiveDatabase): void {
  live.state = null;
  live.isBucketUnchecked = false;
  live.isUnconfirmedCopy = false;
  live.pending.length = 0;
  rmSync(live.paths.statePath, { force: true });
  clearSpool(live.paths.spoolFolder);
}

function noTxidLeft(key: string): WalrustError {
  return new WalrustError("integrity", `Nothing can follow ${key}: it has the last TXID that there is`, {
    hint: "No history gets that far: delete the object, or choose another prefix or name",
    context: { key },
  });
}

/** A history must not begin among somebody else's objects. @throws WalrustError code "foreign-writer" */
async function assertNotForeign(name: string, store: ObjectStore, env: Env): Promise<void> {
  const layout = await detectForeignLayoutOrNull(store, name);
  if (layout === null) return;
  // It has folders of its own, and Litestream 0.5 begins beside it likewise.
  if (layout.format !== "litestream-0.3") throw refusal(name, store, layout);
  env.log.warn(`${layout.title} lies there, too: ${layout.key}; it is left alone`, { database: name });
}

function refusal(name: string, store: ObjectStore, { title, key, format }: ForeignLayout): WalrustError {
  return new WalrustError("foreign-writer", `${name} in ${store.url} is ${title}: ${key}`, {
    hint: "Nothing is written into it. Choose another prefix or name; the old backup stays as it is",
    context: { database: name, format, key },
  });
}

/** What a history is continued after, and who wrote it, if it says so. */
interface FoundPredecessor {
  readonly before: Predecessor;
  readonly writer: string | null;
  /** Nothing leads over the newest object: what follows needs a snapshot of its own. */
  readonly isDamaged: boolean;
}

/** @throws WalrustError code "foreign-writer" when the newest object is somebody else's */
async function predecessorOrForeign(
  newest: LtxObject,
  objects: readonly LtxObject[],
  name: string,
  writer: string,
  store: ObjectStore,
  env: Env,
): Promise<FoundPredecessor> {
  try {
    return await predecessorOf(newest, objects, name, writer, store, env);
  } catch (error) {
    if (!hasCode(error, "corrupt") && !hasCode(error, "integrity")) throw error;
    const layout = await detectForeignLayoutOrNull(store, name);
    if (layout !== null) throw refusal(name, store, layout);
    env.log.warn(`the newest object cannot be read: ${error.message}; a new snapshot follows`, {
      database: name,
      hint: "Run `walrust verify` to see which points are lost",
    });
    const before = { ...noPredecessor(store, name, writer), txid: newest.maxTxid };
    return { before, writer: null, isDamaged: true };
  }
}

/** What the next TXID is applied to, read from the newest object itself. */
async function predecessorOf(
  newest: LtxObject,
  objects: readonly LtxObject[],
  name: string,
  writer: string,
  store: ObjectStore,
  env: Env,
): Promise<FoundPredecessor> {
  const header = await readHeader(store, newest.key);
  const trailer = await readTrailer(store, newest, header);
  const head = await store.head(newest.key);
  const metadata = decodeMetadata(newest.key, head.metadata);
  const isUnchecked = (header.flags & FLAG_NO_CHECKSUM) !== 0;
  const before = {
    destination: store.url,
    name,
    writer,
    txid: newest.maxTxid,
    timeMs: adoptedTimeMs(header.timestampMs, newest.key, name, env),
    checksum: isUnchecked ? NO_CHECKSUM : trailer.postApplyChecksum,
    chain: metadata.chain ?? hex(CHAIN_ZERO),
    snapshot: await newestSnapshotOrNull(objects, store, env),
  };
  return { before, writer: metadata.writer, isDamaged: false };
}

/** TXID and time of the newest snapshot that is stored and can be read; null makes a new one due. */
async function newestSnapshotOrNull(
  objects: readonly LtxObject[],
  store: ObjectStore,
  env: Env,
): Promise<Predecessor["snapshot"]> {
  const newest = newestObjectOrNull(objects.filter(({ level }) => level === SNAPSHOT_LEVEL));
  if (newest === null) return null;
  try {
    const { timestampMs } = await readHeader(store, newest.key);
    return { txid: newest.maxTxid, timeMs: Math.min(timestampMs, env.nowMs()) };
  } catch (error) {
    if (hasCode(error, "corrupt")) return null;
    throw error;
  }
}

/** What two clocks may differ by. */
const AHEAD_MAX_MS = 24 * 3_600_000;

/** The time to go on from after an object of the bucket. Logs when that is not the object's own. */
function adoptedTimeMs(timeMs: number, key: string, name: string, env: Env): number {
  const nowMs = env.nowMs();
  if (timeMs <= nowMs + AHEAD_MAX_MS) return timeMs;
  const time = new Date(timeMs).toISOString();
  env.log.warn(
    `${key} is from the future (${time}): captures are stamped with the present time all the same`,
    {
      database: name,
      hint: "Restore this object's own point by its TXID; a time finds the points beside it",
    },
  );
  return nowMs;
}
