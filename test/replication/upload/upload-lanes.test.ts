/**
 * The lanes of one database through a long outage, polled every 40 ms of a simulated clock: the times of the
 * requests, the log lines, and that nothing waits longer than the circuit breaker.
 */

import { expect, test } from "bun:test";
import type { Env } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import { type LaneOutcome, UploadLanes } from "../../../src/replication/upload/uploader.ts";
import { type BreakerConfig, isSuspension } from "../../../src/storage/contract/circuit.ts";
import { Trouble } from "../../../src/storage/contract/trouble.ts";
import { BreakerStore } from "../../../src/storage/guard/breaker-store.ts";
import { CircuitBreaker } from "../../../src/storage/guard/circuit-breaker.ts";
import { RetryingStore } from "../../../src/storage/guard/retrying-store.ts";
import { breakerOf, CAPTURES_ONLY, DEFAULT_CONFIG } from "../../support/config.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { NO_LIMIT } from "../../support/runs/watch-run.ts";
import { FaultyStore, gate, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const TICK_MS = 40;
const MINUTE_MS = 60_000;
const THRESHOLD = 10;
const BREAKER = breakerOf(THRESHOLD, MINUTE_MS);

/** One database whose clock moves with each poll. */
class Lanes {
  nowMs = 0;
  readonly inner = new FaultyStore(new MemoryStore());
  readonly live: LiveDatabase;
  readonly lanes: UploadLanes;
  readonly breaker: CircuitBreaker;
  readonly store: BreakerStore;
  readonly said: () => string[];
  /** The time of each request. */
  readonly timesMs: number[] = [];
  /** The number of runs that ended because the circuit breaker refused them. */
  refusals = 0;
  readonly #trouble: Trouble;

  constructor(config: BreakerConfig, snapshotsAt: readonly number[] = []) {
    const sleep = async (): Promise<void> => {};
    const { env, lines } = recordingEnv({ monotonicMs: () => this.nowMs, nowMs: () => this.nowMs, sleep });
    this.said = () =>
      lines.filter(({ level }) => level !== "debug").map(({ level, message }) => `${level} ${message}`);
    this.live = spooledHistory(4, snapshotsAt).live;
    this.breaker = new CircuitBreaker(config, env, { changed: () => {} });
    this.store = new BreakerStore(new RetryingStore(this.inner, env, DEFAULT_CONFIG.retry), this.breaker);
    this.#trouble = new Trouble(env, { database: "app", level: "error" });
    this.lanes = new UploadLanes(contextOf(this.store, env), new AbortController(), this.breaker);
    this.inner.before = () => {
      this.timesMs.push(this.nowMs);
      if (this.isOut) this.fail();
    };
  }

  isOut = true;
  /** The outcome of a request during the outage. */
  fail: () => void = () => {
    throw unreachable();
  };

  async pass(durationMs: number): Promise<void> {
    for (const endMs = this.nowMs + durationMs; this.nowMs < endMs; this.nowMs += TICK_MS) {
      await this.settle(this.lanes.startDue(this.live, this.nowMs));
    }
  }

  /** Starts all pending uploads at once, and waits for their end. */
  async hurry(): Promise<void> {
    await this.settle(this.lanes.start(this.live));
  }

  async settle(runs: readonly Promise<LaneOutcome>[]): Promise<void> {
    for (const outcome of await Promise.all(runs)) {
      if (outcome.kind === "drained" && this.live.pending.length === 0) this.#trouble.recovered();
      if (outcome.kind !== "failed") continue;
      if (isSuspension(outcome.error)) this.refusals++;
      this.#trouble.failed(outcome.error);
    }
    await this.lanes.done();
  }
}

function contextOf(store: BreakerStore, env: Env): UploadLanes["context"] {
  return { store, env, version: "test", emit: () => {}, puts: NO_LIMIT, config: CAPTURES_ONLY };
}

test("an outage of six hours: a request a minute, two lines, and the upload on the minute", async () => {
  const run = new Lanes(BREAKER, [2]);
  await run.pass(6 * 60 * MINUTE_MS);
  const attempts = 1 + DEFAULT_CONFIG.retry.maxRetries;
  // The pauses between the calls until the circuit opens: 0.25 s, doubled up to half a minute.
  const [, ...trials] = run.timesMs.slice(attempts * THRESHOLD - 1);
  const openedMs = run.timesMs[attempts * THRESHOLD - 1]!;
  expect(trials.map((timeMs, index) => timeMs - openedMs - (index + 1) * MINUTE_MS)).toEqual(
    trials.map(() => 0),
  );
  expect([openedMs < 4 * MINUTE_MS, trials.length >= 6 * 60 - 4]).toEqual([true, true]);
  expect(run.said()).toEqual(["error Cannot reach the store: connection refused"]);
  run.isOut = false;
  await run.pass(MINUTE_MS + TICK_MS);
  expect([run.live.pending.length, run.breaker.state]).toEqual([0, "closed"]);
  expect(run.said()).toEqual(["error Cannot reach the store: connection refused", "info recovered"]);
});

test("the lanes are calm once all is uploaded, and never while a failure has to be remembered", async () => {
  const run = new Lanes(breakerOf(8, 1_000));
  expect(run.lanes.isCalm).toBe(true);
  await run.pass(TICK_MS);
  expect(run.lanes.isCalm).toBe(false);
  while (run.breaker.state === "closed") await run.pass(TICK_MS);
  expect(run.lanes.isCalm).toBe(false);
  run.isOut = false;
  while (run.live.pending.length > 0) await run.pass(TICK_MS);
  await run.pass(TICK_MS);
  expect([run.lanes.isCalm, run.lanes.isAtRest]).toEqual([true, true]);
});

test("an outage without a circuit breaker logs as little, and is tried every half minute", async () => {
  const run = new Lanes({ ...BREAKER, circuitBreakerEnabled: false });
  await run.pass(60 * MINUTE_MS);
  const calls = run.timesMs.length / (1 + DEFAULT_CONFIG.retry.maxRetries);
  expect(calls).toBeGreaterThan(100);
  expect(calls).toBeLessThan(140);
  run.isOut = false;
  await run.pass(MINUTE_MS);
  expect(run.said()).toEqual(["error Cannot reach the store: connection refused", "info recovered"]);
});

test("the pause of a lane when the circuit opens delays no trial", async () => {
  const run = new Lanes(breakerOf(8, 1_000));
  while (run.breaker.state !== "open") await run.pass(TICK_MS);
  // The lane's own pause is 30 s by now.
  run.isOut = false;
  await run.pass(1_000 + TICK_MS);
  expect(run.live.pending.length).toBe(0);
});

test("a lane that is refused during another call's trial continues right after it", async () => {
  const run = new Lanes(breakerOf(8, 1_000));
  while (run.breaker.state !== "half-open") await run.pass(TICK_MS);
  // Another call of this database, such as a listing of its upkeep, is first.
  const { passed, open } = gate();
  run.inner.before = () => passed;
  const trial = run.store.listFolders("");
  await run.hurry();
  const requests = run.inner.calls.length;
  await run.pass(10 * MINUTE_MS);
  await run.hurry();
  expect([run.inner.calls.length, run.live.pending.length]).toEqual([requests, 4]);
  open();
  await trial;
  await run.pass(TICK_MS);
  expect(run.live.pending.length).toBe(0);
});

test("a lane continues at once when another call's trial has closed the circuit", async () => {
  const run = new Lanes(BREAKER);
  while (run.breaker.state !== "open") await run.pass(TICK_MS);
  await run.pass(TICK_MS);
  // The lane's own pause is 30 s by now.
  run.isOut = false;
  run.breaker.endCooldown();
  await run.store.listFolders("");
  await run.pass(TICK_MS);
  expect(run.breaker).toHaveProperty("state", "closed");
  expect(run.live.pending.length).toBe(0);
});

test("one of two lanes makes the trial, and none is refused", async () => {
  const run = new Lanes(BREAKER, [2]);
  run.live.pending.splice(0, 2);
  await run.pass(60 * MINUTE_MS);
  expect(run.refusals).toBe(0);
  expect(run.inner.puts.filter((key) => key.includes("/0009/")).length).toBeGreaterThan(0);
});

test("the last try runs once, even while requests are suspended", async () => {
  const run = new Lanes(BREAKER, [2]);
  while (run.breaker.state !== "open") await run.pass(TICK_MS);
  const before = run.timesMs.length;
  for (let time = 0; time < 5; time++) {
    await run.hurry();
  }
  expect([run.timesMs.length - before, `${run.breaker.state}`]).toEqual([1, "open"]);
  const other = new Lanes(BREAKER, [2]);
  while (other.breaker.state !== "open") await other.pass(TICK_MS);
  other.isOut = false;
  for (let time = 0; time < 2; time++) {
    await other.hurry();
  }
  expect([other.live.pending.length, `${other.breaker.state}`]).toEqual([0, "closed"]);
});

test("the alternating errors of a failing store are logged once each", async () => {
  const run = new Lanes(BREAKER);
  let turn = 0;
  run.fail = () => {
    if (turn++ % 7 === 0) throw new WalrustError("auth", "403 from a proxy", { context: { status: 403 } });
    throw unreachable();
  };
  await run.pass(3 * 60 * MINUTE_MS);
  expect(run.said().toSorted()).toEqual([
    "error 403 from a proxy",
    "error Cannot reach the store: connection refused",
  ]);
});

test("a manifest that cannot be written is logged once an outage", async () => {
  const run = new Lanes(BREAKER, [2, 4]);
  const snapshots = run.live.pending.filter(({ level }) => level === 9);
  run.isOut = false;
  run.inner.before = (_, key) => {
    if (key.endsWith("manifest.json")) throw unreachable();
  };
  await run.pass(TICK_MS);
  for (let round = 0; round < 5; round++) {
    // Every lane is drained again. Objects that exist already are acknowledged as ours.
    run.live.pending.push({ ...snapshots[0]!, path: await copyOf(run.live, round) });
    await run.pass(MINUTE_MS);
  }
  expect(run.inner.puts.filter((key) => key.endsWith("manifest.json")).length).toBeGreaterThan(5 * 6);
  expect(run.said()).toEqual([
    "warn the manifest could not be written: Cannot reach the store: connection refused",
  ]);
});

async function copyOf(live: LiveDatabase, round: number): Promise<string> {
  const { live: fresh } = spooledHistory(4, [2]);
  const { path } = fresh.pending.find(({ level }) => level === 9)!;
  const copy = `${live.paths.spoolFolder}/copy-${round}`;
  await Bun.write(copy, Bun.file(path));
  return copy;
}

test("lanes are at rest before the first run and after the last, and not during one", async () => {
  const run = new Lanes(BREAKER);
  run.isOut = false;
  expect(run.lanes.isAtRest).toBe(true);
  const runs = run.lanes.start(run.live);
  expect([runs.length, run.lanes.isAtRest]).toEqual([1, false]);
  await run.settle(runs);
  expect([run.live.pending.length, run.lanes.isAtRest]).toEqual([0, true]);
});
