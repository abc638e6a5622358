/**
 * The deterministic simulator in the test command: a few hundred seeds of all kinds of trouble. `bun run sim`
 * runs more, and replays one.
 */
import { expect, test } from "bun:test";
import { runSeeds, type SeedResult } from "./run-seeds.ts";

const SEED_COUNT = 300;
const TIMEOUT_MS = 600_000;
/** Profiles that together have every kind of event. */
const REPEATED = { first: 1, count: 12 };

/** The results of seeds, in order. */
async function resultsOf(first: number, count: number, jobs: number): Promise<SeedResult[]> {
  const results: SeedResult[] = [];
  await runSeeds({ first, count, jobs, mutant: null }, (result) => results.push(result) > 0);
  return results.sort((a, b) => a.seed - b.seed);
}

test(
  `${SEED_COUNT} seeds break no invariant`,
  async () => {
    const results = await resultsOf(1, SEED_COUNT, 2);
    const failed = results.filter(({ violation }) => violation !== null);
    expect(failed.map(({ seed, violation }) => `bun run sim --seed ${seed}: ${violation}`)).toEqual([]);
    expect(results).toHaveLength(SEED_COUNT);
    // A run that does nothing would break no invariant either.
    const sum = (field: "crashes" | "points" | "restores" | "looks"): number =>
      results.reduce((total, result) => total + result[field], 0);
    expect(sum("crashes")).toBeGreaterThan(SEED_COUNT);
    expect(sum("points")).toBeGreaterThan(5 * SEED_COUNT);
    expect(sum("restores")).toBeGreaterThan(2 * SEED_COUNT);
    expect(sum("looks")).toBeGreaterThan(3 * SEED_COUNT);
    expect(new Set(results.map(({ profile }) => profile)).size).toBe(6);
  },
  TIMEOUT_MS,
);

test(
  "a seed runs the same twice",
  async () => {
    const traces = async (jobs: number): Promise<string[]> => {
      const results = await resultsOf(REPEATED.first, REPEATED.count, jobs);
      return results.map(({ seed, trace }) => `${seed} ${trace}`);
    };
    // Another number of processes: a seed must not depend on the seeds before it.
    expect(await traces(2)).toEqual(await traces(1));
  },
  TIMEOUT_MS,
);
