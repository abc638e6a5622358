/**
 * The scheduler: the clock of a run, and the events that are to come. Of the events that are due, the seed
 * chooses the next one. Between two events all promises run until none is left.
 *
 * Invariants:
 * 1. The monotonic clock never goes back. The wall clock may jump both ways.
 * 2. An event of a process that has crashed does not run.
 */
import { drainMicrotasks } from "bun:jsc";
import type { Chance } from "./chance.ts";
import type { Trace } from "./trace.ts";

/** A process whose events end with it. */
export interface Owner {
  readonly isAlive: boolean;
  /** A power cut has ended its machine, which has started again: no request is under way any more. */
  readonly hasNoRequests?: boolean;
}

/** The owner of events that no crash ends: the application, the store, the plan of the run. */
export const WORLD: Owner = { isAlive: true };

/** An event that is to come. */
export interface Timer {
  readonly atMs: number;
  readonly label: string;
  readonly owner: Owner;
  readonly run: () => void;
}

/** Events that are closer than this may change places. */
const JITTER_MS = 1;
/** 2026-01-01, so that times in objects look like times. */
const BEGIN_MS = 1_767_225_600_000;

/** The clock and the events of one run. */
export class Scheduler {
  #nowMs = 1_000;
  #wallOffsetMs = BEGIN_MS;
  readonly #timers = new Set<Timer>();
  #eventCount = 0;

  constructor(
    readonly chance: Chance,
    readonly trace: Trace,
  ) {}

  /** The monotonic clock, in ms. */
  get nowMs(): number {
    return this.#nowMs;
  }

  /** The wall clock, in ms since the epoch. */
  get wallMs(): number {
    return this.#nowMs + this.#wallOffsetMs;
  }

  /** Events that ran. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** Events that are to come, for an error message. */
  get waiting(): readonly string[] {
    return [...this.#timers].map(({ label, atMs }) => `${label} in ${(atMs - this.#nowMs).toFixed(1)} ms`);
  }

  /** Lets time pass without an event: an operation, or a wait that blocks the thread. */
  pass(durationMs: number): void {
    this.#nowMs += durationMs;
  }

  /** Moves the wall clock alone. */
  jump(offsetMs: number): void {
    this.#wallOffsetMs += offsetMs;
  }

  /** Adds an event. @returns the timer, for `cancel` */
  after(delayMs: number, label: string, owner: Owner, run: () => void): Timer {
    const timer = { atMs: this.#nowMs + Math.max(0, delayMs), label, owner, run };
    this.#timers.add(timer);
    return timer;
  }

  /** Removes an event. */
  cancel(timer: Timer): void {
    this.#timers.delete(timer);
  }

  /** Removes the events of a process that has crashed. */
  cancelDead(): void {
    for (const timer of this.#timers) if (!timer.owner.isAlive) this.#timers.delete(timer);
  }

  /** Runs the next event, and all promises that it settles. @returns false when there is none */
  step(): boolean {
    this.cancelDead();
    const timer = this.#next();
    if (timer === null) return false;
    this.#timers.delete(timer);
    this.#nowMs = Math.max(this.#nowMs, timer.atMs);
    this.#eventCount++;
    this.trace.add(`${this.#nowMs.toFixed(2)} ${timer.label}`);
    timer.run();
    this.settle();
    return true;
  }

  /** Runs all promises that can continue. */
  settle(): void {
    drainMicrotasks();
  }

  #next(): Timer | null {
    let earliestMs = Number.POSITIVE_INFINITY;
    for (const { atMs } of this.#timers) earliestMs = Math.min(earliestMs, atMs);
    const dueMs = Math.max(earliestMs + JITTER_MS, this.#nowMs);
    const due: Timer[] = [];
    for (const timer of this.#timers) if (timer.atMs <= dueMs) due.push(timer);
    return due.length === 0 ? null : this.chance.of(due);
  }
}
