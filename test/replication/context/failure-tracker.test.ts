/** What is said of failures, and how often; and the pauses between tries. */
import { describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { FailureTracker, RetryPause, SideFailure } from "../../../src/replication/context/failure-tracker.ts";
import type { WatchEvent } from "../../../src/replication/context/watch-events.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const gone = (key: string) => new WalrustError("storage", `Cannot put ${key}`, { retryable: true });
const refused = new WalrustError("auth", "Cannot put 1: the store answered 403");

function tracker(): { tracker: FailureTracker; said: () => string[]; events: WatchEvent[] } {
  const { env, lines } = recordingEnv();
  const events: WatchEvent[] = [];
  const said = (): string[] => lines.map(({ level, message }) => `${level} ${message}`);
  return { tracker: new FailureTracker("app", env, (event) => events.push(event)), said, events };
}

/** A tracker whose clock moves only by hand. */
function timed() {
  let nowMs = 1_000;
  const { env, lines } = recordingEnv({ monotonicMs: () => nowMs });
  const failures = new FailureTracker("app", env, () => {});
  const pass = (seconds: number): void => {
    for (let i = 0; i < seconds * 10; i++) {
      nowMs += 100;
      failures.look(nowMs);
    }
  };
  return { failures, pass, said: () => lines.map(({ level, message }) => `${level} ${message}`) };
}

describe("FailureTracker", () => {
  test("a store that throttles is one failure while it lasts, over when nothing fails for a while", () => {
    const { failures, pass, said } = timed();
    const throttled = new WalrustError("storage", "Cannot put: the store answered 429", {
      context: { status: 429, s3Code: "" },
      retryable: true,
    });
    for (let round = 0; round < 200; round++) {
      failures.failed(throttled);
      pass(2);
      failures.healed();
      // What works again is no failure of the database, whatever is told.
      expect(failures.current).toBeNull();
      pass(6);
    }
    expect(said()).toEqual(["error Cannot put: the store answered 429"]);
    pass(29);
    expect(said()).toEqual(["error Cannot put: the store answered 429", "info recovered"]);
    pass(100);
    failures.healed();
    expect(said().length).toBe(2);
  });

  test("a failure that comes and goes is told twice, and then once for as long as it does so", () => {
    const { failures, pass, said } = timed();
    for (let round = 0; round < 100; round++) {
      failures.failed(gone("k"));
      pass(1);
      failures.healed();
      pass(20);
    }
    const once = ["error Cannot put k", "info recovered"];
    expect(said()).toEqual([...once, ...once, "error Cannot put k"]);
    pass(600);
    expect(said().slice(4)).toEqual(once);
    // After a long calm the next one is the first again.
    pass(1_300);
    failures.failed(gone("k"));
    failures.healed();
    expect(said().slice(6)).toEqual(once);
  });

  test("says a lasting failure once, on whatever key, and its end once", () => {
    const { tracker: failures, said, events } = tracker();
    for (let outage = 0; outage < 2; outage++) {
      for (let key = 0; key < 1_000; key++) failures.failed(gone(`${key}`));
      expect(failures.current?.message).toBe("Cannot put 999");
      for (let time = 0; time < 10; time++) failures.healed();
    }
    const once = ["error Cannot put 0", "info recovered"];
    expect(said()).toEqual([...once, ...once]);
    expect(events.map(({ event }) => event)).toEqual(["failed", "recovered", "failed", "recovered"]);
  });

  test("says failures that take turns once each", () => {
    const { tracker: failures, said } = tracker();
    for (let turn = 0; turn < 100; turn++) {
      failures.failed(gone(`${turn}`));
      failures.failed(refused);
      failures.failed(new WalrustError("database", "disk I/O error"));
      failures.failed(new WalrustError("database-busy", `busy ${turn}`));
    }
    expect(said()).toEqual(["error Cannot put 0", `error ${refused.message}`, "error disk I/O error"]);
  });

  test("has a limit even for failures that are never the same", () => {
    const { tracker: failures, said } = tracker();
    for (let turn = 0; turn < 1_000; turn++) failures.failed(new WalrustError("database", `failure ${turn}`));
    expect(said().length).toBe(50);
  });
});

test("SideFailure warns of a kind once, and says when it works again", () => {
  const { env, lines } = recordingEnv();
  const failure = new SideFailure("upkeep", "app", env);
  failure.healed();
  for (let time = 0; time < 100; time++) failure.failed(gone(`${time}`));
  failure.failed(new TypeError("a bug"));
  failure.healed();
  failure.healed();
  failure.failed(gone("later"));
  expect(lines.map(({ level, message }) => `${level} ${message}`)).toEqual([
    "warn upkeep: Cannot put 0",
    "warn upkeep: a bug",
    "info upkeep: recovered",
    "warn upkeep: Cannot put later",
  ]);
});

describe("RetryPause", () => {
  test("grows from a quarter of a second to half a minute, and begins anew after a reset", () => {
    const pause = new RetryPause();
    const pauses: number[] = [];
    for (let nowMs = 0, time = 0; time < 10; time++) {
      pause.extend(nowMs);
      const startMs = nowMs;
      while (!pause.isOver(nowMs)) nowMs += 250;
      pauses.push(nowMs - startMs);
    }
    expect(pauses).toEqual([250, 500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
    pause.reset();
    expect(pause.isOver(0)).toBe(true);
    pause.extend(0);
    expect([pause.isOver(249), pause.isOver(250)]).toEqual([false, true]);
  });

  test("ends at a moment that is known, neither before nor after, and does not grow by it", () => {
    const pause = new RetryPause();
    for (let time = 0; time < 20; time++) pause.extend(0, 60_000);
    expect([pause.isOver(59_999), pause.isOver(60_000)]).toEqual([false, true]);
    pause.extend(60_000);
    expect([pause.isOver(60_249), pause.isOver(60_250)]).toEqual([false, true]);
  });

  test("is no longer than is said", () => {
    const pause = new RetryPause();
    for (let time = 0; time < 20; time++) pause.extend(0, null, 5_000);
    expect([pause.isOver(4_999), pause.isOver(5_000)]).toEqual([false, true]);
  });
});
