/**
 * Runs seeds of the simulator in child processes, because the simulator edits the sources of walrust as they
 * are loaded, and lets the event loop of its process run only as its scheduler wants.
 */
import { join } from "node:path";
import type { SeedResult } from "./sim-main.ts";

export type { SeedResult };

/** The seeds of a run. */
export interface SeedRange {
  readonly first: number;
  readonly count: number;
  /** Child processes at once. */
  readonly jobs: number;
  /** A planted fault; null: none. */
  readonly mutant: string | null;
  /** Whether a child prints its whole trace to stderr. */
  readonly isVerbose?: boolean;
}

const PRELOAD = join(import.meta.dir, "preload.ts");
const MAIN = join(import.meta.dir, "sim-main.ts");

/** The command that runs seeds FIRST, FIRST + STRIDE and so on. */
function commandOf(first: number, count: number, stride: number, isVerbose: boolean): string[] {
  const numbers = [first, count, stride].map(String);
  return [process.execPath, "--preload", PRELOAD, MAIN, ...numbers, ...(isVerbose ? ["--verbose"] : [])];
}

/** Bun keeps a connection that failed to open: after thousands of seeds a process has no descriptor left. */
const SEEDS_PER_PROCESS = 500;

/**
 * Runs seeds, each in one of several child processes.
 * @param onResult called with each result; false ends the run
 * @throws Error when a child process ends before its seeds
 */
export async function runSeeds(range: SeedRange, onResult: (result: SeedResult) => boolean): Promise<void> {
  const endSeed = range.first + range.count;
  const roundCount = SEEDS_PER_PROCESS * range.jobs;
  for (let first = range.first; first < endSeed; first += roundCount) {
    const count = Math.min(roundCount, endSeed - first);
    if (!(await runRound({ ...range, first, count }, onResult))) return;
  }
}

/** @returns whether the run goes on */
async function runRound(range: SeedRange, onResult: (result: SeedResult) => boolean): Promise<boolean> {
  const { first, count, mutant } = range;
  const jobs = Math.min(range.jobs, count);
  const children = Array.from({ length: jobs }, (_, index) =>
    Bun.spawn(commandOf(first + index, Math.ceil((count - index) / jobs), jobs, range.isVerbose === true), {
      stdio: ["ignore", "pipe", "inherit"],
      env: { ...process.env, WALRUST_SIM_MUTANT: mutant ?? "" },
    }),
  );
  let isEnded = false;
  const end = (): void => {
    isEnded = true;
    for (const child of children) child.kill();
  };
  const follow = async (child: (typeof children)[number]): Promise<void> => {
    let rest = "";
    const decoder = new TextDecoder();
    for await (const chunk of child.stdout) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) if (!isEnded && !onResult(JSON.parse(line) as SeedResult)) end();
    }
    const exitCode = await child.exited;
    if (!isEnded && exitCode !== 0) throw new Error(`a process of the simulator ended with ${exitCode}`);
  };
  try {
    await Promise.all(children.map(follow));
    return !isEnded;
  } finally {
    end();
  }
}
