/**
 * The progress of several databases: complete ones count with all their bytes, those at work with their
 * share.
 */
import { expect, test } from "bun:test";
import {
  ProgressDisplay,
  type ProgressState,
  RunningProgress,
} from "../../../src/commands/shared/progress.ts";
import { ManyProgress } from "../../../src/commands/shared/progress-of-many.ts";

test("ManyProgress adds up databases, bytes and shares", () => {
  const states: ProgressState[] = [];
  const databases: (string | null)[] = [];
  let endCount = 0;
  class RecordedDisplay extends ProgressDisplay {
    override begin(work: Parameters<ProgressDisplay["begin"]>[0]): RunningProgress {
      databases.push(work.database);
      const running = new RunningProgress(work, this);
      running.update = (state) => void states.push(state);
      running.end = () => void endCount++;
      return running;
    }
  }
  const env = { monotonicMs: () => 0, nowMs: () => 0, sleep: () => new Promise<void>(() => {}) };
  const nowhere = { bar() {}, line() {}, json() {}, columns: () => 80 };
  const display = new RecordedDisplay("none", env, nowhere);
  const many = new ManyProgress(display, { verb: "verify", label: "verifying", unit: "checked" });
  const last = (): unknown[] => {
    const { doneBytes, databases: count, share } = states.at(-1)!;
    return [doneBytes, count?.done, count?.total, share];
  };
  many.start(4);
  expect(last()).toEqual([0, 0, 4, 0]);
  many.update("a", 30, 60);
  many.update("b", 7, 0);
  expect(last()).toEqual([37, 0, 4, 0.125]);
  many.update("a", 60, 60);
  many.complete("a");
  many.complete("c");
  expect(last()).toEqual([67, 2, 4, 0.5]);
  many.end();
  expect([databases, endCount]).toEqual([[null], 1]);
});
