/**
 * The real environment: its clocks and random agree with the system's. A sleep ends on time, or at once on an
 * abort, and leaves no listener on the signal.
 */
import { describe, expect, test } from "bun:test";
import { getEventListeners } from "node:events";
import { join } from "node:path";
import { ShiftedClock } from "../scripts/chaos/machine/shifted-clock.ts";
import { libcFunctionsOrNull, SILENT_LOG, systemEnv } from "../src/env.ts";
import { PEERS_REQUIRED } from "./support/servers/peers.ts";
import { tempFolder } from "./support/temp.ts";

const env = systemEnv(SILENT_LOG);
const LONG_MS = 3_600_000;

describe("systemEnv clocks", () => {
  test("nowMs is the wall clock", () => {
    const before = Date.now();
    const now = env.nowMs();
    expect(now).toBeGreaterThanOrEqual(before);
    expect(now).toBeLessThanOrEqual(Date.now());
  });

  test("monotonicMs never goes back and counts milliseconds", () => {
    const start = env.monotonicMs();
    env.sleepSync(5);
    const elapsedMs = env.monotonicMs() - start;
    expect(elapsedMs).toBeGreaterThanOrEqual(4);
    expect(elapsedMs).toBeLessThan(5_000);
  });

  test("sleepSync waits for a fraction of a millisecond, too", () => {
    const start = env.monotonicMs();
    for (let wait = 0; wait < 50; wait++) env.sleepSync(0.1);
    expect(env.monotonicMs() - start).toBeGreaterThanOrEqual(5);
  });
});

const hasCompiler = ["cc", "gcc", "clang"].some((name) => Bun.which(name) !== null);

/**
 * Waits an hour behind the kernel's wall clock, which is where a clock that was set back leaves a deadline.
 */
const WAITS = `
const { SILENT_LOG, systemEnv } = await import(${JSON.stringify(join(import.meta.dir, "../src/env.ts"))});
for (const ms of [0.02, 0.5, 1, 3]) systemEnv(SILENT_LOG).sleepSync(ms);
console.log(Date.now());`;

test.skipIf(!hasCompiler && !PEERS_REQUIRED)("sleepSync does not wait for the wall clock", async () => {
  const clock = await ShiftedClock.make(tempFolder("clock"));
  if (typeof clock === "string") throw new Error(clock);
  clock.jump(LONG_MS);
  const env = { ...process.env, ...clock.env };
  const stdio = ["ignore", "pipe", "inherit"] as ["ignore", "pipe", "inherit"];
  const child = Bun.spawn([process.execPath, "-e", WAITS], { env, stdio, timeout: 20_000 });
  // The shim is at work, and nothing waited for the hour.
  expect(Number(await child.stdout.text())).toBeGreaterThan(Date.now() + LONG_MS / 2);
  expect(await child.exited).toBe(0);
});

describe("systemEnv sleep", () => {
  test("lasts for the given duration", async () => {
    const start = performance.now();
    await env.sleep(10);
    expect(performance.now() - start).toBeGreaterThanOrEqual(9);
  });

  test("resolves for a duration that is zero or negative", async () => {
    await env.sleep(0);
    await env.sleep(-5);
  });

  test("resolves at once when the signal aborts", async () => {
    const controller = new AbortController();
    const start = performance.now();
    const sleep = env.sleep(LONG_MS, controller.signal);
    controller.abort(new Error("stop"));
    await sleep;
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  test("resolves at once if the signal is already aborted", async () => {
    const start = performance.now();
    await env.sleep(LONG_MS, AbortSignal.abort());
    expect(performance.now() - start).toBeLessThan(5_000);
  });

  test("leaves no listener on a signal after it ends", async () => {
    const { signal } = new AbortController();
    const sleep = env.sleep(1, signal);
    expect(getEventListeners(signal, "abort").length).toBe(1);
    await sleep;
    expect(getEventListeners(signal, "abort").length).toBe(0);
  });
});

describe("systemEnv turn", () => {
  test("runs ready work first", async () => {
    const order: string[] = [];
    setImmediate(() => order.push("other"));
    await env.turn();
    order.push("we");
    expect(order).toEqual(["other", "we"]);
  });
});

describe("systemEnv random", () => {
  test("random lies in [0, 1) and varies", () => {
    const values = Array.from({ length: 100 }, () => env.random());
    expect(Math.min(...values)).toBeGreaterThanOrEqual(0);
    expect(Math.max(...values)).toBeLessThan(1);
    expect(new Set(values).size).toBeGreaterThan(90);
  });

  test("randomBytes returns the given number of bytes, different each time", () => {
    expect(env.randomBytes(0).length).toBe(0);
    const first = env.randomBytes(32);
    expect(first.length).toBe(32);
    expect(env.randomBytes(32)).not.toEqual(first);
  });
});

describe("SILENT_LOG", () => {
  test("accepts every level and writes nothing", async () => {
    const script = `
      const { SILENT_LOG } = await import(${JSON.stringify(`${import.meta.dir}/../src/env.ts`)});
      for (const level of ["debug", "info", "warn", "error"]) SILENT_LOG[level]("x", { database: "y" });`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "pipe"] });
    expect(await child.exited).toBe(0);
    expect((await child.stdout.text()) + (await child.stderr.text())).toBe("");
  });
});

describe("libcFunctionsOrNull", () => {
  test("calls functions of this system's libc", () => {
    const libc = libcFunctionsOrNull({ getpid: { args: [], returns: "i32" } });
    expect(libc?.getpid()).toBe(process.pid);
  });

  test("is null if one function is missing", () => {
    const getpid = { args: [], returns: "i32" } as const;
    expect(libcFunctionsOrNull({ getpid, no_such_function: getpid })).toBeNull();
  });
});
