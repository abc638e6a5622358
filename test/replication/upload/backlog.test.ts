/** Backlog: when uploads count as falling behind, its message, and that the message is logged once. */
import { expect, test } from "bun:test";
import { Conditions } from "../../../src/replication/context/conditions.ts";
import { Backlog, explain, FALLING_BEHIND } from "../../../src/replication/upload/backlog.ts";
import type { LimiterFacts } from "../../../src/storage/guard/put-limiter.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const GATE: LimiterFacts = { limit: 8, ceiling: 8, reason: "ceiling", inFlight: 8, waiting: 90 };

/** A backlog that is polled every two seconds of a clock. */
function watched(gate: LimiterFacts | null = GATE) {
  const { env, lines } = recordingEnv();
  const conditions = new Conditions(null, env, () => {});
  const backlog = new Backlog(conditions, gate === null ? undefined : { facts: gate });
  let nowMs = 0;
  const pass = (durationMs: number, ...lagsMs: number[]): void => {
    for (const endMs = nowMs + durationMs; nowMs < endMs; nowMs += 2_000) {
      backlog.poll(
        nowMs,
        lagsMs.map((uploadLagMs) => ({ uploadLagMs })),
      );
    }
  };
  return { conditions, pass, said: () => lines.map(({ level, message }) => `${level} ${message}`) };
}

test("uploads that stay behind are reported once, as degraded, and so is their recovery", () => {
  const { conditions, pass, said } = watched();
  pass(600_000, 900, 1_100, 0);
  pass(20_000, 16_000, 6_000, 800);
  expect(said()).toEqual([]);
  pass(60_000, 20_000, 6_000, 800);
  pass(600_000, 60_000, 6_000, 800);
  const what = "uploads fall behind in 2 databases, by up to 20 s: all 8 uploads at once are in use";
  expect(said()).toEqual([`warn ${what}`]);
  expect(conditions.current.map(({ code, health }) => [code, health])).toEqual([
    [FALLING_BEHIND, "degraded"],
  ]);
  pass(20_000, 8_000);
  expect(conditions.has(FALLING_BEHIND)).toBe(true);
  pass(20_000, 900);
  expect([conditions.current, said().length]).toEqual([[], 2]);
});

test("a burst that is over within half a minute is no backlog", () => {
  const { pass, said } = watched();
  for (let round = 0; round < 5; round++) {
    pass(26_000, 40_000);
    pass(20_000, 700);
  }
  expect(said()).toEqual([]);
});

test("without a gate there is nothing to report", () => {
  const { pass, said } = watched(null);
  pass(600_000, 90_000);
  expect(said()).toEqual([]);
});

test.each([
  ["ceiling", "all 8 uploads", "cache.uploader_concurrency"],
  ["throttled", "429 or 503", "wal_sync_interval"],
  ["stalled", "the line", "wal_sync_interval"],
  ["failed", "keep failing", "network"],
  ["slow", "takes long", "wal_sync_interval"],
  ["growing", "takes long", "wal_sync_interval"],
] as const)("the message explains the reason %s, with the setting that helps", (reason, found, setting) => {
  const explained = explain({ ...GATE, reason });
  expect([explained.reason.includes(found), explained.hint.includes(setting)]).toEqual([true, true]);
});
