/** The start of a watch, with statuses of the test's making. */
import { expect, test } from "bun:test";
import { hasStarted } from "../../../src/commands/watch/readiness.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import { ManualTime } from "../../observability/manual-time.ts";

/** A watch whose databases have these states. */
function watchOf(states: DatabaseStatus["state"][]) {
  return {
    turnCount: 0,
    hasGivenUp: false,
    statuses: () => states.map((state) => ({ state }) as DatabaseStatus),
  };
}

const INTERVAL_MS = 50;

test("hasStarted waits for the first turn, and for each database that is starting", async () => {
  const time = new ManualTime();
  const states: DatabaseStatus["state"][] = ["starting", "starting"];
  const watch = watchOf(states);
  let result: boolean | null = null;
  const done = hasStarted(watch, time.env, new AbortController().signal).then((value) => {
    result = value;
  });
  const steps = [
    () => {},
    () => watch.turnCount++,
    () => (states[0] = "watching"),
    () => (states[1] = "failing"),
  ];
  for (const step of steps) {
    await time.sleeping(INTERVAL_MS);
    expect(result).toBeNull();
    step();
    time.pass(INTERVAL_MS);
  }
  await done;
  expect(result as boolean | null).toBe(true);
});

test("hasStarted is false for a watch without databases, and for one that ends", async () => {
  const time = new ManualTime();
  const ending = new AbortController();
  const without = { ...watchOf(["failing"]), turnCount: 1, hasGivenUp: true };
  expect(await hasStarted(without, time.env, ending.signal)).toBe(false);
  const ended = hasStarted(watchOf(["starting"]), time.env, ending.signal);
  ending.abort();
  expect(await ended).toBe(false);
});
