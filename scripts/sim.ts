/**
 * `bun run sim`: runs walrust's own code under a seeded scheduler, clock, store and disk, and checks the
 * guarantees of `test/sim/README.md` after each run.
 *
 *   --seeds N     number of runs [300]
 *   --first F     first seed [1]
 *   --seed S      one run, with its whole trace on stderr
 *   --jobs J      processes at once [number of cores]
 *   --mutants     plant each mutant in turn, and demand that a run finds it within --seeds runs
 *   --mutant NAME plant one mutant
 *
 * A failure prints its seed, the invariant, the last lines of the trace and the command that replays the run.
 * Exits with 1 when an invariant does not hold, or a mutant is not found.
 */
import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { MUTANTS } from "../test/sim/mutants.ts";
import { runSeeds, type SeedResult } from "../test/sim/run-seeds.ts";
import { ensurePackages, fail } from "./toolchain.ts";

const PROGRESS_EVERY = 50;

/** The sums of many runs. */
class Tally {
  seeds = 0;
  failed = 0;
  durationMs = 0;
  operations = 0;
  crashes = 0;
  points = 0;
  restores = 0;
  looks = 0;

  add(result: SeedResult): void {
    this.seeds++;
    if (result.violation !== null) this.failed++;
    this.durationMs += result.durationMs;
    this.operations += result.operations;
    this.crashes += result.crashes;
    this.points += result.points;
    this.restores += result.restores;
    this.looks += result.looks;
  }

  get text(): string {
    const { seeds, failed, operations, crashes, points, restores, looks } = this;
    const each = Math.round(this.durationMs / Math.max(1, seeds));
    return (
      `${seeds} seeds, ${failed} failed; ${operations} operations, ${crashes} crashes, ` +
      `${points} restorable points, ${restores} restores, ${looks} looks at all pages; ${each} ms a seed`
    );
  }
}

function number(name: string, text: string | undefined, otherwise: number): number {
  const value = Number(text ?? otherwise);
  if (!Number.isSafeInteger(value) || value < 1)
    fail(`--${name} is ${text}, expected a whole number above 0`);
  return value;
}

function replayLine(seed: number, mutant: string | null): string {
  return `bun run sim --seed ${seed}${mutant === null ? "" : ` --mutant ${mutant}`}`;
}

function printFailure({ seed, violation, lines }: SeedResult, mutant: string | null): void {
  console.log(`\n${lines.join("\n")}\n`);
  console.log(`seed ${seed}: ${violation}`);
  console.log(`Replay it with: ${replayLine(seed, mutant)}`);
}

/** Runs seeds and prints the failures. @returns whether all went well */
async function runAll(first: number, count: number, jobs: number, mutant: string | null): Promise<boolean> {
  const tally = new Tally();
  await runSeeds({ first, count, jobs, mutant, isVerbose: count === 1 }, (result) => {
    tally.add(result);
    if (result.violation !== null) printFailure(result, mutant);
    if (tally.seeds % PROGRESS_EVERY === 0) console.error(`sim: ${tally.text}`);
    return true;
  });
  console.log(tally.text);
  return tally.failed === 0 && tally.seeds === count;
}

/** Plants each mutant. @returns whether a run found each of them */
async function runMutants(first: number, count: number, jobs: number): Promise<boolean> {
  let isEachFound = true;
  for (const { name } of MUTANTS) {
    let seeds = 0;
    let found: SeedResult | null = null;
    await runSeeds({ first, count, jobs, mutant: name }, (result) => {
      seeds++;
      if (result.violation !== null) found = result;
      return result.violation === null;
    });
    isEachFound &&= found !== null;
    console.log(describe(name, seeds, found));
  }
  return isEachFound;
}

function describe(name: string, seeds: number, found: SeedResult | null): string {
  if (found === null) return `${name}: NOT FOUND in ${seeds} seeds`;
  const [invariant = ""] = (found.violation ?? "").split("\n    at ");
  return `${name}: found after ${seeds} seeds (${replayLine(found.seed, name)}): ${invariant}`;
}

await ensurePackages();
const text = { type: "string" } as const;
const { values } = parseArgs({
  options: {
    ...{ seeds: text, first: text, seed: text, jobs: text, mutant: text },
    mutants: { type: "boolean" },
  },
});
const isOne = values.seed !== undefined;
const first = isOne ? number("seed", values.seed, 1) : number("first", values.first, 1);
const count = isOne ? 1 : number("seeds", values.seeds, 300);
const jobs = number("jobs", values.jobs, availableParallelism());
const isGood = values.mutants
  ? await runMutants(first, count, jobs)
  : await runAll(first, count, jobs, values.mutant ?? null);
process.exit(isGood ? 0 : 1);
