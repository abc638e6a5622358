/**
 * The application beside the tools: up to four processes (writer-main.ts), which share the databases. With
 * one process, the checkpoints of one database, which wait for the disk, would stop the commits to all
 * others.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { quantile } from "../../measure/statistics.ts";
import { type Child, readLog, type Workspace, waitUntil } from "../../measure/workspace.ts";
import { bunCommand } from "../../toolchain.ts";

/** Options of the application. */
export interface WriterOptions {
  readonly databases: readonly string[];
  /** Commits a second to each database. */
  readonly commitsPerSecond: number;
  readonly seed: number;
}

/** Options of one process (writer-main.ts). */
export interface ShareOptions {
  readonly databases: readonly string[];
  /** Seed of the commits to each database. */
  readonly seeds: readonly number[];
  readonly commitsPerSecond: number;
  /** File for the times of the commits. */
  readonly timesPath: string;
}

/** The final report of one process. */
export interface ShareResult {
  readonly commitCount: number;
  readonly durationMs: number;
  /** Largest delay of a commit behind its schedule, in ms. */
  readonly latestMs: number;
  /** Durations of commits at even ranks, in ms. */
  readonly commitsMs: readonly number[];
}

/** The final report of the application. */
export interface WriterResult {
  readonly commitCount: number;
  readonly durationMs: number;
  readonly latestMs: number;
  readonly commitP50Ms: number;
  readonly commitP99Ms: number;
}

/** The running application. */
export interface Writer {
  readonly children: readonly Child[];
  /** The file of each process. */
  readonly timesPaths: readonly string[];
  readonly databaseCount: number;
}

const MAX_PROCESSES = 4;
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
  { databases, commitsPerSecond, seed }: WriterOptions,
): Promise<Writer> {
  const shareCount = Math.min(MAX_PROCESSES, databases.length);
  const seeds = databases.map((_, index) => seedOf(seed, index));
  const shares = Array.from({ length: shareCount }, (_, share) => {
    const isMine = (_item: unknown, index: number): boolean => index % shareCount === share;
    const timesPath = join(folder, `commits-${share}`);
    const options: ShareOptions = {
      ...{ databases: databases.filter(isMine), seeds: seeds.filter(isMine), commitsPerSecond, timesPath },
    };
    const optionsPath = join(folder, `writer-${share}.json`);
    writeFileSync(optionsPath, JSON.stringify(options));
    const program = join(import.meta.dir, "writer-main.ts");
    const child = workspace.start("writer", { words: bunCommand(program, optionsPath), env: {} });
    return { child, timesPath };
  });
  const children = shares.map(({ child }) => child);
  await waitUntil(children, "the writer", START_LIMIT_MS, () =>
    children.every((child) => readLog(child).includes("ready")),
  );
  return {
    children,
    timesPaths: shares.map(({ timesPath }) => timesPath),
    databaseCount: databases.length,
  };
}

/** Stops the application and reads its report. @throws Error when it failed */
export async function stopWriter(workspace: Workspace, { children }: Writer): Promise<WriterResult> {
  await Promise.all(children.map((child) => workspace.stop(child, STOP_LIMIT_MS)));
  return mergeResults(
    children.map((child) => JSON.parse(readLog(child).trimEnd().split("\n").at(-1) ?? "") as ShareResult),
  );
}

/** Makes one report of those of all processes. */
export function mergeResults(results: readonly ShareResult[]): WriterResult {
  const commitsMs = Float64Array.from(results.flatMap((result) => result.commitsMs)).sort();
  return {
    commitCount: results.reduce((sum, { commitCount }) => sum + commitCount, 0),
    durationMs: Math.max(...results.map(({ durationMs }) => durationMs)),
    latestMs: Math.max(...results.map(({ latestMs }) => latestMs)),
    commitP50Ms: quantile(commitsMs, 0.5),
    commitP99Ms: quantile(commitsMs, 0.99),
  };
}

/** Times of the commits to each database, in ms of the wall clock. */
export function readCommitTimes({ timesPaths, databaseCount }: Writer): Float64Array[] {
  const shareCount = timesPaths.length;
  const shares = timesPaths.map((path, share) => {
    const bytes = new Uint8Array(readFileSync(path));
    return splitTurns(new Float64Array(bytes.buffer), Math.ceil((databaseCount - share) / shareCount));
  });
  return Array.from({ length: databaseCount }, (_, index) => {
    return shares[index % shareCount]![Math.floor(index / shareCount)]!;
  });
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
