/**
 * `bun run corrupt`: restores from corrupted buckets, and fails when a restore gives anything but the
 * recorded bytes of the point that was asked for, or an error with exit 5 or 6 that names the object.
 *
 *   --seeds N   number of seeds [10000]; with --mutants, for each mutant [3000]
 *   --seed S    the first seed [0]; with `--seeds 1`, also prints the bucket and its corruption
 *   --first     end with the first escape
 *   --mutants   plant each mutant of corrupt/mutants.ts in a copy of the project, and fail if the seeds miss
 *               one
 *
 * Each seed corrupts one bucket and restores it three times: at the latest point, at a TXID and at a time.
 * Prints a line that repeats each failed seed. Needs no network and leaves no files behind. With a $TMPDIR in
 * memory (/dev/shm), a run takes half the time.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { CorruptionRun, type SeedResult } from "../test/support/corruption/corruption-run.ts";
import { firstEscapeOrNull, MUTANTS } from "./corrupt/mutants.ts";
import { fail } from "./toolchain.ts";

const SEEDS = 10_000;
const MUTANT_SEEDS = 3_000;
/** The most escapes that are printed. */
const SHOWN_MAX = 20;

/** Counts of a run. */
class Tally {
  readonly #counts = new Map<string, number>();

  add(name: string, count = 1): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + count);
  }

  toString(): string {
    return [...this.#counts].map(([name, count]) => `${name} ${count}`).join(", ");
  }
}

function tallied(
  { origin, layout, kinds, restored, refused }: SeedResult,
  buckets: Tally,
  kindsOf: Tally,
): number {
  buckets.add(`${origin} ${layout === "file" ? "in a folder" : "in S3"}`);
  for (const kind of kinds) kindsOf.add(kind);
  if (kinds.length > 1) kindsOf.add("two at once");
  buckets.add("restored", restored);
  buckets.add("refused", refused);
  return restored + refused;
}

/** Runs the seeds and prints the counts. @returns the exit code */
async function runSeeds(first: number, count: number, endsWithFirst: boolean): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), "walrust-corrupt-"));
  const run = new CorruptionRun(folder);
  const [buckets, kinds] = [new Tally(), new Tally()];
  const startedMs = performance.now();
  let escapes = 0;
  let restores = 0;
  try {
    if (count === 1) console.log((await run.describe(first)).join("\n"));
    for (let seed = first; seed < first + count && (escapes === 0 || !endsWithFirst); seed++) {
      const result = await run.seed(seed);
      restores += tallied(result, buckets, kinds);
      for (const { asked, what, steps } of result.escapes) {
        if (++escapes > SHOWN_MAX) continue;
        console.log(`escape: ${what}, asked for ${JSON.stringify(asked)}, after ${steps.join("; ")}`);
        console.log(`  repeat it: bun run corrupt --seeds 1 --seed ${seed}`);
      }
    }
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
  console.log(`corruptions: ${kinds}`);
  console.log(`buckets and restores: ${buckets}`);
  console.log(`${count} seeds from ${first}, ${restores} restores, ${escapes} escapes, ${seconds} s`);
  return escapes === 0 ? 0 : 1;
}

/** Plants each mutant. @returns the exit code */
async function runMutants(count: number): Promise<number> {
  let missed = 0;
  for (const mutant of MUTANTS) {
    const found = await firstEscapeOrNull(mutant, count);
    if (found === null) missed++;
    const seed = /--seed (\d+)/.exec(found ?? "")?.[1];
    console.log(`${mutant.name}: ${found === null ? "MISSED" : `caught after ${Number(seed) + 1} seeds`}`);
    if (found !== null) console.log(`  ${found.split("\n")[0]}`);
  }
  console.log(`${MUTANTS.length} mutants, ${missed} missed`);
  return missed === 0 ? 0 : 1;
}

function numberOf(text: string | undefined, otherwise: number): number {
  if (text === undefined) return otherwise;
  if (!/^\d{1,9}$/.test(text)) throw new Error(`${text}: expected a number`);
  return Number(text);
}

async function main(): Promise<number> {
  const [text, flag] = [{ type: "string" } as const, { type: "boolean" } as const];
  const { values } = parseArgs({ options: { seeds: text, seed: text, first: flag, mutants: flag } });
  if (values.mutants) return runMutants(numberOf(values.seeds, MUTANT_SEEDS));
  return runSeeds(numberOf(values.seed, 0), numberOf(values.seeds, SEEDS), values.first ?? false);
}

try {
  process.exitCode = await main();
} catch (error) {
  fail(`corrupt failed: ${error instanceof Error ? error.message : error}`);
}
