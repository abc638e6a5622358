/**
 * Case `lag`: time from an isolated commit to its object in the bucket, with both tools' default sync
 * interval (1 s). Both tools run at the same time, each with its own database and writer. Single commits
 * leave the machine idle, so the tools do not slow each other down, and both meet the same disturbances.
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { bunCommand } from "../toolchain.ts";
import { assertSame, settleDatabase } from "./databases.ts";
import { type Gateway, levelFolder, listObjects, startGateway } from "./gateway.ts";
import type { Measurement } from "./results.ts";
import { quantile } from "./statistics.ts";
import { nameOf, type Site, type Tool } from "./tools.ts";
import { assertAlive, type Child, readLog, type Workspace, waitUntil } from "./workspace.ts";

/** Options of the probe (lag-probe-main.ts). */
export interface ProbeOptions {
  readonly databasePath: string;
  /** The gateway's folder of level-0 objects. */
  readonly levelFolder: string;
  readonly commitCount: number;
  /** Range of the pause between commits; a commit also waits for the object of the commit before. */
  readonly minGapMs: number;
  readonly maxGapMs: number;
  readonly seed: number;
}

/** Options of the case. */
export interface LagOptions {
  readonly commitCount: number;
  readonly templatePath: string;
}

const MIN_GAP_MS = 1200;
const MAX_GAP_MS = 3000;
const READY_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 60_000;

/** Measures both tools at once. @throws Error when a process dies or a commit never arrives */
export async function measureLag(
  workspace: Workspace,
  tools: readonly Tool[],
  options: LagOptions,
): Promise<Measurement[]> {
  const folder = join(workspace.folder, "lag");
  mkdirSync(folder);
  const gateway = await startGateway(workspace, folder);
  const measurements = await Promise.all(
    tools.map((tool, index) => measureTool(workspace, gateway, tool, options, index + 1)),
  );
  await workspace.stop(gateway.child, STOP_LIMIT_MS);
  rmSync(folder, { recursive: true });
  return measurements;
}

async function measureTool(
  workspace: Workspace,
  gateway: Gateway,
  tool: Tool,
  { commitCount, templatePath }: LagOptions,
  seed: number,
): Promise<Measurement> {
  const folder = join(workspace.folder, "lag", tool.name);
  mkdirSync(folder);
  const databasePath = join(folder, "lag.db");
  copyFileSync(templatePath, databasePath);
  const site: Site = { gateway, prefix: tool.name, folder };
  const watcher = workspace.start(tool.name, tool.watch(site, [databasePath]));
  const level = (number: 0 | 9): string => levelFolder(gateway, tool.name, nameOf(databasePath), number);
  await waitUntil([watcher], "the first snapshot", READY_LIMIT_MS, () => listObjects(level(9)).length > 0);
  const gaps = { minGapMs: MIN_GAP_MS, maxGapMs: MAX_GAP_MS };
  const probe = startProbe(workspace, folder, {
    ...{ databasePath, levelFolder: level(0), commitCount, seed },
    ...gaps,
  });
  await Promise.race([workspace.finish(probe, (commitCount + 10) * MAX_GAP_MS * 2), watcher.process.exited]);
  assertAlive(watcher);
  const lagsMs = (JSON.parse(readLog(probe)) as number[]).toSorted((left, right) => left - right);
  await workspace.stop(watcher, STOP_LIMIT_MS);
  await verifyRestore(workspace, tool, site, databasePath);
  return {
    case: "lag",
    tool: tool.name,
    setting: `isolated commits, ${MIN_GAP_MS / 1000}–${MAX_GAP_MS / 1000} s apart`,
    values: {
      lagP50Ms: quantile(lagsMs, 0.5),
      lagP95Ms: quantile(lagsMs, 0.95),
      lagMaxMs: lagsMs.at(-1) ?? Number.NaN,
      commitCount: lagsMs.length,
      verified: 1,
    },
  };
}

function startProbe(workspace: Workspace, folder: string, options: ProbeOptions): Child {
  const optionsPath = join(folder, "probe.json");
  writeFileSync(optionsPath, JSON.stringify(options));
  const program = join(import.meta.dir, "lag-probe-main.ts");
  return workspace.start("probe", { words: bunCommand(program, optionsPath), env: {} });
}

async function verifyRestore(workspace: Workspace, tool: Tool, site: Site, path: string): Promise<void> {
  settleDatabase(path);
  const target = join(site.folder, "restored.db");
  const restore = workspace.start(`${tool.name}-restore`, tool.restore(site, path, target));
  await workspace.finish(restore, STOP_LIMIT_MS);
  assertSame(path, target);
}
