/**
 * Case `commit`: how long the commits of an application take beside a tool, with a long WAL. A tool holds
 * locks that keep SQLite from checkpointing what is not captured yet. With a long WAL, the commits of the
 * application may pay for that. The same commits without a tool are the base of the factor.
 */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { levelFolder, listObjects } from "../../measure/gateway.ts";
import { median, quantile } from "../../measure/statistics.ts";
import { readLog, type Workspace, waitUntil } from "../../measure/workspace.ts";
import { bunCommand } from "../../toolchain.ts";
import { startStorage } from "../processes/storage.ts";
import { nameOf, type Site, type Tool } from "../processes/tools.ts";
import { failedRun, type Measurement } from "../results/measurement.ts";
import { type CommitSpec, describeSpec, LOOPBACK } from "../spec.ts";
import { verify } from "./verify.ts";

/** Options of the application (commit-probe-main.ts). */
export interface CommitProbeOptions {
  readonly databasePath: string;
  readonly walFrames: number;
  readonly commitCount: number;
  /** Number of times to fill the WAL and commit. */
  readonly rounds: number;
}

/** The report of the application. */
export interface CommitProbeResult {
  readonly durationsMs: readonly number[];
  /** Frames in the WAL before each burst of commits. */
  readonly frames: readonly number[];
}

const ROUNDS = 3;
const READY_LIMIT_MS = 60_000;
const PROBE_LIMIT_MS = 300_000;
const STOP_LIMIT_MS = 120_000;

/** Measures the application alone, then beside each tool. A run fails when a process dies. */
export function measureCommit(
  workspace: Workspace,
  tools: readonly Tool[],
  spec: CommitSpec,
  templatePath: string,
): Promise<Measurement[]> {
  return workspace.scope("commit", async (folder) => {
    const alone = await runProbe(workspace, join(folder, "alone"), spec, templatePath, async () => {});
    const measurements: Measurement[] = [];
    for (const tool of tools) {
      const measuring = measureTool(workspace, folder, tool, spec, templatePath, alone);
      measurements.push(await measuring.catch((error) => failedRun(spec, tool.name, error)));
    }
    return measurements;
  });
}

async function measureTool(
  workspace: Workspace,
  commitFolder: string,
  tool: Tool,
  spec: CommitSpec,
  templatePath: string,
  alone: CommitProbeResult,
): Promise<Measurement> {
  const folder = join(commitFolder, tool.name);
  mkdirSync(folder);
  const { gateway, endpoint } = await startStorage(workspace, folder, LOOPBACK);
  const site: Site = { endpoint, prefix: tool.name, folder, user: null };
  const databasePath = join(folder, "probe", "app.db");
  const beside = await runProbe(workspace, join(folder, "probe"), spec, templatePath, async () => {
    const watcher = workspace.start(tool.name, tool.watch(site, [databasePath]));
    const snapshots = levelFolder(gateway, tool.name, nameOf(databasePath), 9);
    await waitUntil([watcher], "the snapshot", READY_LIMIT_MS, () => listObjects(snapshots).length > 0);
    return () => workspace.stop(watcher, STOP_LIMIT_MS);
  });
  const { values, failure } = await verify(workspace, tool, site, [databasePath], 1, null);
  const p50 = (result: CommitProbeResult): number => quantile(result.durationsMs.toSorted(ascending), 0.5);
  const p99 = (result: CommitProbeResult): number => quantile(result.durationsMs.toSorted(ascending), 0.99);
  return {
    ...{ case: "commit", tool: tool.name, setting: describeSpec(spec), failure },
    values: {
      ...{ commitP50Ms: p50(beside), commitP99Ms: p99(beside) },
      ...{ aloneP50Ms: p50(alone), aloneP99Ms: p99(alone) },
      commitFactor: p50(beside) / p50(alone),
      walFrames: median(beside.frames),
      ...values,
    },
  };
}

/** Runs the application on a fresh copy. @param prepare starts a tool, and returns the way to end the tool */
async function runProbe(
  workspace: Workspace,
  folder: string,
  { walFrames, commitCount }: CommitSpec,
  templatePath: string,
  prepare: () => Promise<(() => Promise<void>) | void>,
): Promise<CommitProbeResult> {
  mkdirSync(folder);
  const databasePath = join(folder, "app.db");
  copyFileSync(templatePath, databasePath);
  const end = await prepare();
  const optionsPath = join(folder, "probe.json");
  const options: CommitProbeOptions = { databasePath, walFrames, commitCount, rounds: ROUNDS };
  writeFileSync(optionsPath, JSON.stringify(options));
  const program = join(import.meta.dir, "..", "processes", "commit-probe-main.ts");
  const probe = workspace.start("commit-probe", { words: bunCommand(program, optionsPath), env: {} });
  await workspace.finish(probe, PROBE_LIMIT_MS);
  await end?.();
  return JSON.parse(readLog(probe)) as CommitProbeResult;
}

function ascending(left: number, right: number): number {
  return left - right;
}
