/**
 * An environment whose time passes only at a test's command, and whose log is recorded with all its fields.
 * Sleeps end when they are due; everything else (network, promises) is real.
 */
import { type Env, type Log, type LogLevel, systemEnv } from "../../src/env.ts";
import { eventually } from "../support/eventually.ts";

interface Sleep {
  readonly durationMs: number;
  readonly untilMs: number;
  readonly wake: () => void;
}

/** A line of the log: message and fields as one text. */
export interface LoggedText {
  readonly level: LogLevel;
  readonly text: string;
}

/** Wall clock at the start: 2026-01-15T10:30:00Z. */
export const START_MS = Date.UTC(2026, 0, 15, 10, 30);

/** Clock and log of one test. */
export class ManualTime {
  readonly lines: LoggedText[] = [];
  readonly env: Env;
  #elapsedMs = 0;
  readonly #sleeps = new Set<Sleep>();

  constructor() {
    const at =
      (level: LogLevel): Log["info"] =>
      (message, fields) => {
        this.lines.push({ level, text: `${message} ${JSON.stringify(fields ?? {})}` });
      };
    this.env = {
      ...systemEnv({ debug: at("debug"), info: at("info"), warn: at("warn"), error: at("error") }),
      nowMs: () => START_MS + this.#elapsedMs,
      monotonicMs: () => 1_000 + this.#elapsedMs,
      random: () => 0.5,
      sleep: (durationMs, signal) => this.#sleep(durationMs, signal),
    };
  }

  /** Durations of the pending sleeps, in the order they began. */
  get sleepsMs(): number[] {
    return [...this.#sleeps].map(({ durationMs }) => durationMs);
  }

  /** Advances the clock and ends the sleeps that are due. */
  pass(durationMs: number): void {
    this.#elapsedMs += durationMs;
    for (const sleep of [...this.#sleeps]) if (sleep.untilMs <= this.#elapsedMs) sleep.wake();
  }

  /** Waits until a sleep of this duration is pending. */
  async sleeping(durationMs: number): Promise<void> {
    await eventually(`a sleep of ${durationMs} ms`, async () => this.sleepsMs.includes(durationMs), 5_000);
  }

  /** Messages of one level. */
  said(level: LogLevel): string[] {
    return this.lines.filter((line) => line.level === level).map(({ text }) => text);
  }

  #sleep(durationMs: number, signal?: AbortSignal): Promise<void> {
    if (signal?.aborted) return Promise.resolve();
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#sleeps.delete(sleep);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleep: Sleep = { durationMs, untilMs: this.#elapsedMs + durationMs, wake };
      this.#sleeps.add(sleep);
      signal?.addEventListener("abort", wake, { once: true });
    });
  }
}
