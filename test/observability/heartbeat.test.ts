/** The heartbeat: its calls, the statuses that hold it back, and its log lines. */
import { afterEach, describe, expect, test } from "bun:test";
import { Heartbeat, isBeating } from "../../src/observability/heartbeat.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { HookServer } from "./hook-server.ts";
import { ManualTime } from "./manual-time.ts";
import { failingWith, statusOf } from "./samples.ts";

const MAX_LAG_MS = 30_000;
const FIRST_MS = 5_000;

/** A state of a database, and whether the heartbeat continues. */
const ROWS: readonly (readonly [what: string, status: DatabaseStatus, isBeating: boolean])[] = [
  ["works", statusOf(), true],
  ["lags as much as it may", statusOf({ lagMs: MAX_LAG_MS }), true],
  ["has a lag that is not known", statusOf({ lagMs: null }), false],
  ["lags more", statusOf({ lagMs: MAX_LAG_MS + 1 }), false],
  ["is not attached yet", statusOf({ state: "starting" }), false],
  ["has a WAL that is not read just now", statusOf({ walFrames: null }), true],
  ["is paused", statusOf({ state: "paused" }), false],
  ["is stopped", statusOf({ state: "stopped" }), false],
  ["cannot be captured", failingWith("database"), false],
  ["fails at the store, but not for long", failingWith("storage", { lagMs: 5_000 }), true],
  ["fails at the store for too long", failingWith("storage", { lagMs: MAX_LAG_MS + 1 }), false],
  ["has an open breaker, but lags little", statusOf({ circuit: "open" }), true],
];

test.each(ROWS)("isBeating when a database %s", (_, status, expected) => {
  expect(isBeating([statusOf({ database: "other" }), status], MAX_LAG_MS)).toBe(expected);
});

test("isBeating without any database", () => {
  expect(isBeating([], MAX_LAG_MS)).toBe(true);
});

const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

function rig(intervalMs: number, statuses: () => DatabaseStatus[]): { server: HookServer; time: ManualTime } {
  const server = new HookServer();
  const time = new ManualTime();
  const aborter = new AbortController();
  const options = { url: server.secretUrl, intervalMs, maxLagMs: MAX_LAG_MS };
  const heartbeat = new Heartbeat(options, statuses, time.env, "0.4.0", aborter.signal);
  // A start does not prove that anything works.
  expect([server.requests.length, time.sleepsMs]).toEqual([0, [Math.min(intervalMs, FIRST_MS)]]);
  time.pass(FIRST_MS);
  ends.push(async () => {
    aborter.abort();
    await heartbeat.done();
    await server.close();
    expect(time.sleepsMs).toEqual([]);
    for (const { text } of time.lines) expect(text).not.toContain("S3CRET");
  });
  return { server, time };
}

describe("Heartbeat", () => {
  test("sends a GET soon, and again after each interval", async () => {
    const { server, time } = rig(60_000, () => [statusOf()]);
    for (const count of [1, 2, 3]) {
      await time.sleeping(60_000);
      expect(server.requests.length).toBe(count);
      time.pass(59_999);
      expect(time.sleepsMs).toEqual([60_000]);
      time.pass(1);
    }
    await server.received(4);
    const { method, path, headers } = server.requests[0]!;
    expect([method, path, headers.get("user-agent")]).toEqual(["GET", "/S3CRET-PATH", "walrust/0.4.0"]);
    expect(time.lines).toEqual([]);
  });

  test("is held back while a database lags, and continues soon afterwards", async () => {
    const state = { lagMs: MAX_LAG_MS + 1 };
    const { server, time } = rig(60_000, () => [statusOf(), statusOf({ database: "b", lagMs: state.lagMs })]);
    for (let look = 0; look < 3; look++) {
      await time.sleeping(5_000);
      time.pass(5_000);
    }
    await time.sleeping(5_000);
    expect(server.requests.length).toBe(0);
    state.lagMs = 0;
    time.pass(5_000);
    await time.sleeping(60_000);
    expect(server.requests.length).toBe(1);
    expect(time.lines.map(({ level }) => level)).toEqual(["debug", "debug"]);
  });

  test("with an interval below five seconds polls no less often", async () => {
    const { time } = rig(1_000, () => [statusOf({ state: "stopped" })]);
    await time.sleeping(1_000);
  });

  test("logs a failure once, and its end once", async () => {
    const { server, time } = rig(60_000, () => [statusOf()]);
    server.script.push(500, 404, { redirect: "/elsewhere" });
    for (const count of [1, 2, 3]) {
      await time.sleeping(5_000);
      expect(server.requests.length).toBe(count);
      time.pass(5_000);
    }
    await time.sleeping(60_000);
    expect(server.requests.map(({ path }) => path)).not.toContain("/elsewhere");
    expect(time.lines.map(({ level }) => level)).toEqual(["warn", "info"]);
    expect(time.said("warn")[0]).toContain(`http://${server.host} answered 500`);
    time.pass(60_000);
    await server.received(5);
    expect(time.lines.length).toBe(2);
  });

  test("gives up a call after ten seconds", async () => {
    const { server, time } = rig(60_000, () => [statusOf()]);
    server.script.push("hang");
    await server.received(1);
    await time.sleeping(10_000);
    time.pass(10_000);
    await time.sleeping(5_000);
    expect(time.said("warn")[0]).toContain("no answer within 10 s");
  });

  test("is held back, not broken, if the statuses cannot be read", async () => {
    const state = { isBroken: true };
    const { server, time } = rig(60_000, () => {
      if (state.isBroken) throw new Error("no answer");
      return [statusOf()];
    });
    await time.sleeping(5_000);
    expect(time.said("error").length).toBe(1);
    state.isBroken = false;
    time.pass(5_000);
    await server.received(1);
  });

  test("rejects an invalid URL without quoting it", () => {
    const options = { url: "S3CRET", intervalMs: 1, maxLagMs: 1 };
    const { env } = new ManualTime();
    const make = (): Heartbeat => new Heartbeat(options, () => [], env, "0", new AbortController().signal);
    expect(make).toThrow("[heartbeat] url");
    expect(make).not.toThrow("S3CRET");
  });
});
