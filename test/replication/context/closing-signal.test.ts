/**
 * ClosingSignal: one signal for all work that runs, a new one after a rest, and none that outlives a close.
 */
import { expect, test } from "bun:test";
import { ClosingSignal } from "../../../src/replication/context/closing-signal.ts";

test("all work that runs at one time has one signal, and work after a rest has another", () => {
  const closing = new ClosingSignal();
  const { signal } = closing;
  expect(closing.signal).toBe(signal);
  closing.release();
  expect(closing.signal).not.toBe(signal);
});

test("a close breaks off the work that runs, and all work from there on", () => {
  const closing = new ClosingSignal();
  const { signal } = closing;
  expect([closing.isClosed, signal.aborted]).toEqual([false, false]);
  closing.close();
  expect([closing.isClosed, signal.aborted]).toEqual([true, true]);
  closing.release();
  expect(closing.signal.aborted).toBe(true);
});

test("a close at rest breaks off the work that begins after it", () => {
  const closing = new ClosingSignal();
  closing.close();
  expect(closing.signal.aborted).toBe(true);
});
