/**
 * The uploader of one database: sends the pending files in the order of their TXIDs, one at a time, and
 * removes each from the spool when the store has acknowledged it. It never skips one: what cannot be sent
 * stays pending and is tried again. Independent of capture, which never waits for it. Two lanes: the links of
 * the chain, and the later snapshots, so that increments do not wait for a snapshot of many gigabytes.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { hex, isChainLink } from "../../format/chain.ts";
import { isSnapshotFile, removeSpoolFile, type SpoolFile } from "../../local/spool.ts";
import { keepSent } from "../../local/spool-cache.ts";
import { listObjects } from "../../storage/bucket/catalog.ts";
import { buildManifest, writeManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import type { Captured } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { contradictionOrNull } from "./bucket-status.ts";
import { foreignWriterError, recordForeignWriter } from "./foreign-writer.ts";
import { OverlapCheck } from "./overlap-check.ts";
import { type PublishOutcome, publish, type TakenKey } from "./publish.ts";
import type { UploadGather } from "./spool-merge.ts";
import { UploadHistory } from "./upload-history.ts";

/** How a run over the pending files ended. */
export type UploadOutcome =
  | { readonly kind: "drained" }
  /** The bucket or the spool contradicts the local state: adopt the bucket's newest TXID. */
  | { readonly kind: "adopt"; readonly reason: string }
  | { readonly kind: "aborted" };

/** Which pending files a run sends. */
export type UploadLane = "links" | "snapshots";

/**
 * The next file of a lane, or undefined. A snapshot waits for the links that lead to it: should they be lost
 * with the spool, a bucket that holds it would be continued after it, with a gap in its increments for good.
 */
export function nextOfLane(live: Pick<Captured, "pending">, lane: UploadLane): SpoolFile | undefined {
  const link = live.pending.find(isChainLink);
  if (lane === "links") return link;
  const snapshot = live.pending.find((file) => !isChainLink(file));
  const isEarly = link !== undefined && snapshot !== undefined && link.minTxid <= snapshot.maxTxid;
  return isEarly ? undefined : snapshot;
}

/**
 * Sends the pending files of a lane until none is left.
 * @throws WalrustError with a storage code when the store refuses after retries; code "foreign-writer" when
 * another writer owns a key, which is remembered in the state folder
 */
export async function uploadPending(
  live: Captured,
  context: Pick<WatchContext, "store" | "version" | "env" | "emit"> & {
    /** Whether uploaded increments stay in the spool for a while. */
    readonly keepsSent: boolean;
    /** Where failures to write the manifest are said, if more than one run is made. */
    readonly manifestTrouble?: Trouble;
    /** What is known from run to run, if more than one is made. */
    readonly history?: UploadHistory;
    /** Reserves a place before each file is chosen. */
    readonly puts?: WatchContext["puts"];
    /** Merges what waits before each link. */
    readonly gather?: UploadGather | null;
  },
  signal: AbortSignal,
  lane: UploadLane,
): Promise<UploadOutcome> {
  const { store, env, keepsSent } = context;
  const history = context.history ?? new UploadHistory();
  if (live.isBucketUnchecked === true && nextOfLane(live, lane) !== undefined) {
    const reason = await contradictionOrNull(live, store);
    if (reason !== null) return { kind: "adopt", reason };
    live.isBucketUnchecked = false;
  }
  let hasSnapshot = false;
  while (nextOfLane(live, lane) !== undefined) {
    const sent = await sendNext(live, context, signal, lane, history);
    if (sent === null) return { kind: "aborted" };
    const { file, writer, outcome } = sent;
    if (!live.pending.includes(file)) return { kind: "aborted" };
    if (outcome.kind === "damaged") return { kind: "adopt", reason: outcome.reason };
    if (outcome.kind === "taken") return contradicted(live, outcome, writer, file, context, history);
    history.acknowledged(hex(file.sha256), isChainLink(file));
    if (isChainLink(file)) history.overlap?.acknowledged(file, signal);
    live.pending.splice(live.pending.indexOf(file), 1);
    if (keepsSent) keepSent(live.paths.spoolFolder, file);
    else removeSpoolFile(file);
    if (keepsSent && !isSnapshotFile(file)) live.sentBytes += file.sizeBytes;
    if (!isSnapshotFile(file)) live.uploadedBytes += file.sizeBytes;
    hasSnapshot ||= isSnapshotFile(file);
    if (isChainLink(file)) {
      history.lastLink = { key: outcome.key, sha256: hex(file.sha256) };
      live.acknowledged = { txid: file.maxTxid, timeMs: outcome.timeMs, chain: hex(file.chain) };
    }
    emitUploaded(live, file, outcome, context);
    if (nextOfLane(live, lane) === undefined) await history.overlap?.done();
    const other = history.overlap?.found ?? null;
    if (other !== null) return contradicted(live, other, writer, file, context, history);
  }
  if (hasSnapshot) {
    const trouble = context.manifestTrouble ?? manifestTrouble(live.name, env);
    await refreshManifest(live, store, signal, trouble);
  }
  return { kind: "drained" };
}

/** A file that was sent, and what became of it. */
interface Sent {
  readonly file: SpoolFile;
  readonly writer: string;
  readonly outcome: PublishOutcome;
}

/**
 * Sends the next file of a lane. It is chosen only when its turn has come, so that everything that was
 * captured until then goes with it.
 * @returns null when there is nothing to send any more
 */
async function sendNext(
  live: Captured,
  context: Parameters<typeof uploadPending>[1],
  signal: AbortSignal,
  lane: UploadLane,
  history: UploadHistory,
): Promise<Sent | null> {
  const { store, version, gather } = context;
  const reservation = await context.puts?.reserve(signal);
  try {
    if (lane === "links") await gather?.beforeUpload(live);
    if (signal.aborted) return null;
    const file = nextOfLane(live, lane);
    const writer = live.state?.writer;
    if (file === undefined || writer === undefined) return null;
    if (isChainLink(file)) {
      gather?.sending(live, file);
      history.overlap ??= new OverlapCheck(live.name, store, context.env);
      history.overlap.sending(file);
    }
    history.sending(hex(file.sha256));
    const publisher = { store, name: live.name, writer, version, lastLink: history.lastLink };
    return { file, writer, outcome: await publish(publisher, file, signal, reservation) };
  } finally {
    reservation?.end();
  }
}

/** The bucket holds what we did not put: ours from a state that is lost, or another writer's. */
function contradicted(
  live: Captured,
  taken: TakenKey,
  writer: string,
  file: SpoolFile,
  context: Pick<WatchContext, "store" | "env">,
  history: UploadHistory,
): UploadOutcome {
  history.overlap = null;
  if (!isOurDoing(taken, writer, file, history)) throw foreignWrite(live, taken, writer, file, context);
  return { kind: "adopt", reason: `${taken.key} was written by us, from a state that is lost` };
}

/**
 * Whether what was found at a key can be our own: then the local state is behind. A later snapshot decides
 * nothing: the links, which go first, tell who writes here.
 */
function isOurDoing(taken: TakenKey, writer: string, file: SpoolFile, history: UploadHistory): boolean {
  if (history.wasSent(taken.sha256)) return true;
  if (taken.writer !== writer) return false;
  return !isChainLink(file) || history.mayHaveLostState();
}

/** Remembers another writer. @returns the error that stops this database */
function foreignWrite(
  live: Captured,
  taken: TakenKey,
  writer: string,
  file: SpoolFile,
  { store, env }: Pick<WatchContext, "store" | "env">,
): WalrustError {
  const found = {
    destination: store.url,
    name: live.name,
    writer,
    otherWriter: taken.writer,
    key: taken.key,
    txid: file.maxTxid,
  };
  recordForeignWriter(live.paths, found, env);
  return foreignWriterError(found, live.paths);
}

function emitUploaded(
  live: Captured,
  file: SpoolFile,
  published: { key: string; timeMs: number },
  context: Pick<WatchContext, "emit" | "env">,
): void {
  context.emit({
    event: "uploaded",
    database: live.name,
    kind: isSnapshotFile(file) ? "snapshot" : "increment",
    txid: file.maxTxid,
    time: new Date(published.timeMs).toISOString(),
    bytes: file.sizeBytes,
    key: published.key,
    lag_ms: Math.max(0, Math.round(context.env.nowMs() - published.timeMs)),
  });
}

/** Where failures to write the manifest of a database are said. */
export function manifestTrouble(database: string, env: Pick<Env, "log" | "monotonicMs">): Trouble {
  return new Trouble(env, { database, what: "the manifest could not be written" });
}

/**
 * Rewrites the manifest from a listing. It is only an index: a failure is said and does not stop anything.
 * Its mark is what the store acknowledged, never more.
 */
async function refreshManifest(
  live: Captured,
  store: ObjectStore,
  signal: AbortSignal,
  trouble: Trouble,
): Promise<void> {
  const { state } = live;
  if (state === null) return;
  const isAllSent = nextOfLane(live, "links") === undefined;
  const newest = isAllSent ? state : live.acknowledged;
  if (newest === null) return;
  try {
    const objects = await listObjects(store, live.name, signal);
    const { txid, timeMs, chain } = newest;
    const mark = { pageSizeBytes: state.pageSizeBytes, txid, timeMs, chain, writer: state.writer };
    await writeManifest(store, buildManifest(live.name, objects, mark), signal);
    trouble.recovered();
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof WalrustError)) throw error;
    trouble.failed(error);
  }
}
