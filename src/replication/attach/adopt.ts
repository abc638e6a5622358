/**
 * Adopts the bucket's history, or begins a new one, when no local state can be continued. The newest object
 * of the bucket becomes the predecessor of a full anchor. Captures that were not uploaded are dropped: their
 * pages are in the database, and so in the anchor.
 *
 * Invariants:
 * 1. A history never begins among the objects of another program, and never in place of a missing bucket.
 * 2. The local files are dropped only after the bucket has answered.
 * 3. Capture times never decrease. A time far in the future is not adopted: all later captures would get that
 *    same time, and no snapshot would become due.
 */
import { rmSync } from "node:fs";
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex } from "../../format/chain.ts";
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import { FLAG_NO_CHECKSUM } from "../../format/ltx.ts";
import { NO_CHECKSUM, TXID_MAX } from "../../format/types.ts";
import { clearSpool } from "../../local/spool.ts";
import { confirmState, giveUpState, readState, type StateOwner } from "../../local/state.ts";
import { createStateFolder } from "../../local/state-folder.ts";
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

/** An attached database, and what is due before captures continue. */
export interface Attached {
  readonly live: LiveDatabase;
  /** The anchor that is due, with its reason; null: captures continue. */
  readonly anchor: { readonly before: Predecessor; readonly reason: string } | null;
  /** Whether a new snapshot is due because the bucket lacks acknowledged objects. */
  readonly needsSnapshot: boolean;
}

/** The reason of a database that is attached for the first time. */
export const NO_STATE = "there is no local state";

/**
 * Continues the bucket's history, or begins one. Logs the writer of that history when it is another one.
 * @param reason why no local state can be continued
 * @param knownWriter the writer id to keep; a new id if absent
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
  forgetLocal(live, newest === null ? null : { destination: store.url, name: live.name, writer });
  if (newest === null || found === null) {
    // Logged only here: while the bucket does not answer, adopting is tried again and again.
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

/** Names the writer of the newest object if it is not the one that continues. */
function whoseText({ name, ownWriters }: LiveDatabase, found: string | null, writer: string): string {
  if (found === writer) return "";
  if (ownWriters?.has(name, found) === true) return ", which this process wrote";
  const cause = "a deleted or lost state folder is a cause";
  const rule = "if another walrust or a copy of this machine still writes there, stop it";
  return `; this history belongs to another writer id (${writerText(found)}): ${cause}; ${rule}`;
}

/**
 * The objects of the database. A destination folder may be missing only for a database that was never
 * replicated, and the first put creates it. Otherwise the folder is on a disk that is not mounted.
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

/** Whether the local state belongs to this destination. A lost state may have belonged to it. */
function wasReplicatedTo(live: LiveDatabase, destination: string): boolean {
  const reading = readState(live.paths);
  const isUnknown = reading.kind === "lost" || reading.kind === "refused";
  return isUnknown || (reading.kind === "state" && reading.state.destination === destination);
}

/** The predecessor of a history that begins. */
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

/**
 * Drops the local state and spool: only the bucket and the database count from here on. Their folders are
 * made anew if they are gone: a capture that was lost with them may be the reason.
 * @param owner the writer of a history that continues: a crash before its anchor must not forget the id
 */
function forgetLocal(live: LiveDatabase, owner: StateOwner | null): void {
  createStateFolder(live.paths, live.path);
  // First of all: when the disk refuses, the next attempt still knows the writer.
  if (owner === null) rmSync(live.paths.statePath, { force: true });
  else giveUpState(live.paths, owner);
  live.state = null;
  live.isBucketUnchecked = false;
  live.isUnconfirmedCopy = false;
  live.revivedTxid = undefined;
  confirmState(live.paths);
  live.pending.length = 0;
  live.log?.forget();
  clearSpool(live.paths.spoolFolder);
}

function noTxidLeft(key: string): WalrustError {
  return new WalrustError("integrity", `Nothing can follow ${key}: it has the last TXID that there is`, {
    hint: "No real history is that long: delete the object, or choose another prefix or name",
    context: { key },
  });
}

/** @throws WalrustError code "foreign-writer" when another program's backup lies at the prefix */
async function assertNotForeign(name: string, store: ObjectStore, env: Env): Promise<void> {
  const layout = await detectForeignLayoutOrNull(store, name);
  if (layout === null) return;
  // Litestream 0.3 has folders of its own, beside which Litestream 0.5 begins likewise.
  if (layout.format !== "litestream-0.3") throw refusal(name, store, layout);
  env.log.warn(`${layout.title} is at the same prefix: ${layout.key}; walrust does not touch it`, {
    database: name,
  });
}

function refusal(name: string, store: ObjectStore, { title, key, format }: ForeignLayout): WalrustError {
  return new WalrustError("foreign-writer", `${name} in ${store.url} is ${title}: ${key}`, {
    hint: "walrust writes nothing there. Choose another prefix or name; the old backup stays as it is",
    context: { database: name, format, key },
  });
}

/** The predecessor that the newest object stands for, and the writer that its metadata names. */
interface FoundPredecessor {
  readonly before: Predecessor;
  readonly writer: string | null;
  /** The newest object cannot be read, so no restore leads past it without a new snapshot. */
  readonly isDamaged: boolean;
}

/** @throws WalrustError code "foreign-writer" when the newest object belongs to another program */
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

/** Reads the predecessor of the next TXID from the newest object itself. */
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

/** TXID and time of the newest snapshot in the bucket; null, which makes a snapshot due, if it is damaged. */
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

/** The most that two clocks may differ by. */
const AHEAD_MAX_MS = 24 * 3_600_000;

/**
 * The time that captures after an object must not fall behind: its own, or the present time, with a warning,
 * if the object is from the future. A lookup by time passes over such objects.
 */
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
