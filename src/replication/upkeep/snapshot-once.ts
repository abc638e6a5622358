/**
 * Takes one snapshot of one database without a watch: attaches, captures up to now, writes the image, uploads
 * all pending files in order, and detaches. The snapshot is consistent while the application writes.
 */
import { hidesCommits } from "../../database/pin/pin-mode.ts";
import { namedHolder } from "../../database/pin/pinnable.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import { type Condition, errorMessage, hasCode, WalrustError } from "../../errors.ts";
import { isChainLink } from "../../format/chain.ts";
import { isSnapshotFile, removeSpoolFile, type SpoolFile } from "../../local/spool.ts";
import { keyOf } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { type Attached, adopt } from "../attach/adopt.ts";
import { attach } from "../attach/attach.ts";
import { anchor, type Predecessor, snapshotImage } from "../capture/anchor.ts";
import { capture } from "../capture/capture.ts";
import { emptyWalAndRest } from "../capture/empty-wal.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { uploadRecords } from "../upload/upload-record.ts";
import { uploadPending } from "../upload/uploader.ts";
import { endGivenUp } from "./reconcile.ts";

const TRIES_MAX = 100;
const RETRY_MS = 20;

/** A snapshot that was taken. */
export interface SnapshotResult {
  readonly name: string;
  readonly txid: number;
  readonly key: string;
  readonly time: string;
  /** Size of the object. */
  readonly bytes: number;
  /** Size of the database it holds. */
  readonly databaseBytes: number;
}

/** How far a snapshot is: first the database is read, then the snapshot is uploaded. */
export type SnapshotPhase =
  | { readonly kind: "reading"; readonly doneBytes: number; readonly totalBytes: number }
  | { readonly kind: "uploading"; readonly totalBytes: number };

/** The surroundings of a snapshot. */
export interface SnapshotContext extends Pick<WatchContext, "store" | "env" | "version" | "anchors"> {
  readonly onPhase?: (phase: SnapshotPhase) => void;
}

/**
 * Takes and uploads a snapshot.
 * @throws WalrustError codes database, not-wal, locked, foreign-writer or a storage code. Captured files stay
 * in the spool, and the next snapshot or watch uploads them
 */
export async function snapshotOnce(
  target: AttachTarget,
  context: SnapshotContext,
  signal: AbortSignal,
): Promise<SnapshotResult> {
  const attached = await attach(target, context.store, context.env).catch((error: unknown) => {
    throw error instanceof WalrustError ? namedHolder(error, target.path) : error;
  });
  const { live, condition } = attached;
  if (condition !== null) {
    const { message, hint } = condition;
    context.env.log.warn(message, { database: target.name, hint });
  }
  try {
    let file = await makeSnapshot(attached, context);
    logIfOlder(live, file, context.env);
    const upload = { ...context, emit: () => {}, keepsSent: false };
    for (let attempt = 0; ; attempt++) {
      const totalBytes = live.pending.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
      context.onPhase?.({ kind: "uploading", totalBytes });
      const links = await uploadPending(live, upload, signal, "links");
      const isSent = links.kind === "drained";
      const outcome = isSent ? await uploadPending(live, upload, signal, "snapshots") : links;
      if (outcome.kind === "drained") break;
      if (outcome.kind !== "adopt" || attempt === 1) {
        throw new WalrustError("storage", `The snapshot of ${live.name} was not uploaded: ${outcome.kind}`);
      }
      file = await makeSnapshot(await adopt(live, context.store, context.env, outcome.reason), context);
    }
    await endGivenUpUploads(live, context, signal);
    if (condition !== null && hidesCommits(condition)) throw hiddenError(condition, live.state?.txid ?? 0);
    return snapshotResult(live, file, context.store);
  } finally {
    await emptyWalAtEnd(live, context.env);
    live.pin.close();
  }
}

/** The snapshot is stored, and an application has commits that are not in it. */
function hiddenError({ message, hint }: Condition, txid: number): WalrustError {
  const text = `A snapshot is stored (TXID ${txid}), but commits may be missing in it: ${message}`;
  return new WalrustError("database", text, hint === undefined ? {} : { hint });
}

/**
 * The newest snapshot that waits for its upload, if any. With the increments after it, it leads to the
 * present, so another full copy would be uploaded in vain.
 */
export function pendingSnapshot({ pending }: LiveDatabase): SpoolFile | undefined {
  return pending.findLast(isSnapshotFile);
}

/**
 * A waiting snapshot that replaces one of now: of the same TXID, or the first of the history.
 */
function standInOrNull(live: LiveDatabase, needsNew: boolean): SpoolFile | null {
  const waiting = pendingSnapshot(live);
  if (waiting === undefined) return null;
  const isEnough = waiting.maxTxid === live.state?.txid || (waiting.maxTxid === 1 && !needsNew);
  return isEnough ? waiting : null;
}

/** Drops older snapshots that were not sent: the new one supersedes them. No upload may be under way. */
function dropSuperseded({ pending }: LiveDatabase, newest: SpoolFile): void {
  for (const file of pending.filter((one) => isSnapshotFile(one) && !isChainLink(one) && one !== newest)) {
    pending.splice(pending.indexOf(file), 1);
    removeSpoolFile(file);
  }
}

function logIfOlder({ name, state }: LiveDatabase, { maxTxid }: SpoolFile, { log }: Pick<Env, "log">): void {
  if (state === null || maxTxid === state.txid) return;
  const rest = `later changes are uploaded as increments up to TXID ${state.txid}`;
  log.info(`sending the snapshot of TXID ${maxTxid} that waited for the store; ${rest}`, { database: name });
}

/**
 * Aborts the unfinished uploads of earlier snapshots that this one supersedes: no watch may ever do so. A
 * failure does not undo the snapshot, and the next one aborts the rest.
 */
async function endGivenUpUploads(
  { name, paths }: LiveDatabase,
  { store, env }: Pick<WatchContext, "store" | "env">,
  signal: AbortSignal,
): Promise<void> {
  try {
    await endGivenUp({ store, name, env }, uploadRecords(paths.spoolFolder), signal);
  } catch (error) {
    env.log.warn(`cannot abort an unfinished upload: ${errorMessage(error)}`, { database: name });
  }
}

/** Empties the WAL, which our pin kept the application from doing. A failure does not undo the snapshot. */
async function emptyWalAtEnd(live: LiveDatabase, env: Env): Promise<void> {
  try {
    await emptyWalAndRest(live, env);
  } catch (error) {
    env.log.warn(`cannot empty the WAL: ${errorMessage(error)}`, { database: live.name });
  }
}

/** Captures up to now and writes a snapshot into the spool. */
async function makeSnapshot(attached: Attached, { env, onPhase }: SnapshotContext): Promise<SpoolFile> {
  const { live } = attached;
  const between = (doneBytes: number, totalBytes: number): Promise<void> => {
    onPhase?.({ kind: "reading", doneBytes, totalBytes });
    return env.turn();
  };
  let before: Predecessor | null = attached.anchor?.before ?? null;
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    if (attempt > 0) await env.sleep(RETRY_MS);
    if (before !== null) {
      const predecessor: Predecessor = before;
      const outcome = await anchor(live, predecessor, env, undefined, between);
      if (outcome.kind === "later") continue;
      if (outcome.kind === "anchored" && outcome.mode === "first") return outcome.file;
      before = null;
    }
    if (!live.pin.freeze()) continue;
    const outcome = capture(live, env);
    if (outcome.kind === "re-anchor") {
      before = live.state;
      continue;
    }
    if (outcome.index === null) continue;
    const waiting = standInOrNull(live, attached.needsSnapshot);
    if (waiting !== null) return waiting;
    try {
      const file = await snapshotImage(live, outcome.index, env, undefined, between);
      dropSuperseded(live, file);
      return file;
    } catch (error) {
      if (!hasCode(error, "integrity")) throw error;
      live.pinLost = error.message;
    }
  }
  throw new WalrustError("database-busy", `${live.path} could not be read: checkpoints kept running`, {
    retryable: true,
  });
}

/** The result that a snapshot file stands for, once it is uploaded. */
export function snapshotResult(live: LiveDatabase, file: SpoolFile, store: ObjectStore): SnapshotResult {
  const { state } = live;
  if (state === null) throw new Error("a snapshot has a history");
  return {
    name: live.name,
    txid: file.maxTxid,
    key: keyOf(store, live.name, file),
    time: new Date(state.snapshot?.timeMs ?? state.timeMs).toISOString(),
    bytes: file.sizeBytes,
    databaseBytes: state.commit * state.pageSizeBytes,
  };
}
