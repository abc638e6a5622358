/**
 * The watcher of one database. At each look it gathers facts, asks `planLook` for the next step, carries the
 * step out through parts that return outcomes, and folds each outcome into its record. Work, refusals and
 * failures get their objects when they come.
 *
 * Invariants:
 * 1. At most one job runs at a time. Nothing is captured and nothing checkpointed beside a job, except that
 *    captures continue beside a job that only reads. Uploads and upkeep run beside everything.
 * 2. `look` is synchronous and short, and holds no timer and no promise when nothing happens.
 * 3. The watcher survives every failure except another writer. A database that cannot be watched for a reason
 *    that may pass is tried again.
 */
import { judgeAttachFailure } from "../../discovery/admission.ts";
import { asWalrustError, hasCode, type WalrustError } from "../../errors.ts";
import type { Circuit } from "../../storage/contract/circuit.ts";
import { staleText } from "../capture/deleted-file.ts";
import type { LiveChecksum } from "../capture/image-checksum.ts";
import type { LiveDatabase } from "../capture/live-database.ts";
import { releaseForFullSpool, releaseIfHarmful } from "../capture/pin-release.ts";
import { type PollOutcome, WalPoller } from "../capture/wal-poller.ts";
import type { SharedContext, WatchContext } from "../context/watch-context.ts";
import type { WatchTarget } from "../context/watch-target.ts";
import type { RequestFacts } from "../requests/requests.ts";
import type { GivenUpkeep, UpkeepResult } from "../upkeep/maintenance.ts";
import { Snapshots } from "../upkeep/snapshots.ts";
import { pruneSpool } from "../upkeep/upkeep.ts";
import { UpkeepSchedule } from "../upkeep/upkeep-schedule.ts";
import { mergeBesideWriters } from "../upload/long-merge.ts";
import { isUploadDue, type LaneOutcome } from "../upload/uploader.ts";
import { Attachment } from "./attachment.ts";
import { deriveContext } from "./own-context.ts";
import { type JobKind, type LookAction, planLook, planSeen } from "./plan-look.ts";
import { gatherRequestFacts } from "./request-facts.ts";
import { absentError, SetAside } from "./set-aside.ts";
import { Turn } from "./wake-ups.ts";
import { gatherFacts, type Pace, paceOf, seenFacts, UNSUSPECTED, WatchRecord } from "./watch-record.ts";
import type { DatabaseStatus } from "./watch-status.ts";
import { WatcherHealth } from "./watcher-health.ts";
import { Work } from "./work.ts";

/** Between two attempts of a drain that sent nothing. */
const DRAIN_PAUSE_MS = 250;
/** `check-files`, `poll`, and the step that ends the look. */
const STEPS_MAX = 3;

/** One watched database: `start`, then `look` again and again; at the end `leave` or `drain`, and `close`. */
export class Watcher {
  readonly context: WatchContext;
  readonly turn = new Turn();
  readonly #record: WatchRecord;
  readonly #attachment: Attachment;
  readonly #health: WatcherHealth;
  readonly #poller: WalPoller;
  readonly #snapshots: Snapshots;
  readonly circuit: Circuit;
  /** Null while nothing waits, nothing is due and no failure has to be remembered. */
  #work: Work | null = null;
  /** The job that runs; never rejects. */
  #running: Promise<void> | null = null;
  #closing: Promise<void> | null = null;

  constructor(target: WatchTarget, shared: SharedContext) {
    const { name, config } = target;
    const { context, circuit, outages } = deriveContext(name, shared, config, target.paths);
    this.context = context;
    this.#health = new WatcherHealth(name, context, circuit, outages);
    this.#poller = new WalPoller(name, context);
    this.#snapshots = new Snapshots(name, context);
    this.#attachment = new Attachment(target, context, this.#poller, this.#snapshots);
    this.#record = new WatchRecord(target, this.#attachment, new UpkeepSchedule(context));
    this.circuit = circuit;
  }

  get target(): WatchTarget {
    return this.#record.target;
  }

  get name(): string {
    return this.#record.target.name;
  }

  get live(): LiveDatabase | null {
    return this.#attachment.live;
  }

  get mayMerge(): boolean {
    return this.#record.mayMerge;
  }

  /** The record, for reading: only the watcher assigns its fields. */
  get record(): Readonly<WatchRecord> {
    return this.#record;
  }

  /** Captured files that are not in the bucket. */
  get pendingCount(): number {
    return this.#attachment.progress.pendingCount;
  }

  get uploadLagMs(): number {
    return this.#health.uploadLagMs(this.#attachment.captured);
  }

  get poller(): WalPoller {
    return this.#poller;
  }

  /** How soon the next look is due. @param nowMs the monotonic clock */
  paceAt(nowMs: number): Pace {
    return paceOf(this.#record, this.#health, this.#snapshots, this.#work, this.#poller, nowMs);
  }

  /** The status of the database now. */
  status(): DatabaseStatus {
    return this.#health.status(this.#record, this.#snapshots);
  }

  start(): void {
    this.#startAttach(true);
  }

  /** A discovery found the database, again or still. */
  seen(): void {
    const record = this.#record;
    if (record.stopped !== null) return;
    const { blockedBy } = this.#health;
    const next = planSeen(seenFacts(record, blockedBy));
    if (next === "attach") this.#startAttach(true);
    else if (next === "report-absent") this.#aside().report(absentError(this.target.path));
    else if (next === "report-busy" && blockedBy !== null) this.#aside().report(blockedBy);
  }

  /** One look: does what is due now. @param isSpoolFull captures are stopped because the spool is full */
  look(nowMs: number, isSpoolFull: boolean): void {
    const record = this.#record;
    record.isSpoolFull = isSpoolFull;
    record.files = UNSUSPECTED;
    record.isPolled = false;
    this.#health.poll(nowMs, this.#attachment.captured);
    if (this.#health.isCircuitBack) this.#healIfDrained();
    this.#step(nowMs);
    if (this.paceAt(nowMs) !== "active") this.#rest();
  }

  /** Nothing is captured at present: drops what only work needs, once none is under way. */
  #rest(): void {
    // An upload under way still needs its check for another writer.
    if (this.#work?.isAtRest !== false) this.#record.uploads.rest(this.live);
    if (this.#work?.isCalm === true && !this.#attachment.hasPending) this.#work = null;
    if (this.#running === null && this.#work?.isAtRest !== false) this.context.closing.release();
  }

  #working(): Work {
    this.#work ??= new Work(this.#record, this.context, this.circuit, this.#snapshots);
    return this.#work;
  }

  /** The next step of leaving. */
  lookLeaving(nowMs: number): void {
    if (!this.#record.hasLeft) this.#step(nowMs);
  }

  #step(nowMs: number): void {
    for (let step = 0; step < STEPS_MAX; step++) {
      const facts = gatherFacts(this.#record, this.#health, this.#snapshots, nowMs);
      if (!this.#execute(planLook(facts), nowMs)) return;
    }
  }

  /** Carries a step out. @returns whether the look goes on with another step */
  #execute(action: LookAction, nowMs: number): boolean {
    const record = this.#record;
    const attachment = this.#attachment;
    if (action.kind === "poll") return this.#poll(nowMs);
    if (action.kind === "check-files") {
      record.files = attachment.checkFiles(record.hasFailed);
      record.hasFailed = false;
      return true;
    }
    if (action.kind === "attach") this.#attachDue();
    if (action.kind === "reattach") this.#attachAgain(action.reason);
    if (action.kind === "report-slow-attach") this.#report(this.#health.attachIsSlow(record));
    if (action.kind === "adopt") this.#startJob("blocking", () => this.#adopt());
    if (action.kind === "judge-mixture") this.#startJob("blocking", () => attachment.judgeMixture());
    if (action.kind === "anchor") this.#startJob("blocking", () => attachment.anchorAndBegin());
    if (action.kind === "snapshot")
      this.#startJob("reading", async () => this.#report(await attachment.takeSnapshot()));
    if (action.kind === "last-capture") this.#startLastCapture(action.mayAttach);
    if (action.kind === "relieve" && this.live !== null) releaseIfHarmful(this.live, this.context, this.name);
    if (action.kind === "release") this.#releaseForSpool(nowMs);
    if (action.kind === "follow-deleted") this.#followDeleted(nowMs);
    if (action.kind === "send") this.#send(nowMs, action.isLastChance);
    if (action.kind === "leave") record.hasLeft = true;
    return false;
  }

  /** Captures, then sends and keeps up what is due. @returns whether a snapshot is due, which may follow */
  #poll(nowMs: number): boolean {
    const { live } = this;
    if (live === null) return false;
    this.#record.isPolled = true;
    try {
      const limits = { mayCheckpoint: !this.#record.isJobRunning, fileNews: this.turn.fileNewsOf(live) };
      const outcome = this.#poller.poll(live, nowMs, limits);
      this.#snapshots.reached(live.state?.txid ?? 0, outcome.kind === "captured" ? outcome.frames : 0);
      if (!this.#applyPoll(outcome)) return false;
      this.#noteCapturing(live);
    } catch (error) {
      this.fail(error);
    }
    this.#send(nowMs, false);
    const { upkeep, uploads } = this.#record;
    if (uploads.takeSuspicion()) upkeep.reconcile.missed(nowMs);
    if (upkeep.takePrune(live, nowMs)) pruneSpool(live, this.context);
    if (upkeep.dueJob(live, nowMs, this.#snapshots.taken) !== "none") this.#working().keepUp(live, nowMs);
    return this.#snapshots.isDue(nowMs);
  }

  #followDeleted(nowMs: number): void {
    const { live } = this;
    try {
      const isWhole = live === null || this.#poller.pollDeleted(live, nowMs, this.#record.isJobRunning);
      this.#health.followed(isWhole);
    } catch (error) {
      this.fail(error);
    }
    this.#send(nowMs, false);
  }

  /** @returns false when the files are replaced */
  #applyPoll(outcome: PollOutcome): boolean {
    if (outcome.kind === "captured") this.#healIfDrained();
    // Beside a snapshot nothing is mended: what is broken is found again when the snapshot is written.
    if (this.#record.isJobRunning) return true;
    if (outcome.kind === "mixture") this.#startJob("blocking", () => this.#attachment.judgeMixture());
    if (outcome.kind === "re-anchor") this.#attachment.breakHistory(outcome.reason);
    if (outcome.kind === "replaced") this.#attachAgain(outcome.reason);
    return outcome.kind !== "replaced";
  }

  /** The spool is full: uploads continue, and the application's WAL must not grow without bound. */
  #releaseForSpool(nowMs: number): void {
    if (this.live !== null && !this.#record.isJobRunning) releaseForFullSpool(this.live);
    this.#health.blocked(null);
    this.#send(nowMs, false);
  }

  #send(nowMs: number, isLastChance: boolean): void {
    const { captured } = this.#attachment;
    if (captured === null || !isUploadDue(captured)) return;
    const { lanes, sending } = this.#working();
    const runs = isLastChance ? lanes.start(captured) : lanes.startDue(captured, nowMs);
    for (const run of runs) {
      const folded = run.then((outcome) => this.#applyUpload(outcome)).finally(() => sending.delete(folded));
      sending.add(folded);
    }
  }

  async #applyUpload(outcome: LaneOutcome): Promise<void> {
    const record = this.#record;
    if (outcome.kind === "adopt") this.#attachment.contradicted(outcome.reason);
    if (outcome.kind === "failed") {
      record.wasBucketMissing ||= hasCode(outcome.error, "missing-bucket");
      this.#report(outcome.error);
    }
    if (outcome.kind === "drained") {
      // The cause that took the bucket away may have taken its objects too.
      if (record.wasBucketMissing) this.#snapshots.request("the bucket had been missing");
      record.wasBucketMissing = false;
      if (this.#snapshots.takeRetention(this.live)) record.upkeep.maintenance.requestRetention();
      this.#healIfDrained();
    }
    if (outcome.kind === "merge-due") {
      if (record.isFree && this.#work?.lanes.isSendingLinks !== true)
        await this.#startJob("blocking", () =>
          mergeBesideWriters(outcome, this.live, this.#poller, this.context),
        );
      // A drain sends again by itself.
      if (record.phase !== "ending") this.#send(this.context.env.monotonicMs(), false);
    }
  }

  // Jobs

  /** Starts a job. @returns its end, which never rejects */
  #startJob(kind: Exclude<JobKind, "none">, work: () => Promise<void>): Promise<void> {
    this.#record.jobSinceMs = this.context.env.monotonicMs();
    this.#record.job = kind;
    this.#running = this.#runJob(work);
    return this.#running;
  }

  async #runJob(work: () => Promise<void>): Promise<void> {
    const { live } = this;
    try {
      await work();
      this.#health.worked();
    } catch (error) {
      this.fail(error);
    }
    if (live !== null) live.imageTxid = null;
    this.#record.job = "none";
    this.#running = null;
  }

  #attachDue(): void {
    const { refused, isDiscovered } = this.#record;
    // A glob's find is judged until it was attached once, a named database at start and while set aside.
    this.#startAttach(refused !== null || (isDiscovered && !this.#attachment.wasAttached));
  }

  /** @param isJudged whether a failure may set the database aside, or stop it */
  #startAttach(isJudged: boolean): void {
    const record = this.#record;
    record.hasFailed = false;
    void this.#startJob("blocking", async () => {
      try {
        await this.#attach(null);
        record.setAside = null;
      } catch (error) {
        if (!isJudged) throw error;
        const verdict = judgeAttachFailure(error, record.isDiscovered);
        if (verdict === "set-aside") return this.#refuse(asWalrustError(error));
        record.setAside?.end();
        if (verdict === "retry") throw error;
        this.stop(asWalrustError(error));
      }
    });
  }

  async #attach(reason: string | null): Promise<void> {
    await this.#attachment.attach(reason, this.context.stopping);
    this.#healIfDrained();
  }

  #attachAgain(reason: string): void {
    const record = this.#record;
    this.#health.blocked(null);
    record.isFileAbsent = record.isGone;
    if (record.isFileAbsent) return this.context.env.log.debug(reason, { database: this.name });
    this.context.env.log.warn(`${reason}${staleText(this.live)}; pinning again`, { database: this.name });
    record.setAside = null;
    this.#attachment.detach();
    void this.#startJob("blocking", () => this.#attach(reason));
  }

  async #adopt(): Promise<void> {
    this.#record.hasFailed = false;
    await this.#work?.uploadsDone();
    await this.#attachment.adopt();
    this.#healIfDrained();
  }

  // Failures

  #aside(): SetAside {
    this.#record.setAside ??= new SetAside(this.target, this.context);
    return this.#record.setAside;
  }

  /** The database cannot be watched yet. */
  #refuse(failure: WalrustError): void {
    // The attach may have got as far as the pin, and the next attempt takes its own.
    this.#attachment.detach();
    if (!this.#record.isDiscovered) this.#health.refused(failure);
    this.#aside().begin(failure);
  }

  /** A look or a job failed: it is tried again after a wait. */
  fail(error: unknown): void {
    if (this.context.closing.isClosed || error === this.context.stopping.reason) return;
    const record = this.#record;
    const failure = asWalrustError(error);
    const isAttached = this.live !== null;
    record.hasFailed = true;
    this.#health.waits(failure, isAttached);
    if (!isAttached && !record.isDiscovered && failure.code === "database-busy")
      this.#aside().reportBusy(failure);
    record.isFileAbsent = isAttached && record.isGone;
    this.#report(failure);
  }

  #report(error: unknown): void {
    if (error === null) return;
    const failure = asWalrustError(error);
    const effect = this.#health.report(failure, this.#record.isGone);
    if (effect === "stop") this.stop(failure);
    const refused = effect === "keep-detached" ? this.#attachment.keepDetached(true) : null;
    if (refused !== null) this.#health.failed(asWalrustError(refused));
  }

  /** A poll went well: whether captures are possible. */
  #noteCapturing(live: LiveDatabase): void {
    const isHeld = live === this.live && live.pin.state !== "released";
    if (!isHeld || this.#attachment.anchorReason !== null) return this.#health.blocked(null);
    if (this.#health.unblocked()) this.#healIfDrained();
  }

  #healIfDrained(): void {
    const isDrained = this.live !== null && this.live.pending.length === 0;
    if (isDrained && !this.#snapshots.isFailing) this.#health.healed();
  }

  /** Gives the database up for good; others continue. */
  stop(failure: WalrustError): void {
    if (this.#record.stopped !== null) return;
    this.#record.stopped = failure;
    const { env, emit } = this.context;
    env.log.error(`${failure.message}; stopped`, { database: this.name, hint: failure.hint });
    emit({ event: "stopped", database: this.name, code: failure.code, message: failure.message });
    this.#health.blocked(failure);
    // A job that reads the database has to end before the pin goes.
    if (this.#running !== null) void this.#running.then(() => this.#attachment.detach());
    else this.#attachment.detach();
  }

  get requestFacts(): RequestFacts {
    return gatherRequestFacts(this.#record, this.#health, this.#snapshots, this.#poller);
  }

  /** Takes a snapshot of now as soon as possible. */
  requestSnapshot(): void {
    this.#snapshots.request("requested");
  }

  /** Reads the whole live database as a job. @returns its checksum, or null when it cannot be read now */
  async readChecksum(): Promise<LiveChecksum | null> {
    let checksum: LiveChecksum | null = null;
    await this.#startJob("reading", async () => {
      checksum = await this.#attachment.readChecksum();
    });
    return checksum;
  }

  /** Compacts at once and applies retention. @throws as `Upkeep.request` */
  async keepUp(given: GivenUpkeep, isForced: boolean): Promise<UpkeepResult> {
    const { givenUp } = this.#record;
    if (givenUp !== null) throw givenUp;
    return this.#working().upkeep.request(this.live, given, isForced);
  }

  // The end

  /** The database is not found any more: `lookLeaving` from here on, until it `hasLeft`. */
  leave(reason: string): void {
    this.#record.leave(reason);
  }

  /** The database is found again: continues, or ends at once so that a new watcher can. */
  comeBack(): void {
    this.#record.comeBack();
  }

  /** The watch ends: captures what is there for the last time and uploads it. */
  async drain(): Promise<void> {
    this.#record.phase = "ending";
    this.#record.hasLeft = false;
    while (!this.#record.hasLeft) {
      await this.#running;
      const before = this.#attachment.captured?.pending.length ?? 0;
      this.#step(this.context.env.monotonicMs());
      if (this.#running !== null || this.#record.hasLeft) continue;
      await this.#work?.uploadsDone();
      const after = this.#attachment.captured?.pending.length ?? 0;
      if (after >= before) await this.context.env.sleep(DRAIN_PAUSE_MS, this.context.closing.signal);
    }
  }

  #startLastCapture(mayAttach: boolean): void {
    const record = this.#record;
    record.isLastCaptureTaken = true;
    const last = record.lastCapture(mayAttach, this.#attachment.wasAttached);
    void this.#startJob("blocking", async () => {
      const failures = await this.#attachment.takeLast(last);
      const { isClosed } = this.context.closing;
      record.isEndKnown = failures.length === 0 || !isClosed;
      if (!isClosed) for (const failure of failures) this.#report(failure);
    });
  }

  /** Stops uploading and releases the database. Nothing is lost: the spool keeps what was captured. */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.#record.isClosing = true;
    this.context.closing.close();
    await this.#work?.uploadsDone();
    await this.#work?.upkeep.done();
    await this.#running;
    this.#attachment.detach();
  }
}
