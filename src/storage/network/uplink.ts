/**
 * The way to the store as all uploads of one client share it, and how long one of them may stand still.
 *
 * An upload that stands still is cut off, so that its retry can take another way. On a slow line that would
 * be wrong: the kernel takes a body of some megabytes at once, and then nothing is seen to move until it is
 * answered, while others take their share. So an upload is cut off only when
 *  1. nothing moved on the whole line for the stall limit: no socket took anything, no answer came, no byte
 *     was acknowledged on any connection; or
 *  2. it stood still for the stall limit and for as long as everything on its way takes at the rate of the
 *     last minute: then it hangs beside others that do not.
 * A proxy or a modem may swallow what the line has yet to carry. Once everything is acknowledged and nothing
 * answered, all that is on its way is given what it takes at 16 KB/s; and each stall gives the next try more
 * time, up to what its size takes at 2 KB/s, until something is answered: one always gets through.
 */
import type { Env } from "../../env.ts";
import { SocketAcks } from "./socket-acks.ts";

/** The slowest rate that is reckoned with while the line is seen to move, in bytes a ms. */
const RATE_MIN = 4;
/** The same for what was swallowed: for all of it at first, and for one upload after stalls. */
const SWALLOWED_RATE = 16;
const SWALLOWED_RATE_MIN = 2;
const RATE_WINDOW_MS = 30_000;
const DOUBLINGS_MAX = 8;
/** The kernel is asked no more often. */
const ACKS_INTERVAL_MS = 1_000;

/** What all uploads of one client share. */
export class Uplink {
  readonly #env: Pick<Env, "monotonicMs">;
  readonly #acks: Pick<SocketAcks, "look" | "isWaiting">;
  #movedMs: number;
  #lookedMs = Number.NEGATIVE_INFINITY;
  /** Bytes of all bodies that are not answered. */
  #outstandingBytes = 0;
  /** Stalls in a row, of uploads that began one after the other. */
  #stalls = 0;
  #stalledMs = Number.NEGATIVE_INFINITY;
  #windowMs: number;
  #windowBytes = 0;
  #lastWindowBytes = 0;

  constructor(
    env: Pick<Env, "monotonicMs">,
    acks: Pick<SocketAcks, "look" | "isWaiting"> = new SocketAcks(),
  ) {
    this.#env = env;
    this.#acks = acks;
    this.#movedMs = env.monotonicMs();
    this.#windowMs = this.#movedMs;
  }

  /** An upload begins. */
  begin(sizeBytes: number): UploadOnLine {
    this.#outstandingBytes += sizeBytes;
    return new UploadOnLine(this, sizeBytes, this.#env.monotonicMs(), this.#stalls);
  }

  /** How long nothing was seen to move on the whole line. */
  get stillMs(): number {
    return this.#env.monotonicMs() - this.#movedMs;
  }

  /** As `stillMs`, after the kernel was asked what it knows of the line. */
  lookStillMs(): number {
    this.#look(this.#env.monotonicMs(), ACKS_INTERVAL_MS);
    return this.stillMs;
  }

  /** A socket took something. */
  moved(): void {
    this.#movedMs = this.#env.monotonicMs();
  }

  /** The bytes of an upload are not on their way any more. */
  ended(sizeBytes: number): void {
    this.#outstandingBytes -= sizeBytes;
  }

  /** The store answered an upload. */
  answered(sizeBytes: number): void {
    const nowMs = this.#env.monotonicMs();
    this.#movedMs = nowMs;
    this.#stalls = 0;
    this.#turnWindow(nowMs);
    this.#windowBytes += sizeBytes;
  }

  /** An upload is cut off. */
  stalled(startedMs: number): void {
    // Those that stood still together are one stall.
    if (startedMs < this.#stalledMs) return;
    this.#stalledMs = this.#env.monotonicMs();
    this.#stalls = Math.min(DOUBLINGS_MAX, this.#stalls + 1);
  }

  /** How long an upload may go on standing still. */
  patienceMs({ sizeBytes, stallsBefore }: UploadOnLine, stillMs: number, stallMs: number): number {
    const nowMs = this.#env.monotonicMs();
    this.#look(nowMs, Math.min(ACKS_INTERVAL_MS, stallMs / 10));
    const afterStallsMs = Math.min(stallMs * (2 ** stallsBefore - 1), sizeBytes / SWALLOWED_RATE_MIN);
    const allMs = this.#acks.isWaiting ? 0 : this.#outstandingBytes / SWALLOWED_RATE;
    const swallowedMs = Math.max(afterStallsMs, allMs);
    const lineLeftMs = stallMs + swallowedMs - Math.min(stillMs, this.stillMs);
    const shareMs = this.#outstandingBytes / this.#rate(nowMs);
    const ownLeftMs = stallMs + Math.max(swallowedMs, shareMs) - stillMs;
    return Math.min(lineLeftMs, ownLeftMs);
  }

  #look(nowMs: number, intervalMs: number): void {
    if (nowMs - this.#lookedMs < intervalMs) return;
    this.#lookedMs = nowMs;
    if (this.#acks.look()) this.#movedMs = nowMs;
  }

  /** Answered bytes a ms over the last window and the one before. */
  #rate(nowMs: number): number {
    this.#turnWindow(nowMs);
    const spanMs = nowMs - this.#windowMs + RATE_WINDOW_MS;
    return Math.max(RATE_MIN, (this.#windowBytes + this.#lastWindowBytes) / spanMs);
  }

  #turnWindow(nowMs: number): void {
    const ageMs = nowMs - this.#windowMs;
    if (ageMs < RATE_WINDOW_MS) return;
    this.#lastWindowBytes = ageMs < 2 * RATE_WINDOW_MS ? this.#windowBytes : 0;
    this.#windowBytes = 0;
    this.#windowMs = nowMs;
  }
}

/** One upload on the line; `ended` has to be called in the end, whatever became of it. */
export class UploadOnLine {
  #isOver = false;
  #isLineStill = false;

  constructor(
    readonly uplink: Uplink,
    readonly sizeBytes: number,
    readonly startedMs: number,
    /** Stalls in a row before it began: they give it more time. */
    readonly stallsBefore: number,
  ) {}

  /** The socket took some of it. */
  moved(): void {
    this.uplink.moved();
  }

  /** The store answered: all of it was carried. */
  answered(): void {
    if (!this.#isOver) this.uplink.answered(this.sizeBytes);
    this.ended();
  }

  /** Whether it was cut off together with the whole line, and not because it hung beside others. */
  get isLineStill(): boolean {
    return this.#isLineStill;
  }

  ended(): void {
    if (!this.#isOver) this.uplink.ended(this.sizeBytes);
    this.#isOver = true;
  }

  /**
   * How long it may go on standing still, in ms; 0 or less: it is to be cut off.
   * @param stillMs how long nothing of it was seen to move
   */
  patienceMs(stillMs: number, stallMs: number): number {
    const leftMs = this.uplink.patienceMs(this, stillMs, stallMs);
    if (leftMs > 0) return leftMs;
    this.#isLineStill = this.uplink.stillMs >= stallMs;
    this.uplink.stalled(this.startedMs);
    return leftMs;
  }
}
