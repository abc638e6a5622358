/**
 * ReachabilityMonitor: when it reports a store that does not answer, how often, and when it reports the end.
 */
import { expect, test } from "bun:test";
import type { Condition } from "../../../src/errors.ts";
import { ReachabilityMonitor, STORE_SILENT } from "../../../src/storage/network/reachability-monitor.ts";
import { ManualTime } from "../../observability/manual-time.ts";

const REQUEST = { method: "PUT", action: "put k in s3://bucket" };

class World {
  readonly time = new ManualTime();
  readonly raised: Condition[] = [];
  readonly cleared: string[] = [];
  readonly host: ReachabilityMonitor;

  constructor(isLasting = true) {
    const sink = {
      raise: (condition: Condition) => void this.raised.push(condition),
      clear: (code: string) => void this.cleared.push(code),
    };
    this.host = new ReachabilityMonitor(this.time.env, sink, isLasting);
    this.host.setOrigin("http://store:9000");
  }

  /** Starts a request that never moves. */
  hang(method = "PUT") {
    const { env } = this.time;
    const sinceMs = env.monotonicMs();
    const request = { ...REQUEST, method, stillMs: () => env.monotonicMs() - sinceMs };
    this.host.began(request);
    return request;
  }

  /** Passes time in half-second steps, so that consecutive sleeps end. */
  async pass(seconds: number): Promise<void> {
    for (let i = 0; i < seconds * 2; i++) {
      this.time.pass(500);
      for (let turn = 0; turn < 5; turn++) await Promise.resolve();
    }
  }

  get errors(): string[] {
    return this.time.lines.filter(({ level }) => level === "error").map(({ text }) => text);
  }
}

test("ReachabilityMonitor reports a hang after 10 s and logs an error after 30 s, once", async () => {
  const world = new World();
  for (let tries = 0; tries < 6; tries++) {
    const requests = Array.from({ length: 20 }, () => world.hang());
    await world.pass(9.5);
    expect(world.raised.length).toBe(tries === 0 ? 0 : 1);
    await world.pass(20.5);
    for (const request of requests) {
      world.host.ended(request);
      world.host.failed(request, { message: "Cannot put k in s3://bucket: nothing moved for 30 s" });
    }
  }
  const [{ code, health, message }] = world.raised as [Condition];
  expect([world.raised.length, code, health]).toEqual([1, STORE_SILENT, "degraded"]);
  expect(message).toBe(
    "waiting for http://store:9000: cannot put k in s3://bucket yet: nothing moved for 10 s",
  );
  expect(world.errors.length).toBe(1);
  expect(world.errors[0]).toContain("http://store:9000 has not answered for 30 s");
});

test("ReachabilityMonitor reports attempts that fail at once by the same clock", async () => {
  const world = new World();
  for (let second = 0; second < 31; second++) {
    expect(world.raised.length).toBe(second > 10 ? 1 : 0);
    world.host.failed(REQUEST, { message: "Cannot put k in s3://bucket: Unable to connect" });
    await world.pass(1);
  }
  expect(world.errors.length).toBe(1);
  expect(world.errors[0]).toContain("Unable to connect");
});

test("ReachabilityMonitor reports a store that demands a longer wait at once", () => {
  const world = new World();
  world.host.failed(REQUEST, { message: "Cannot put k: the store answered 503 SlowDown" }, 3_000);
  expect(world.raised.length).toBe(0);
  world.host.failed(REQUEST, { message: "Cannot put k: the store answered 503 SlowDown" }, 30_000);
  expect(world.raised.map(({ message }) => message)).toEqual([
    "waiting for http://store:9000: Cannot put k: the store answered 503 SlowDown",
  ]);
});

test("ReachabilityMonitor passes on the remedy of the failure, and else names the usual causes", () => {
  for (const [hint, shown] of [
    ["set the clock", "set the clock"],
    [undefined, expect.stringContaining("check the network")],
  ]) {
    const world = new World();
    world.host.failed(REQUEST, { message: "Cannot put k", hint: hint as string | undefined }, 30_000);
    expect(world.raised.map((condition) => condition.hint)).toEqual([shown as string]);
  }
});

test("silentMs is the time without a good answer, over all attempts of a request", async () => {
  const world = new World();
  expect(world.host.silentMs).toBe(0);
  const request = world.hang();
  await world.pass(4);
  expect(world.host.silentMs).toBe(4_000);
  world.host.ended(request);
  world.host.failed(request, { message: "nothing moved" });
  world.hang();
  await world.pass(3);
  expect(world.host.silentMs).toBe(3_000);
  world.hang("GET");
  await world.pass(8);
  expect(world.host.silentMs).toBe(11_000);
  world.host.answered("PUT");
  expect(world.host.silentMs).toBe(8_000);
  world.host.answered("GET");
  expect(world.host.silentMs).toBe(0);
});

test("ReachabilityMonitor ends the condition with an answer, and reports a later hang anew", async () => {
  const world = new World();
  for (const round of [1, 2]) {
    const request = world.hang();
    await world.pass(35);
    expect([world.raised.length, world.errors.length]).toEqual([round, round]);
    world.host.ended(request);
    world.host.answered("PUT");
    expect(world.cleared).toEqual(Array(round).fill(STORE_SILENT));
  }
});

test("ReachabilityMonitor keeps the condition until a PUT is answered, despite answers to HEAD", async () => {
  const world = new World();
  const request = world.hang("PUT");
  for (let second = 0; second < 12; second++) {
    world.host.answered("HEAD");
    await world.pass(1);
  }
  expect([world.raised.length, world.cleared.length]).toEqual([1, 0]);
  world.host.ended(request);
  world.host.answered("PUT");
  expect(world.cleared).toEqual([STORE_SILENT]);
});

test("ReachabilityMonitor ignores a slow request while others are answered", async () => {
  const world = new World();
  world.hang("PUT");
  for (let second = 0; second < 60; second++) {
    world.host.answered("PUT");
    await world.pass(1);
  }
  expect(world.raised).toEqual([]);
});

test("ReachabilityMonitor forgets a method that is unused for a minute", async () => {
  const world = new World();
  world.host.failed({ method: "DELETE" }, { message: "Cannot delete" }, 30_000);
  await world.pass(59);
  world.host.answered("PUT");
  expect(world.cleared).toEqual([]);
  await world.pass(1);
  world.host.answered("PUT");
  expect(world.cleared).toEqual([STORE_SILENT]);
});

test("ReachabilityMonitor logs no error for a verb, whose own error ends it", async () => {
  const world = new World(false);
  world.hang("GET");
  await world.pass(40);
  expect([world.raised.length, world.errors.length]).toEqual([1, 0]);
});

test("ReachabilityMonitor runs no timer without requests", async () => {
  const world = new World();
  const requests = [world.hang(), world.hang()];
  for (const request of requests) world.host.ended(request);
  await world.pass(11);
  expect(world.time.sleepsMs).toEqual([]);
  world.hang();
  expect(world.time.sleepsMs.length).toBe(1);
});
