/**
 * The jobs of one watched database: what takes long, and reads or replaces what all looks count on (attach,
 * adopt, anchor, snapshot).
 *
 * Invariants:
 * 1. At most one job runs at a time. One that is a reading job leaves what was captured as it is, so captures
 *    go on beside it.
 * 2. An anchor that is due stays due until it is done: nothing is captured on a broken history.
 */
import type { KnownFiles } from "../../database/wal/wal-ownership.ts";
import type { AttachTarget } from "../../discovery/attach-target.ts";
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import type { DatabaseState } from "../../local/state.ts";
import { type Attached, adopt } from "../attach/adopt.ts";
import { type AttachResult, attach } from "../attach/attach.ts";
import { anchor, type Predecessor } from "../capture/anchor.ts";
import { capture } from "../capture/capture.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import { setPinCondition } from "../capture/wal-index-check.ts";
import type { WalPoller } from "../capture/wal-poller.ts";
import type { WatchContext } from "../context/watch-context.ts";
import type { Snapshots } from "../upkeep/snapshots.ts";

/** An attach that waits longer than this for its store makes room for another. */
const ATTACH_PATIENCE_MS = 2_000;

/** An anchor that takes longer, such as that of a large database, lets another go on when one waits. */
const ANCHOR_TURN_MS = 5_000;

/** What jobs need of the rest of a watcher, and whom they tell. */
export interface JobHost {
  readonly keeper: WalPoller;
  readonly snapshots: Snapshots;
  /** Resolves when no upload is on its way. */
  uploadsDone(): Promise<void>;
  /** A job ended as it should. */
  worked(): void;
  /** A job failed: nothing is tried for a while. */
  failed(error: unknown): void;
  /** A snapshot could not be taken; nothing else waits for it. */
  snapshotFailed(error: unknown): void;
  /** The history is sound again. */
  settled(): void;
}

/** The jobs of one database, and the database itself while it is attached. */
export class DatabaseJobs {
  live: LiveDatabase | null = null;
  /** An anchor that has to be made before anything else is captured. */
  anchorDue: { readonly before: Predecessor; readonly reason: string } | null = null;
  /** Why the local state has to be given up for the bucket's, or null. */
  adoptReason: string | null = null;
  #hasBegun = false;
  #running: Promise<void> | null = null;
  #isReading = false;
  /** The files of the last pin. */
  #files: KnownFiles | null = null;
  /** The TXID of the image that is being read, or null. */
  #imageTxid: number | null = null;

  constructor(
    readonly target: AttachTarget,
    readonly context: WatchContext,
    readonly host: JobHost,
  ) {}

  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** Whether it is attached, anchored and said to be watched. */
  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** Whether captures have to wait for the job that runs. */
  get isBlocking(): boolean {
    return this.#running !== null && !this.#isReading;
  }

  /**
   * The TXID beyond which pending increments may be merged: a snapshot that is being written carries the
   * chain value of its own. Null while nothing may.
   */
  mergeableAfter(): number | null {
    if (this.isBlocking || this.anchorDue !== null || this.adoptReason !== null) return null;
    return this.#imageTxid ?? 0;
  }

  /** Runs work that reads and changes what waits; nothing is captured meanwhile. Not beside another job. */
  async runExclusively(work: () => Promise<void>): Promise<void> {
    if (this.isRunning) return;
    this.run(work);
    await this.#running;
  }

  /** Resolves when no job runs. Never rejects. */
  async done(): Promise<void> {
    await this.#running;
  }

  /** Starts a job. No other may be running. */
  run(job: () => Promise<void>): void {
    this.#running = job()
      .then(() => this.host.worked())
      .catch((error) => this.host.failed(error))
      .finally(() => {
        this.#running = null;
        this.#isReading = false;
        this.#imageTxid = null;
      });
  }

  /** Lets go of the database. What an upload was sending is found again by the next attach. */
  detach(): void {
    // Their successors must not be opened with a -wal that belongs to them.
    this.#files = this.live?.pin.known() ?? this.#files;
    this.live?.pin.close();
    if (this.live !== null) this.live.pending.length = 0;
    this.live = null;
    this.anchorDue = null;
    this.#hasBegun = false;
  }

  /**
   * @param reason why it was let go of before, if it was
   * @param until ends the wait for others
   */
  async attach(reason: string | null = null, until: AbortSignal = this.context.stopping): Promise<void> {
    const { attaches, store, env, writers } = this.context;
    const work = async (): Promise<AttachResult> => {
      // Hundreds may wait: each leaves the others a turn.
      if (attaches.isContended) await env.turn();
      until.throwIfAborted();
      const { hasUnseenCommits } = this.host.keeper;
      return attach(this.target, store, env, { files: this.#files, hasUnseenCommits, writers });
    };
    const attached = await attaches.runPatiently(work, ATTACH_PATIENCE_MS, env, until);
    const { live, condition } = attached;
    this.live = live;
    setPinCondition(condition, this.context.conditions);
    if (reason !== null) live.pinLost = reason;
    await this.#settle(attached);
  }

  /** Gives the local state up for the bucket's. */
  async adopt(): Promise<void> {
    await this.host.uploadsDone();
    const { live } = this;
    if (live === null) return;
    await this.#settle(await adopt(live, this.context.store, this.context.env, this.adoptReason ?? ""));
    this.adoptReason = null;
  }

  /** Does what attaching or adopting asked for: an anchor, a snapshot. */
  async #settle(attached: Attached): Promise<void> {
    this.anchorDue = attached.anchor;
    if (attached.needsSnapshot) this.host.snapshots.request("the bucket lost objects");
    await this.anchorDueNow();
    const { name, state } = attached.live;
    if (state !== null) this.context.writers.add(name, state.writer);
    this.host.settled();
  }

  /** Makes the anchor that is due, if any; from the first one on the database is watched. */
  async anchorDueNow(): Promise<void> {
    await this.anchor();
    const { live } = this;
    if (live === null || this.#hasBegun) return;
    this.#hasBegun = true;
    this.host.snapshots.begin(live);
    const { name, path } = this.target;
    this.context.emit({ event: "watching", database: name, path, txid: live.state?.txid ?? 0 });
  }

  /**
   * Makes the anchor that is due, if any. @throws WalrustError, retryable, when the database cannot be read
   * yet
   */
  async anchor(): Promise<void> {
    const { env, emit, anchors, closing } = this.context;
    const { live } = this;
    const { snapshots, keeper } = this.host;
    const due = this.anchorDue;
    if (live === null || due === null) return;
    const work = (between: () => Promise<void>) => anchor(live, due.before, env, closing, between);
    const outcome = await anchors.runInTurns(work, ANCHOR_TURN_MS, env, closing);
    if (outcome.kind === "later") throw busy(live, outcome.reason);
    this.anchorDue = null;
    keeper.anchored(env.monotonicMs());
    if (outcome.kind === "unchanged") return;
    if (outcome.mode === "first") return snapshots.begun();
    snapshots.captured(outcome.pageCount);
    const database = this.target.name;
    const what = `re-anchored with ${outcome.pageCount} pages (${outcome.mode})`;
    // Without locks a difference is the rule, and a condition says so.
    env.log[live.pin.isLoose ? "debug" : "warn"](`${what}: ${due.reason}`, { database });
    emit({ event: "re-anchored", database, txid: due.before.txid + 1, reason: due.reason });
  }

  /** Starts the snapshot that is due; captures go on while it is written. */
  startSnapshot(): void {
    this.#runReading(async () => {
      const { live } = this;
      const state = live?.state;
      if (live === null || !state) return;
      try {
        await this.host.snapshots.take(live, () => this.#captureFrozen(live, live.state ?? state));
      } catch (error) {
        if (this.context.closing?.aborted) return;
        // The database is not what was captured: a difference brings the history back to it.
        const isOther = live.state !== null && hasCode(error, "integrity");
        if (isOther) this.anchorDue ??= { before: live.state ?? state, reason: errorMessage(error) };
        this.host.snapshotFailed(error);
      }
    });
  }

  /** Runs work on the frozen file as a job, beside which captures go on. Never rejects. */
  async runFrozen(work: (live: LiveDatabase, index: WalIndexHeader) => Promise<void>): Promise<void> {
    this.#runReading(async () => {
      const { live } = this;
      if (live === null || live.state === null) return;
      const index = this.#captureFrozen(live, live.state);
      await this.context.anchors.run(() => work(live, index), this.context.closing);
    });
    await this.#running;
  }

  #runReading(job: () => Promise<void>): void {
    this.#isReading = true;
    this.run(job);
  }

  /** Captures up to now under a freeze. @returns the wal-index that an image can be read at */
  #captureFrozen(live: LiveDatabase, state: DatabaseState): WalIndexHeader {
    if (!live.pin.freeze()) throw busy(live, "a checkpoint is running");
    const outcome = capture(live, this.context.env);
    if (outcome.kind === "re-anchor") {
      this.anchorDue = { before: state, reason: outcome.reason };
      throw busy(live, outcome.reason);
    }
    if (outcome.index === null) throw busy(live, "the wal-index is being changed");
    this.#imageTxid = live.state?.txid ?? null;
    return outcome.index;
  }
}

function busy(live: LiveDatabase, reason: string): WalrustError {
  return new WalrustError("database-busy", `Cannot read ${live.path} yet: ${reason}`, { retryable: true });
}
