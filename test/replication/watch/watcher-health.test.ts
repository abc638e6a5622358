/** WatcherHealth: which failures of a database are logged and become events, and what ends each. */
import { expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import type { Captured } from "../../../src/replication/capture/live-database.ts";
import { Conditions } from "../../../src/replication/context/conditions.ts";
import type { WatchContext } from "../../../src/replication/context/watch-context.ts";
import type { WatchEvent } from "../../../src/replication/context/watch-events.ts";
import { WatcherHealth } from "../../../src/replication/watch/watcher-health.ts";
import { STORE_SILENT } from "../../../src/storage/network/reachability-monitor.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const GONE = new WalrustError("storage", "Cannot put k", { retryable: true });

function setUp() {
  const { env, lines } = recordingEnv();
  const events: WatchEvent[] = [];
  const conditions = new Conditions("app", env, () => {});
  const storeConditions = new Conditions(null, recordingEnv().env, () => {});
  const emit = (event: WatchEvent): void => void events.push(event);
  const context = { env, emit, conditions, storeConditions } as unknown as WatchContext;
  const health = new WatcherHealth("app", context);
  const said = (): string[] => lines.map(({ level, message }) => `${level} ${message}`);
  return { env, health, conditions, storeConditions, said, events: () => events.map(({ event }) => event) };
}

test("a failure and its end are one event each, however often the failure repeats", () => {
  const { health, said, events } = setUp();
  for (let outage = 0; outage < 2; outage++) {
    for (let time = 0; time < 10; time++) health.failed(GONE);
    for (let time = 0; time < 10; time++) health.healed();
  }
  expect(said()).toEqual(["error Cannot put k", "info recovered", "error Cannot put k", "info recovered"]);
  expect(events()).toEqual(["failed", "recovered", "failed", "recovered"]);
});

test("a busy database is no failure", () => {
  const { health, said, events } = setUp();
  for (let turn = 0; turn < 10; turn++) health.failed(new WalrustError("database-busy", `busy ${turn}`));
  health.healed();
  expect([health.failure, said(), events()]).toEqual([null, [], []]);
});

test("a store that does not answer is not logged again for each database", () => {
  const { health, storeConditions, said, events } = setUp();
  storeConditions.raise({ code: STORE_SILENT, health: "degraded", message: "waiting" });
  health.failed(GONE);
  health.healed();
  expect(said()).toEqual(["debug Cannot put k", "debug recovered"]);
  expect(events()).toEqual(["failed", "recovered"]);
});

test("a clock behind the newest capture is a condition until the clock is past it", () => {
  const { env, health, conditions, said } = setUp();
  const capturedAt = (timeMs: number): Captured => ({ state: { timeMs }, pending: [] }) as never;
  const nowMs = env.nowMs();
  health.poll(0, null);
  health.poll(0, capturedAt(nowMs + 30_000));
  expect(conditions.current).toEqual([]);
  for (let look = 0; look < 3; look++) health.poll(0, capturedAt(nowMs + 3_600_000));
  expect(conditions.current.map(({ code, health }) => [code, health])).toEqual([
    ["clock-behind", "degraded"],
  ]);
  health.poll(0, capturedAt(nowMs - 1));
  expect(conditions.current).toEqual([]);
  const until = new Date(nowMs + 3_600_000).toISOString();
  const line = `The clock is behind the newest capture: until ${until} all captures have that time`;
  expect(said()).toEqual([`warn ${line}`, `info condition clock-behind ended: ${line}`]);
});

test("a bucket that stays unchecked is a condition until it is checked", () => {
  const { health, conditions, said } = setUp();
  const captured = { state: null, pending: [], isBucketUnchecked: true };
  const look = (nowMs: number): void => health.poll(nowMs, captured as never);
  for (const nowMs of [0, 4_999]) look(nowMs);
  expect(conditions.current).toEqual([]);
  for (const nowMs of [5_000, 6_000]) look(nowMs);
  const codes = conditions.current.map(({ code, health }) => [code, health]);
  expect(codes).toEqual([["bucket-unchecked", "degraded"]]);
  // While the database is detached, nobody checks the bucket.
  health.poll(7_000, null);
  expect(conditions.has("bucket-unchecked")).toBe(true);
  captured.isBucketUnchecked = false;
  look(8_000);
  expect(conditions.current).toEqual([]);
  expect(said().map((line) => line.split(" ")[0])).toEqual(["warn", "info"]);
});
