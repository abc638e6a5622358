/**
 * Answers what other walrust processes ask of a watched database over the control socket: a snapshot, an
 * upkeep, the checksum of the live content. Each request waits for the watcher's own turn and changes nothing
 * else about the watcher. A failure that will last ends the request (request-wait.ts); the watch still does
 * the work that was asked for.
 */
import type { AttachTarget } from "../../discovery/attach-target.ts";
import type { Env } from "../../env.ts";
import { type Condition, EXIT_CODES, WalrustError } from "../../errors.ts";
import { isSnapshotFile, type SpoolFile } from "../../local/spool.ts";
import type { Circuit } from "../../storage/contract/circuit.ts";
import type { LiveChecksum } from "../capture/image-checksum.ts";
import type { WalPoller, WholeCapture } from "../capture/wal-poller.ts";
import type { ClosingSignal } from "../context/closing-signal.ts";
import type { SnapshotResult } from "../upkeep/snapshot-once.ts";
import type { TakenSnapshot } from "../upkeep/snapshots.ts";
import type { SnapshotProgress } from "./request-progress.ts";
import { type Obstacle, RequestWait } from "./request-wait.ts";

const POLL_INTERVAL_MS = 20;

/** The facts that a request waits for. */
export interface RequestFacts {
  /** Why replication stopped, or why the database is set aside. */
  readonly givenUp: WalrustError | null;
  readonly isClosing: boolean;
  /** The failure that the database recovers from. */
  readonly failure: WalrustError | null;
  /** Whether requests to the store are suspended. */
  readonly isSuspended: boolean;
  readonly isAttached: boolean;
  /** Whether the live content can be read: no job runs, and the history is sound. */
  readonly isReadable: boolean;
  readonly isJobRunning: boolean;
  /** Whether the local state is given up for the bucket's. */
  readonly isAdopting: boolean;
  /** Captured files that wait; null while the database is not attached. */
  readonly pending: readonly SpoolFile[] | null;
  readonly taken: TakenSnapshot | null;
  /** Why the database is set aside, named or found by a glob, or null. */
  readonly refused: WalrustError | null;
  /** Whether the database leaves the watch, or the watch ends. */
  readonly isLeaving: boolean;
  /** The condition under which commits are in no file that can be captured, or null. */
  readonly hidden: Condition | null;
  /** Captures are stopped because the spool is full. */
  readonly isSpoolFull: boolean;
  /** Whether there is a history that nothing is about to change. */
  readonly isSettled: boolean;
  /** The newest TXID in the bucket, 0 before the first. */
  readonly uploadedTxid: number;
  /** The last requested capture of everything, or null. */
  readonly whole: WholeCapture | null;
  /** The generation of the history at present. */
  readonly generation: number;
}

/** The watched database that a request is about. */
export interface RequestedDatabase {
  readonly target: AttachTarget;
  readonly context: { readonly env: Env; readonly closing: Pick<ClosingSignal, "signal"> };
  readonly requestFacts: RequestFacts;
  readonly poller: Pick<WalPoller, "request">;
  readonly circuit: Pick<Circuit, "lift">;
  requestSnapshot(): void;
  readChecksum(): Promise<LiveChecksum | null>;
}

/**
 * Takes a snapshot as soon as possible. @returns what is in the bucket then
 * @param progress learns of a snapshot that waits for its upload
 * @throws WalrustError when replication stops or the watch ends before, and the failure that keeps it from
 * being done
 */
export async function answerSnapshot(
  database: RequestedDatabase,
  progress?: Pick<SnapshotProgress, "waitsForUpload">,
): Promise<SnapshotResult> {
  const askedMs = database.context.env.monotonicMs();
  const wait = new RequestWait();
  database.requestSnapshot();
  return await poll(database, (facts) => {
    const { taken } = facts;
    const result = taken !== null && taken.atMs >= askedMs ? taken.result : null;
    if (result !== null && isSnapshotSent(facts, result)) return result;
    if (result !== null) progress?.waitsForUpload(result);
    const failure = failureOrNull(wait, facts, result !== null, database);
    if (failure !== null) throw unfinishedError(database.target, result, failure);
    return null;
  });
}

/**
 * Reads the whole live database. @returns its checksum at a TXID that is in the bucket by then
 * @throws WalrustError as `answerSnapshot`; code "database-busy" when it cannot be read just now
 */
export async function answerChecksum(database: RequestedDatabase): Promise<LiveChecksum> {
  const wait = new RequestWait();
  const throwFailure = (facts: RequestFacts, isCaptured: boolean): null => {
    const failure = failureOrNull(wait, facts, isCaptured, database);
    if (failure !== null) throw failure;
    return null;
  };
  await poll(database, (facts) => (facts.isReadable ? true : throwFailure(facts, false)));
  const checksum = await database.readChecksum();
  if (checksum === null) {
    const { path } = database.target;
    throw new WalrustError("database-busy", `${path} could not be read`, { retryable: true });
  }
  return await poll(database, (facts) => {
    const isSent = facts.pending !== null && !facts.pending.some(({ maxTxid }) => maxTxid <= checksum.txid);
    return isSent ? checksum : throwFailure(facts, true);
  });
}

/** Asks again and again until there is an answer. @throws when there cannot be one */
async function poll<T>(
  database: RequestedDatabase,
  answerOrNull: (facts: RequestFacts) => T | null,
): Promise<T> {
  for (;;) {
    const facts = database.requestFacts;
    const answer = answerOrNull(facts);
    if (answer !== null) return answer;
    if (facts.givenUp !== null) throw facts.givenUp;
    if (facts.isClosing) throw new WalrustError("storage", "The watch ended before it was done");
    await database.context.env.sleep(POLL_INTERVAL_MS, database.context.closing.signal);
  }
}

function isSnapshotSent({ pending }: RequestFacts, { txid }: SnapshotResult): boolean {
  return pending !== null && !pending.some((file) => isSnapshotFile(file) && file.maxTxid <= txid);
}

function failureOrNull(
  wait: RequestWait,
  facts: RequestFacts,
  isCaptured: boolean,
  { context }: RequestedDatabase,
): WalrustError | null {
  const obstacle = obstacleOrNull(facts, isCaptured);
  return obstacle && wait.poll(obstacle, context.env.monotonicMs());
}

/**
 * The obstacle to a capture, or to the upload of a capture, or null. Null also while a job
 * that needs no store is at the database: a job ends by itself.
 */
export function obstacleOrNull(facts: RequestFacts, isCaptured: boolean): Obstacle | null {
  const { failure, isSuspended, isAttached } = facts;
  if (isCaptured) {
    // Failures to capture more keep nothing from being uploaded, unless the bucket's history is adopted.
    const isOfUpload = failure?.exitCode === EXIT_CODES.storage || facts.isAdopting;
    return { failure: isOfUpload ? failure : null, isSuspended };
  }
  if (isAttached && facts.isJobRunning) return null;
  return { failure, isSuspended: !isAttached && isSuspended };
}

/** The error of a snapshot that is not in the bucket, with what becomes of it. */
function unfinishedError(
  { paths }: AttachTarget,
  taken: SnapshotResult | null,
  failure: WalrustError,
): WalrustError {
  const { code, message, context, retryable, hint } = failure;
  const { folder, spoolFolder } = paths;
  const place = spoolFolder.startsWith(`${folder}/`) ? "beside the database" : `in ${spoolFolder}`;
  const state =
    taken === null
      ? "The snapshot is not taken yet; the watch goes on trying"
      : `The snapshot of TXID ${taken.txid} is captured and waits ${place}; ` +
        "it goes up by itself when the store answers again";
  const details = { context, retryable, cause: failure, ...(hint === undefined ? {} : { hint }) };
  return new WalrustError(code, `${state}: ${message}`, details);
}
