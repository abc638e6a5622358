/**
 * One snapshot of one database, without a watch: attach, anchor or capture up to now, write the image, upload all
 * that is pending in order, let go. Consistent while the application writes.
 */
import { hasCode, WalrustError } from "../errors.ts";
import { anchor, type Predecessor, snapshotImage } from "./anchor.ts";
import { type Attached, type AttachTarget, adopt, attach } from "./attach.ts";
import { capture } from "./capture.ts";
import type { LiveDatabase } from "./live-database.ts";
import { uploadPending } from "./uploader.ts";
import type { WatchContext, WatchEvent } from "./watch-types.ts";

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
 * @throws WalrustError codes database, not-wal, locked, foreign-writer or a storage code. What was captured stays in
 * the spool and is uploaded by the next snapshot or watch
 */
export async function snapshotOnce(
  target: AttachTarget,
  context: Pick<WatchContext, "store" | "env" | "version" | "uploads" | "anchors">,
  signal: AbortSignal,
): Promise<SnapshotResult> {
  const attached = await attach(target, context.store, context.env);
  const { live } = attached;
  try {
    await makeSnapshot(attached, context);
    const uploads: Extract<WatchEvent, { event: "uploaded" }>[] = [];
    const emit = (event: WatchEvent): void => {
      if (event.event === "uploaded" && event.kind === "snapshot") uploads.push(event);
    };
    for (let attempt = 0; ; attempt++) {
      const links = await uploadPending(live, { ...context, emit }, signal, "links");
      const isSent = links.kind === "drained";
      const outcome = isSent ? await uploadPending(live, { ...context, emit }, signal, "snapshots") : links;
      if (outcome.kind === "drained") break;
      if (outcome.kind === "aborted" || attempt === 1) {
        throw new WalrustError("storage", `The snapshot of ${live.name} was not uploaded: ${outcome.kind}`);
      }
      await makeSnapshot(await adopt(live, context.store, context.env, outcome.reason), context);
    }
    return resultOf(live, uploads.at(-1));
  } finally {
    live.pin.close();
  }
}

/** Brings the history up to now and puts a snapshot of it into the spool. */
async function makeSnapshot(
  attached: Attached,
  context: Pick<WatchContext, "env" | "anchors">,
): Promise<void> {
  const { live } = attached;
  let before: Predecessor | null = attached.anchor?.before ?? null;
  for (let attempt = 0; attempt < TRIES_MAX; attempt++) {
    if (attempt > 0) await context.env.sleep(RETRY_MS);
    if (before !== null) {
      const predecessor: Predecessor = before;
      const outcome = await anchor(live, predecessor, context.env);
      if (outcome.kind === "later") continue;
      if (outcome.kind === "anchored" && outcome.mode === "first") return;
      before = null;
    }
    if (!live.pin.freeze()) continue;
    const outcome = capture(live, context.env);
    if (outcome.kind === "re-anchor") {
      before = live.state;
      continue;
    }
    if (outcome.index === null) continue;
    try {
      await snapshotImage(live, outcome.index, context.env);
      return;
    } catch (error) {
      if (!hasCode(error, "integrity")) throw error;
      live.pinLost = error.message;
    }
  }
  throw new WalrustError("database-busy", `${live.path} could not be read: checkpoints kept running`, {
    retryable: true,
  });
}

function resultOf(
  live: LiveDatabase,
  uploaded: Extract<WatchEvent, { event: "uploaded" }> | undefined,
): SnapshotResult {
  if (live.state === null || uploaded === undefined) {
    throw new WalrustError("storage", `The snapshot of ${live.name} was not uploaded`);
  }
  const { txid, key, time, bytes } = uploaded;
  const databaseBytes = live.state.commit * live.state.pageSizeBytes;
  return { name: live.name, txid, key, time, bytes, databaseBytes };
}
