/**
 * Starts the application beside the tools (writer-main.ts) and reads its final report.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bunCommand } from "../../toolchain.ts";
import { type Child, readLog, type Workspace, waitUntil } from "./workspace.ts";

/** Options of the application. */
export interface WriterOptions {
  readonly databases: readonly string[];
  /** Commits a second to each database. */
  readonly commitsPerSecond: number;
  readonly seed: number;
  /** File for the times of the commits. */
  readonly timesPath: string;
}

/** The final report of the application. */
export interface WriterResult {
  readonly commitCount: number;
  readonly durationMs: number;
  /** Largest delay of a commit behind its schedule, in ms. */
  readonly latestMs: number;
  readonly commitP50Ms: number;
  readonly commitP99Ms: number;
}

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;

/** Seed of the commits to one of the databases. */
export function seedOf(seed: number, index: number): number {
  return seed + 1000 * index;
}

/** Starts the application, and waits until it has opened all databases. */
export async function startWriter(
  workspace: Workspace,
  folder: string,
  options: WriterOptions,
): Promise<Child> {
  const optionsPath = join(folder, "writer.json");
  writeFileSync(optionsPath, JSON.stringify(options));
  const program = join(import.meta.dir, "writer-main.ts");
  const writer = workspace.start("writer", { words: bunCommand(program, optionsPath), env: {} });
  await waitUntil([writer], "the writer", START_LIMIT_MS, () => readLog(writer).includes("ready"));
  return writer;
}

/** Stops the application and reads its report. @throws Error when it failed */
export async function stopWriter(workspace: Workspace, writer: Child): Promise<WriterResult> {
  await workspace.stop(writer, STOP_LIMIT_MS);
  return JSON.parse(readLog(writer).trimEnd().split("\n").at(-1) ?? "") as WriterResult;
}

/** Times of the commits to each database, in ms of the wall clock. */
export function readCommitTimes({ timesPath, databases }: WriterOptions): Float64Array[] {
  const bytes = new Uint8Array(readFileSync(timesPath));
  return splitTurns(new Float64Array(bytes.buffer), databases.length);
}

/** Splits values taken in turns: the value at `index` belongs to the part `index % count`. */
export function splitTurns(values: Float64Array, count: number): Float64Array[] {
  return Array.from({ length: count }, (_, part) =>
    Float64Array.from(
      { length: Math.max(0, Math.ceil((values.length - part) / count)) },
      (_, turn) => values[turn * count + part]!,
    ),
  );
}
