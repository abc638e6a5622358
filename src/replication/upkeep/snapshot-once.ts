/**
 * One snapshot of one database, without a watch: attach, anchor or capture up to now, write the image, upload
 * all that is pending in order, let go. Consistent while the application writes.
 */
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
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
import { uploadPending } from "../upload/uploader.ts";

const TRIES_MAX = 100;
const RETRY_MS = 20;

/** What a snapshot made. */
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

/**
 * Takes and uploads a snapshot.
 * @throws WalrustError codes database, not-wal, locked, foreign-writer or a storage code. What was captured
 * stays in the spool and is uploaded by the next snapshot or watch
 */
export async function snapshotOnce(
  target: AttachTarget,
  context: Pick<WatchContext, "store" | "env" | "version" | "anchors">,
  signal: AbortSignal,
): Promise<SnapshotResult> {
  const attached = await attach(target, context.store, context.env);
  const { live, condition } = attached;
  if (condition !== null) {
    const { message, hint } = condition;
    context.env.log.warn(message, { database: target.name, hint });
  }
  try {
    let file = await makeSnapshot(attached, context);
    sayIfOlder(live, file, context.env);
    const upload = { ...context, emit: () => {}, keepsSent: false };
    for (let attempt = 0; ; attempt++) {
      const links = await uploadPending(live, upload, signal, "links");
      const isSent = links.kind === "drained";
      const outcome = isSent ? await uploadPending(live, upload, signal, "snapshots") : links;
      if (outcome.kind === "drained") break;
      if (outcome.kind === "aborted" || attempt === 1) {
        throw new WalrustError("storage", `The snapshot of ${live.name} was not uploaded: ${outcome.kind}`);
      }
      file = await makeSnapshot(await adopt(live, context.store, context.env, outcome.reason), context);
    }
    return snapshotResult(live, file, context.store);
  } finally {
    await restAtEnd(live, context.env);
    live.pin.close();
  }
}

/**
 * The newest snapshot that waits for its upload, if one does. With the increments after it, it leads to the
 * present: another full copy beside it would be sent in vain.
 */
export function pendingSnapshot({ pending }: LiveDatabase): SpoolFile | undefined {
  return pending.findLast(isSnapshotFile);
}

/** A waiting snapshot that stands for one of now: of the same TXID, or the first, which has to go anyway. */
function standInOrNull(live: LiveDatabase, needsNew: boolean): SpoolFile | null {
  const waiting = pendingSnapshot(live);
  if (waiting === undefined) return null;
  const isEnough = waiting.maxTxid === live.state?.txid || (waiting.maxTxid === 1 && !needsNew);
  return isEnough ? waiting : null;
}

/** Drops older snapshots that were never sent: the new one takes their place. None may be on its way. */
function dropSuperseded({ pending }: LiveDatabase, newest: SpoolFile): void {
  for (const file of pending.filter((one) => isSnapshotFile(one) && !isChainLink(one) && one !== newest)) {
    pending.splice(pending.indexOf(file), 1);
    removeSpoolFile(file);
  }
}

function sayIfOlder({ name, state }: LiveDatabase, { maxTxid }: SpoolFile, { log }: Pick<Env, "log">): void {
  if (state === null || maxTxid === state.txid) return;
  const rest = `what changed since goes as increments up to TXID ${state.txid}`;
  log.info(`sending the snapshot of TXID ${maxTxid} that waited for the store; ${rest}`, { database: name });
}

/** Empties the WAL, as the pin kept the application from doing it. The snapshot is made, whatever happens. */
async function restAtEnd(live: LiveDatabase, env: Env): Promise<void> {
  try {
    await emptyWalAndRest(live, env);
  } catch (error) {
    env.log.warn(`cannot empty the WAL: ${errorMessage(error)}`, { database: live.name });
  }
}

/** Brings the history up to now and puts a snapshot of it into the spool. */
async function makeSnapshot(
  attached: Attached,
  context: Pick<WatchContext, "env" | "anchors">,
): Promise<SpoolFile> {
  const { live } = attached;
  let before: Predecessor | null = attached.anchor?.before ?? null;
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    if (attempt > 0) await context.env.sleep(RETRY_MS);
    if (before !== null) {
      const predecessor: Predecessor = before;
      const outcome = await anchor(live, predecessor, context.env);
      if (outcome.kind === "later") continue;
      if (outcome.kind === "anchored" && outcome.mode === "first") return outcome.file;
      before = null;
    }
    if (!live.pin.freeze()) continue;
    const outcome = capture(live, context.env);
    if (outcome.kind === "re-anchor") {
      before = live.state;
      continue;
    }
    if (outcome.index === null) continue;
    const waiting = standInOrNull(live, attached.needsSnapshot);
    if (waiting !== null) return waiting;
    try {
      const file = await snapshotImage(live, outcome.index, context.env);
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

/** What a snapshot file of the present database stands for, once it is uploaded. */
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
