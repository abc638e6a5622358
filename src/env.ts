/**
 * The seam to the outside: clock, sleep, random, log, and the system's libc. Date.now, setTimeout and
 * Math.random are called in this file alone, so that a test can drive the program with a fake clock and a
 * seed.
 */

import { dlopen, type FFIFunction, type Library } from "bun:ffi";
import { homedir } from "node:os";

/** Severity of a log line, least first. */
export type LogLevel = "debug" | "info" | "warn" | "error";

/** Receives log lines. The field `database` holds the name of the database that a line is about. */
export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
}

/** Facts beside a log message; `database` comes first in text output. Never a secret. */
export type LogFields = Readonly<Record<string, string | number | boolean | undefined>>;

/** Clock, sleep, random and log. Only main.ts makes a real one and hands it down. */
export interface Env {
  readonly log: Log;
  /** Wall clock in ms since the epoch; may jump. For timestamps only. */
  nowMs(): number;
  /** Monotonic clock in ms, for intervals and deadlines. */
  monotonicMs(): number;
  /** Resolves after `durationMs`, or at once when `signal` aborts. Never rejects. */
  sleep(durationMs: number, signal?: AbortSignal): Promise<void>;
  /** Yields to all other ready work once: between slices of long synchronous work. */
  turn(): Promise<void>;
  /**
   * Blocks the thread. Only for waits of a few ms within a synchronous SQLite step. Linux adds some 0.07 ms
   * to each wait.
   */
  sleepSync(durationMs: number): void;
  /** Uniform in [0, 1). */
  random(): number;
  /** `byteCount` random bytes. */
  randomBytes(byteCount: number): Uint8Array;
}

/** A log that drops everything. */
export const SILENT_LOG: Log = { debug() {}, info() {}, warn() {}, error() {} };

/** The real clock, sleep and random, with the given log. */
export function systemEnv(log: Log): Env {
  return {
    log,
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    sleep: systemSleep,
    turn: () => new Promise((resolve) => setImmediate(resolve)),
    sleepSync: blockThread,
    random: () => Math.random(),
    randomBytes: (byteCount) => crypto.getRandomValues(new Uint8Array(byteCount)),
  };
}

type Usleep = (durationUs: number) => number;

/** Null: this system has no libc to reach. Undefined: not asked yet. */
let usleep: Usleep | null | undefined;

/**
 * Blocks for a time of the kernel's, which no jump of the wall clock changes. `Bun.sleepSync` cuts fractions
 * of a ms off. `Atomics.wait` knows them, but waits for a time of the wall clock: when this clock is set back
 * by an hour meanwhile, it blocks for an hour.
 */
function blockThread(durationMs: number): void {
  if (durationMs >= 1) return Bun.sleepSync(durationMs);
  if (usleep === undefined) {
    const functions = libcFunctionsOrNull({ usleep: { args: ["u32"], returns: "i32" } });
    usleep = functions?.usleep ?? null;
  }
  if (usleep === null) Bun.sleepSync(1);
  else usleep(Math.max(0, Math.ceil(durationMs * 1000)));
}

function systemSleep(durationMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const timer = setTimeout(done, Math.max(0, durationMs));
    function done(): void {
      clearTimeout(timer);
      signal?.removeEventListener("abort", done);
      resolve();
    }
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Unpredictable hex digits for names of temporary files. No decision depends on them. */
export function randomTag(): string {
  return Buffer.from(crypto.getRandomValues(new Uint8Array(8))).toString("hex");
}

/** The home folder from $HOME or the user database. Null for a user without one. */
export function homeFolderOrNull(): string | null {
  try {
    return homedir();
  } catch {
    // A container may run under a user id that no user database contains.
    return null;
  }
}

const MACHINE = process.arch === "arm64" ? "aarch64" : "x86_64";
/** libc by the names it has on macOS, and on Linux with glibc and with musl. */
const LIBC_NAMES =
  process.platform === "darwin"
    ? ["libSystem.B.dylib"]
    : ["libc.so.6", `libc.musl-${MACHINE}.so.1`, `ld-musl-${MACHINE}.so.1`, "libc.so"];

/** The functions of libc with these signatures, or null if this system has no libc with all of them. */
export function libcFunctionsOrNull<const Functions extends Readonly<Record<string, FFIFunction>>>(
  functions: Functions,
): Library<Functions>["symbols"] | null {
  for (const name of LIBC_NAMES) {
    try {
      return dlopen(name, functions).symbols;
    } catch {
      // Not this libc, or a function that it lacks: the next name is tried.
    }
  }
  return null;
}
