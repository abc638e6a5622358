/**
 * Starts the application beside the tools (writer-main.ts) and reads its final report.
 */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { bunCommand } from "../toolchain.ts";
import { type Child, readLog, type Workspace } from "./workspace.ts";

/** Options of the application. */
export interface WriterOptions {
  readonly databases: readonly string[];
  /** Commits a second to each database. */
  readonly commitsPerSecond: number;
  readonly seed: number;
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

/** Minimum share of the requested rate; a slower run is no measurement. */
const MIN_RATE_SHARE = 0.95;
const STOP_LIMIT_MS = 30_000;

/** Starts the application. */
export function startWriter(workspace: Workspace, folder: string, options: WriterOptions): Child {
  const optionsPath = join(folder, "writer.json");
  writeFileSync(optionsPath, JSON.stringify(options));
  const program = join(import.meta.dir, "writer-main.ts");
  return workspace.start("writer", { words: bunCommand(program, optionsPath), env: {} });
}

/** Stops the application. @throws Error when it failed or did not reach the requested rate */
export async function stopWriter(
  workspace: Workspace,
  writer: Child,
  options: WriterOptions,
): Promise<WriterResult> {
  await workspace.stop(writer, STOP_LIMIT_MS);
  const result = JSON.parse(readLog(writer).trimEnd().split("\n").at(-1) ?? "") as WriterResult;
  const wantedCount = (options.commitsPerSecond * options.databases.length * result.durationMs) / 1000;
  if (result.commitCount < wantedCount * MIN_RATE_SHARE) {
    throw new Error(
      `the writer made ${result.commitCount} commits of ${Math.round(wantedCount)}: it cannot keep up here`,
    );
  }
  return result;
}
