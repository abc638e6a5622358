/**
 * Uploads the pending files of one database in the order of their TXIDs, and removes each from the spool when
 * the store has acknowledged it.
 *
 * Two lanes run beside each other, each one file at a time: the links of the chain, and the later snapshots.
 * So increments do not wait for a snapshot of many gigabytes. `UploadLanes` decides when a run starts: after
 * growing waits when one failed, and never while the circuit breaker suspends requests. Each run returns its
 * outcome, and the caller decides about a bucket or spool that contradicts the local state.
 *
 * Invariants:
 * 1. No file is skipped. A file that the store refuses stays pending, and the next run sends it.
 * 2. Captures never wait for uploads, except with `--no-cache`.
 * 3. A file that may have been sent never changes: merges leave it out.
 * 4. At most one run is in each lane.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { hex, isChainLink } from "../../format/chain.ts";
import type { Txid } from "../../format/types.ts";
import { isSnapshotFile, removeSpoolFile, type SpoolFile, type SpoolFileName } from "../../local/spool.ts";
import { keepSent, sentRetentionMs } from "../../local/spool-cache.ts";
import { confirmState } from "../../local/state.ts";
import { rememberedObjects } from "../../storage/bucket/catalog.ts";
import { buildManifest, writeManifest } from "../../storage/bucket/manifest.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { type Circuit, isSuspension } from "../../storage/contract/circuit.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import type { Captured } from "../capture/live-database.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { contradictionOrNull } from "./bucket-status.ts";
import { foreignWriterError, recordForeignWriter } from "./foreign-writer.ts";
import { OverlapCheck } from "./overlap-check.ts";
import { type PublishOutcome, publish, type TakenKey } from "./publish.ts";
import { type ChainHold, MergeTiming, type PlannedMerge } from "./spool-merge.ts";
import { startStandingCheck } from "./standing-check.ts";
import { UploadHistory } from "./upload-history.ts";

/** How a run over the pending files of a lane ended. */
export type UploadOutcome =
  | { readonly kind: "drained" }
  /** The bucket or the spool contradicts the local state: adopt the bucket's newest TXID. */
  | { readonly kind: "adopt"; readonly reason: string }
  /** A merge has to come first, and takes long: the caller does it as a job. */
  | { readonly kind: "merge-due"; readonly captured: Captured; readonly merge: PlannedMerge }
  | { readonly kind: "aborted" };

const LANES = ["links", "snapshots"] as const;

/** The pending files that a run sends: links of the chain, or later snapshots. */
export type UploadLane = (typeof LANES)[number];

/**
 * The next file of a lane, or undefined. A snapshot waits for the links that lead to its TXID. If the spool
 * were lost before those links are sent, the history would continue after the snapshot with a gap for good.
 */
export function nextOfLane(live: Pick<Captured, "pending">, lane: UploadLane): SpoolFile | undefined {
  const link = live.pending.find(isChainLink);
  if (lane === "links") return link;
  const snapshot = live.pending.find((file) => !isChainLink(file));
  const isEarly = link !== undefined && snapshot !== undefined && link.minTxid <= snapshot.maxTxid;
  return isEarly ? undefined : snapshot;
}

/** Whether a file waits for its upload, or the bucket for its check. */
export function isUploadDue({ pending, isBucketUnchecked }: Captured): boolean {
  return pending.length > 0 || isBucketUnchecked === true;
}

function isLaneDue(live: Captured, lane: UploadLane): boolean {
  return nextOfLane(live, lane) !== undefined || (lane === "links" && live.isBucketUnchecked === true);
}

/**
 * Sends the pending files of a lane until none is left.
 * @throws WalrustError with a storage code when the store refuses after all retries; code "foreign-writer"
 * when another writer owns a key, which is then recorded in the state folder
 */
export async function uploadPending(
  live: Captured,
  context: Pick<WatchContext, "store" | "version" | "env" | "emit"> & {
    /** Whether uploaded increments stay in the spool for a while. */
    readonly keepsSent: boolean;
    /** Logs failures to write the manifest, over several runs. */
    readonly manifestTrouble?: Trouble;
    /** The uploads of earlier runs. */
    readonly history?: UploadHistory;
    /** Reserves a place before each file is chosen. */
    readonly puts?: WatchContext["puts"];
    /** Merges waiting captures before each link. */
    readonly merging?: MergeTiming | null;
  },
  signal: AbortSignal,
  lane: UploadLane,
): Promise<UploadOutcome> {
  const { store, env, keepsSent } = context;
  const history = context.history ?? new UploadHistory();
  if (live.isBucketUnchecked === true && isLaneDue(live, lane)) {
    const reason = await contradictionOrNull(live, store);
    if (reason !== null) return { kind: "adopt", reason };
    live.isBucketUnchecked = false;
  }
  if (history.revivedLinks.length === 0) history.revivedLinks = revivedLinksOf(live);
  let hasSnapshot = false;
  while (nextOfLane(live, lane) !== undefined) {
    const sent = await sendNext(live, context, signal, lane, history);
    if (sent === null) return { kind: "aborted" };
    if ("merge" in sent) return { kind: "merge-due", captured: live, merge: sent.merge };
    const { file, writer, outcome } = sent;
    if (!live.pending.includes(file)) return { kind: "aborted" };
    if (outcome.kind === "damaged") return { kind: "adopt", reason: outcome.reason };
    if (outcome.kind === "taken") return contradicted(live, outcome, writer, file, context, history);
    history.acknowledged(hex(file.sha256), isChainLink(file));
    if (isChainLink(file)) confirmRevived(live, file.maxTxid);
    if (isChainLink(file)) history.overlap?.acknowledged(file, signal);
    live.pending.splice(live.pending.indexOf(file), 1);
    if (keepsSent) keepSent(live.paths.spoolFolder, file, live.log);
    else removeSpoolFile(file);
    if (keepsSent && !isSnapshotFile(file)) live.sentBytes += file.sizeBytes;
    if (!isSnapshotFile(file)) live.uploadedBytes += file.sizeBytes;
    hasSnapshot ||= isSnapshotFile(file);
    if (isChainLink(file)) {
      const { level, minTxid, maxTxid } = file;
      history.lastLink = { level, minTxid, maxTxid, sha256: hex(file.sha256) };
      live.acknowledged = { txid: maxTxid, timeMs: outcome.timeMs, chain: chainTextOf(file, live) };
      startStandingCheck(live.name, context, history, signal);
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

/** The chain value of a link; the text of the state if that is the same, so that it is kept once. */
function chainTextOf({ chain }: SpoolFile, { state }: Captured): string {
  const text = hex(chain);
  return state?.chain === text ? state.chain : text;
}

/** A file that was sent, and the outcome. */
interface Sent {
  readonly file: SpoolFile;
  readonly writer: string;
  readonly outcome: PublishOutcome;
}

/**
 * Sends the next file of a lane. The file is chosen only when its place among all uploads is free, so that a
 * merge can take in every capture until then.
 * @returns the merge that has to come first; null when no file is left to send
 */
async function sendNext(
  live: Captured,
  context: Parameters<typeof uploadPending>[1],
  signal: AbortSignal,
  lane: UploadLane,
  history: UploadHistory,
): Promise<Sent | { readonly merge: PlannedMerge } | null> {
  const { store, version, merging } = context;
  const reservation = await context.puts?.reserve(signal);
  try {
    if (signal.aborted) return null;
    const merge = lane === "links" ? (merging?.beforeUpload(live) ?? null) : null;
    if (merge !== null) return { merge };
    const file = nextOfLane(live, lane);
    const writer = live.state?.writer;
    if (file === undefined || writer === undefined) return null;
    if (isChainLink(file)) {
      merging?.sending(live, file);
      history.overlap ??= new OverlapCheck(live.name, store, context.env, history);
      history.overlap.sending(file);
    }
    history.sending(hex(file.sha256));
    const publisher = { store, name: live.name, writer, version, lastLink: history.lastLink };
    return { file, writer, outcome: await publish(publisher, file, signal, reservation) };
  } finally {
    reservation?.end();
  }
}

/** The links that the bucket may hold although they wait. */
function revivedLinksOf({ pending, revivedTxid = 0 as Txid }: Captured): SpoolFileName[] {
  const revived = pending.filter((file) => isChainLink(file) && file.maxTxid <= revivedTxid);
  return revived.map(({ level, minTxid, maxTxid }) => ({ level, minTxid, maxTxid }));
}

/**
 * After a power cut, every link that waited at the attach is in the bucket now: the state counts as of this
 * boot.
 */
function confirmRevived(live: Captured, acknowledgedTxid: number): void {
  if (live.revivedTxid === undefined || acknowledgedTxid < live.revivedTxid) return;
  live.revivedTxid = undefined;
  confirmState(live.paths);
}

/** Decides about an object that this run did not put: from a lost state of ours, or from another writer. */
function contradicted(
  live: Captured,
  taken: TakenKey,
  writer: string,
  file: SpoolFile,
  context: Pick<WatchContext, "store" | "env">,
  history: UploadHistory,
): UploadOutcome {
  history.forgetLinks();
  if (!isOurDoing(taken, writer, file, history)) throw foreignWrite(live, taken, writer, file, context);
  return { kind: "adopt", reason: `${taken.key} was written by this writer, from a state that is lost` };
}

/**
 * Whether an object at a taken key can be our own, so that the local state is behind. A later snapshot
 * decides nothing, because the links before it have shown who writes here.
 */
function isOurDoing(taken: TakenKey, writer: string, file: SpoolFile, history: UploadHistory): boolean {
  if (history.wasSent(taken.sha256)) return true;
  if (taken.writer !== writer) return false;
  return !isChainLink(file) || history.mayHaveLostState();
}

/** Records another writer. @returns the error that stops the replication of this database */
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

/** Logs failures to write the manifest of a database. */
export function manifestTrouble(database: string, env: Pick<Env, "log" | "monotonicMs">): Trouble {
  return new Trouble(env, { database, what: "the manifest could not be written" });
}

/**
 * Rewrites the manifest from the remembered objects. The manifest is only an index, so a failure is logged
 * and stops nothing. It never names more than the store has acknowledged.
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
    const objects = await rememberedObjects(store, live.name, signal);
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

/** The outcome of a run in one lane. */
export type LaneOutcome = UploadOutcome | { readonly kind: "failed"; readonly error: unknown };

const NONE: readonly Promise<LaneOutcome>[] = [];

/**
 * The lanes of one database. Made with the first pending file, and dropped when `isCalm`: the history is all
 * that the next lanes need to know.
 */
export class UploadLanes {
  readonly #runs: Record<UploadLane, Promise<LaneOutcome> | null> = { links: null, snapshots: null };
  #backoff: Backoff | null = null;
  readonly #merging: MergeTiming | null;
  /** Made with the first run; it remembers a failure. */
  #manifestTrouble: Trouble | null = null;
  #isHurried = false;
  /** Whether the circuit breaker suspended requests at the last poll. */
  #wasSuspended = false;
  #liftCount: number;

  constructor(
    readonly context: Pick<WatchContext, "store" | "env" | "version" | "emit" | "puts" | "config" | "push">,
    /** Gives each run the signal that breaks it off. */
    readonly closing: { readonly signal: AbortSignal },
    /** The circuit breaker of the database, if any. */
    readonly breaker: Pick<Circuit, "state" | "isPassable" | "endCooldown" | "liftCount"> | null = null,
    /** How much of the chain is held fixed; if absent, no captures are merged. */
    hold: ChainHold | null = null,
    readonly history = new UploadHistory(),
  ) {
    this.#merging = hold && new MergeTiming(context.env, hold, history);
    this.#liftCount = breaker?.liftCount ?? 0;
  }

  /**
   * Starts a run in each lane with pending files, unless one runs, requests are suspended or a wait is not
   * over. A trial of a suspended store needs no other wait.
   * @returns the runs that were started
   */
  startDue(live: Captured, nowMs: number): readonly Promise<LaneOutcome>[] {
    if (!isUploadDue(live)) return NONE;
    this.context.push?.offer(live);
    const { liftCount = 0 } = this.breaker ?? {};
    if (liftCount !== this.#liftCount) this.#backoff = null;
    this.#liftCount = liftCount;
    const state = this.breaker?.state ?? "closed";
    // Another call of this database has shown that the store is back.
    if (state === "closed" && this.#wasSuspended) this.#backoff = null;
    this.#wasSuspended = state !== "closed";
    const isDue =
      state === "closed" ? this.#backoff?.isOver(nowMs) !== false : this.breaker?.isPassable === true;
    if (isDue) return this.#startLanes(live);
    if (this.#runs.links === null) this.#merging?.whileWaiting(live);
    return NONE;
  }

  /** Whether a pending file, or the check of the bucket, waits for the start of a run. */
  isWaiting(live: Captured): boolean {
    return LANES.some((lane) => this.#runs[lane] === null && isLaneDue(live, lane));
  }

  /** Whether a link of the chain may be on its way: then no merge may take it in. */
  get isSendingLinks(): boolean {
    return this.#runs.links !== null;
  }

  /**
   * Starts the runs at once, as the last chance; the first time even while requests are suspended.
   * @returns the runs that were started
   */
  start(live: Captured): readonly Promise<LaneOutcome>[] {
    if (!this.#isHurried) this.breaker?.endCooldown();
    this.#isHurried = true;
    this.context.push?.offer(live);
    return this.#startLanes(live);
  }

  #startLanes(live: Captured): readonly Promise<LaneOutcome>[] {
    const isTrial = this.breaker?.state === "half-open";
    const started: Promise<LaneOutcome>[] = [];
    for (const lane of LANES) {
      if (this.#runs[lane] !== null || !isLaneDue(live, lane)) continue;
      const run = this.#run(live, lane).finally(() => {
        this.#runs[lane] = null;
      });
      this.#runs[lane] = run;
      started.push(run);
      // Only one call is the trial; a second one would be refused.
      if (isTrial) break;
    }
    return started;
  }

  /** Whether nothing of the uploads is under way, neither a run nor a check that a failed run has left. */
  get isAtRest(): boolean {
    const { links, snapshots } = this.#runs;
    return links === null && snapshots === null && this.history.overlap?.isRunning !== true;
  }

  /** Whether nothing is under way and no failure has to be remembered, so that the lanes can be dropped. */
  get isCalm(): boolean {
    const hasFailed = this.#backoff !== null || this.#manifestTrouble?.hasFailed === true;
    return this.isAtRest && !hasFailed && !this.#isHurried;
  }

  /** Resolves when no run is under way. */
  async done(): Promise<void> {
    await Promise.all(LANES.map((lane) => this.#runs[lane]));
  }

  async #run(live: Captured, lane: UploadLane): Promise<LaneOutcome> {
    const { signal } = this.closing;
    try {
      this.#manifestTrouble ??= manifestTrouble(live.name, this.context.env);
      const { store, env, version, emit, puts } = this.context;
      const context = {
        ...{ store, env, version, emit, puts },
        manifestTrouble: this.#manifestTrouble,
        history: this.history,
        merging: this.#merging,
        keepsSent: sentRetentionMs(this.context.config.cache) > 0,
      };
      const outcome = await uploadPending(live, context, signal, lane);
      if (outcome.kind === "drained") this.#backoff = null;
      return outcome;
    } catch (error) {
      if (signal.aborted) return { kind: "aborted" };
      // A suspension needs no wait of its own: the lane starts again when the circuit breaker allows a call.
      if (!isSuspension(error)) {
        this.#backoff ??= new Backoff();
        this.#backoff.extend(this.context.env.monotonicMs());
      }
      return { kind: "failed", error };
    }
  }
}
