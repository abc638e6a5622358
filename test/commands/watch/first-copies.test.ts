/**
 * The progress of a start of `watch`: from its events, the images that are read, and the bytes that are sent.
 */
import { expect, test } from "bun:test";
import {
  ProgressDisplay,
  type ProgressState,
  type RunningProgress,
} from "../../../src/commands/shared/progress.ts";
import { FirstCopies } from "../../../src/commands/watch/first-copies.ts";
import type { WatchEvent } from "../../../src/replication/context/watch-events.ts";

interface Recorded {
  readonly states: ProgressState[];
  readonly labels: string[];
  endCount: number;
}

function copiesOf(...names: string[]): { copies: FirstCopies; seen: Recorded } {
  const seen: Recorded = { states: [], labels: [], endCount: 0 };
  class RecordedDisplay extends ProgressDisplay {
    override begin(work: Parameters<ProgressDisplay["begin"]>[0]): RunningProgress {
      seen.labels.push(work.label);
      const running = super.begin(work);
      running.update = (state) => void seen.states.push(state);
      running.end = () => void seen.endCount++;
      return running;
    }
  }
  const env = { monotonicMs: () => 0, nowMs: () => 0, sleep: () => new Promise<void>(() => {}) };
  const nowhere = { bar() {}, line() {}, json() {}, columns: () => 80 };
  const copies = new FirstCopies(new RecordedDisplay("none", env, nowhere), names);
  expect(seen.states.splice(0).map(({ doneBytes, sentBytes }) => [doneBytes, sentBytes])).toEqual(
    names.length === 0 ? [] : [[0, 0]],
  );
  return { copies, seen };
}

const watching = (database: string, txid: number): WatchEvent => ({
  event: "watching",
  database,
  path: `/${database}`,
  txid,
});

const uploaded = (database: string, kind: "snapshot" | "increment" = "snapshot"): WatchEvent => ({
  ...{ event: "uploaded", database, kind, txid: 1, time: "", bytes: 10, key: "", lag_ms: 0 },
});

test("one database: its image is read, then sent; the upload of its snapshot ends the display", () => {
  const { copies, seen } = copiesOf("app");
  copies.image("app", 50, 200);
  copies.image("app", 200, 200);
  copies.observe(watching("app", 1));
  copies.sent(20);
  expect(seen.states).toEqual([
    { doneBytes: 50, totalBytes: 200, sentBytes: 0, share: 0.125 },
    { doneBytes: 200, totalBytes: 200, sentBytes: 0, share: 0.5 },
    { doneBytes: 200, totalBytes: 200, sentBytes: 20, share: 0.5 },
  ]);
  expect([seen.labels, seen.endCount]).toEqual([["starting app"], 0]);
  copies.observe(uploaded("app"));
  expect(seen.endCount).toBe(1);
  copies.image("app", 1, 2);
  copies.sent(1);
  copies.observe(uploaded("app"));
  copies.end();
  expect([seen.states.length, seen.endCount]).toEqual([3, 1]);
});

test("several databases: continued ones, failed ones and stopped ones are settled without a copy", () => {
  const { copies, seen } = copiesOf("a", "b", "c", "d", "e");
  copies.image("e", 100, 400);
  copies.observe(watching("a", 7));
  expect(seen.states.at(-1)).toEqual({
    doneBytes: 100,
    totalBytes: null,
    sentBytes: 0,
    databases: { done: 1, total: 5 },
    share: (1 + 0.25 / 2) / 5,
  });
  copies.observe({ event: "failed", database: "b", code: "database", message: "" });
  copies.observe({ event: "stopped", database: "c", code: "not-wal", message: "" });
  // A database at TXID 1 that continues has nothing to copy.
  copies.observe(watching("d", 1));
  expect([seen.states.at(-1)!.databases, seen.endCount]).toEqual([{ done: 4, total: 5 }, 0]);
  copies.observe(uploaded("e", "increment"));
  copies.observe(watching("other", 3));
  expect(seen.endCount).toBe(0);
  copies.observe(uploaded("e"));
  expect(seen.endCount).toBe(1);
});

test("an image that is read anew counts with all bytes that were read", () => {
  const { copies, seen } = copiesOf("a", "b");
  copies.image("a", 80, 100);
  copies.image("a", 10, 100);
  copies.image("a", 100, 100);
  expect(seen.states.map(({ doneBytes }) => doneBytes)).toEqual([80, 90, 180]);
});

test("a watch without databases shows nothing", () => {
  const { copies, seen } = copiesOf();
  copies.sent(5);
  copies.end();
  expect(seen).toEqual({ states: [], labels: [], endCount: 0 });
});
