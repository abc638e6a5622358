/**
 * The Env of one simulated process: clock and sleeps on the scheduler, seeded randomness, the log in the
 * trace. After a crash no sleep ends, and a wait that blocks the thread throws.
 */
import type { Env, LogLevel } from "../../../src/env.ts";
import { Crashed } from "../seam/gate.ts";
import type { Chance } from "./chance.ts";
import type { Owner, Scheduler } from "./scheduler.ts";

/** Receives the lines of the log. */
export type OnLogLine = (level: LogLevel, message: string, database: string | undefined) => void;

/** Called when the process blocks its thread, so that others can act meanwhile. */
export type OnBlocked = () => void;

/** Makes the Env of a process. */
export function simEnv(
  scheduler: Scheduler,
  owner: Owner,
  chance: Chance,
  onLine: OnLogLine,
  onBlocked: OnBlocked,
): Env {
  const log =
    (level: LogLevel) =>
    (message: string, fields?: { database?: unknown }): void => {
      if (owner.isAlive) onLine(level, message, fields?.database as string | undefined);
    };
  return {
    log: { debug: log("debug"), info: log("info"), warn: log("warn"), error: log("error") },
    nowMs: () => Math.floor(scheduler.wallMs),
    monotonicMs: () => scheduler.nowMs,
    sleep: (durationMs, signal) => sleep(scheduler, owner, durationMs, signal),
    turn: () =>
      new Promise((resolve) => {
        scheduler.after(0, "turn", owner, resolve);
      }),
    sleepSync: (durationMs) => {
      if (!owner.isAlive) throw new Crashed();
      scheduler.pass(durationMs);
      onBlocked();
    },
    random: () => chance.next(),
    randomBytes: (byteCount) => Uint8Array.from({ length: byteCount }, () => chance.below(256)),
  };
}

function sleep(
  scheduler: Scheduler,
  owner: Owner,
  durationMs: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = scheduler.after(durationMs, "wake", owner, done);
    function done(): void {
      scheduler.cancel(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done, { once: true });
  });
}
