/**
 * Decides how long an upload may stand still on the line that all uploads of one client share.
 *
 * An upload that stands still is cut off, so that its retry can take another connection. On a slow line that
 * would be wrong: the kernel takes a body of some megabytes at once, and then no movement shows until the
 * answer, while other uploads take their share of the line. So an upload is cut off only when
 *  1. nothing moved on the whole line for the stall limit: no socket took anything, no answer came, no byte
 *     was acknowledged on any connection; or
 *  2. the upload stood still for the stall limit, and for as long as all bytes on their way take at the rate
 *     of the last minute: then it hangs beside others that do not.
 * A proxy or a modem may buffer bytes that the line has yet to carry. When everything is acknowledged and
 * nothing answered, the uploads get the time that all their bytes take at 16 KB/s. Each stall gives the next
 * attempt more time, up to the time that its size takes at 2 KB/s, until an answer comes: one upload always
 * gets through.
 */
import type { Env } from "../../env.ts";
import { SocketAcks } from "./socket-acks.ts";

/** The slowest assumed rate while the line visibly moves, in bytes a ms. */
const RATE_MIN = 4;
/** The same for bytes in a buffer on the way: for all uploads at first, and for one upload after stalls. */
const BUFFERED_RATE = 16;
const BUFFERED_RATE_MIN = 2;
const RATE_WINDOW_MS = 30_000;
const DOUBLINGS_MAX = 8;
/** The kernel is polled at most this often. */
const ACKS_INTERVAL_MS = 1_000;

/** The line that all uploads of one client share. */
export class Uplink {
  readonly #env: Pick<Env, "monotonicMs">;
  readonly #acks: Pick<SocketAcks, "poll" | "isWaiting">;
  #movedMs: number;
  #polledMs = Number.NEGATIVE_INFINITY;
  /** Bytes of all bodies without an answer. */
  #outstandingBytes = 0;
  /** Stalls in a row of uploads that began one after the other. */
  #stalls = 0;
  #stalledMs = Number.NEGATIVE_INFINITY;
  #windowMs: number;
  #windowBytes = 0;
  #lastWindowBytes = 0;

  constructor(
    env: Pick<Env, "monotonicMs">,
    acks: Pick<SocketAcks, "poll" | "isWaiting"> = new SocketAcks(),
  ) {
    this.#env = env;
    this.#acks = acks;
    this.#movedMs = env.monotonicMs();
    this.#windowMs = this.#movedMs;
  }

  /** An upload begins. */
  begin(sizeBytes: number): UploadInFlight {
    this.#outstandingBytes += sizeBytes;
    return new UploadInFlight(this, sizeBytes, this.#env.monotonicMs(), this.#stalls);
  }

  /** How long no movement showed on the whole line. */
  get stillMs(): number {
    return this.#env.monotonicMs() - this.#movedMs;
  }

  /** As `stillMs`, after a poll of the kernel. */
  pollStillMs(): number {
    this.#poll(this.#env.monotonicMs(), ACKS_INTERVAL_MS);
    return this.stillMs;
  }

  /** A socket took something. */
  moved(): void {
    this.#movedMs = this.#env.monotonicMs();
  }

  /** The bytes of an upload are no longer on their way. */
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
    // Uploads that stood still together are one stall.
    if (startedMs < this.#stalledMs) return;
    this.#stalledMs = this.#env.monotonicMs();
    this.#stalls = Math.min(DOUBLINGS_MAX, this.#stalls + 1);
  }

  /** How much longer an upload may stand still, in ms. */
  graceMs({ sizeBytes, stallsBefore }: UploadInFlight, stillMs: number, stallMs: number): number {
    const nowMs = this.#env.monotonicMs();
    this.#poll(nowMs, Math.min(ACKS_INTERVAL_MS, stallMs / 10));
    const afterStallsMs = Math.min(stallMs * (2 ** stallsBefore - 1), sizeBytes / BUFFERED_RATE_MIN);
    const allMs = this.#acks.isWaiting ? 0 : this.#outstandingBytes / BUFFERED_RATE;
    const bufferedMs = Math.max(afterStallsMs, allMs);
    const lineLeftMs = stallMs + bufferedMs - Math.min(stillMs, this.stillMs);
    const shareMs = this.#outstandingBytes / this.#rate(nowMs);
    const ownLeftMs = stallMs + Math.max(bufferedMs, shareMs) - stillMs;
    return Math.min(lineLeftMs, ownLeftMs);
  }

  #poll(nowMs: number, intervalMs: number): void {
    if (nowMs - this.#polledMs < intervalMs) return;
    this.#polledMs = nowMs;
    if (this.#acks.poll()) this.#movedMs = nowMs;
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

/** One upload on the line; its owner has to call `ended`, whatever the outcome. */
export class UploadInFlight {
  #isOver = false;
  #isLineStill = false;

  constructor(
    readonly uplink: Uplink,
    readonly sizeBytes: number,
    readonly startedMs: number,
    /** Stalls in a row before it began: each gives it more time. */
    readonly stallsBefore: number,
  ) {}

  /** The socket took some of it. */
  moved(): void {
    this.uplink.moved();
  }

  /** The store answered: the line has carried all bytes. */
  answered(): void {
    if (!this.#isOver) this.uplink.answered(this.sizeBytes);
    this.ended();
  }

  /** Whether the whole line stood still when it was cut off; false if it hung beside others. */
  get isLineStill(): boolean {
    return this.#isLineStill;
  }

  ended(): void {
    if (!this.#isOver) this.uplink.ended(this.sizeBytes);
    this.#isOver = true;
  }

  /**
   * How much longer it may stand still, in ms; at 0 or less the caller cuts it off.
   * @param stillMs how long no movement of it showed
   */
  graceMs(stillMs: number, stallMs: number): number {
    const leftMs = this.uplink.graceMs(this, stillMs, stallMs);
    if (leftMs > 0) return leftMs;
    this.#isLineStill = this.uplink.stillMs >= stallMs;
    this.uplink.stalled(this.startedMs);
    return leftMs;
  }
}
