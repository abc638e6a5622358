/** The lag of each database in the last hour, as the page keeps it. */
import { expect, test } from "bun:test";
import { LagMemory } from "../../../../src/observability/dashboard/browser/lag-memory.ts";

const lagOf = (name: string, lag: number | null): { name: string; lag: number | null }[] => [{ name, lag }];

test("LagMemory keeps the most of each step of 30 s", () => {
  const memory = new LagMemory();
  expect(memory.of("a")).toEqual([]);
  for (const [second, lag] of [
    [0, 1],
    [29, 3],
    [31, 2],
    [59, 0],
    [60, 0],
  ] as const) {
    memory.add(lagOf("a", lag), second * 1000);
  }
  expect(memory.of("a")).toEqual([3, 2, 0]);
  expect(memory.of("never behind")).toEqual([0, 0, 0]);
});

test("LagMemory shows steps without a request as gaps, once the database was behind", () => {
  const memory = new LagMemory();
  memory.add(lagOf("a", 1), 0);
  memory.add(lagOf("a", 2), 100_000);
  expect(memory.of("a")).toEqual([1, null, null, 2]);
});

test("LagMemory forgets what is older than an hour, and databases that are gone", () => {
  const memory = new LagMemory();
  for (let step = 0; step < 300; step++) memory.add(lagOf("a", step), step * 30_000);
  expect(memory.of("a")).toEqual(Array.from({ length: 120 }, (_, index) => 180 + index));
  memory.add(lagOf("a", 7), 100_000 * 30_000);
  expect(memory.of("a")).toEqual([...new Array(119).fill(null), 7]);
  memory.add(lagOf("b", 1), 100_000 * 30_000);
  memory.add(lagOf("a", 0), 100_000 * 30_000);
  expect(memory.of("a")).toEqual(new Array(120).fill(0));
});

test("LagMemory shows steps without a known lag as gaps", () => {
  const memory = new LagMemory();
  memory.add(lagOf("a", 0), 0);
  for (const [second, lag] of [
    [31, null],
    [59, 3],
    [61, 0],
  ] as const) {
    memory.add(lagOf("a", lag), second * 1000);
  }
  expect(memory.of("a")).toEqual([0, null, 0]);
});
