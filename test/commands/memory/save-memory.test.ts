/** whileSavingMemory: the result of the work, its failure, and the end of everything with it. */
import { expect, test } from "bun:test";
import { whileSavingMemory } from "../../../src/commands/memory/save-memory.ts";
import { FIRST_SHRINK_MS } from "../../../src/commands/memory/shrink-heap.ts";
import { FIRST_TRIM_MS, type OwnMemory } from "../../../src/commands/memory/trim.ts";
import { ManualTime } from "../../observability/manual-time.ts";
import { EXECUTABLE, headerText, recordText } from "./smaps-text.ts";

/** A process with one clean mapping. */
function cleanMemory(drops: string[]): OwnMemory {
  return {
    executable: EXECUTABLE,
    read: (name) => (name === "maps" ? `${headerText({})}\n` : recordText()),
    drop: ({ identity }) => drops.push(identity) > 0,
  };
}

test("whileSavingMemory trims and shrinks during the work, and stops with it", async () => {
  const time = new ManualTime();
  const drops: string[] = [];
  const work = Promise.withResolvers<number>();
  const ended = whileSavingMemory(time.env, () => work.promise, cleanMemory(drops));
  await time.sleeping(FIRST_TRIM_MS);
  expect(time.sleepsMs.toSorted((a, b) => a - b)).toEqual([FIRST_TRIM_MS, FIRST_SHRINK_MS]);
  time.pass(FIRST_TRIM_MS);
  await time.sleeping(2 * FIRST_TRIM_MS);
  expect(drops.length).toBe(1);
  work.resolve(7);
  expect(await ended).toBe(7);
  expect(time.sleepsMs).toEqual([]);
});

test("whileSavingMemory passes a failure of the work on, and stops with it", async () => {
  const time = new ManualTime();
  const failing = whileSavingMemory(time.env, () => Promise.reject(new Error("no bucket")), cleanMemory([]));
  await expect(failing).rejects.toThrow("no bucket");
  expect(time.sleepsMs).toEqual([]);
  expect(await whileSavingMemory(time.env, async () => 8, null)).toBe(8);
});
