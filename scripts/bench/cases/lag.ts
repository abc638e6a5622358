/**
 * Case `lag`: time from an isolated commit to its object in the bucket, with both tools' default sync
 * interval (1 s). Both tools run at the same time, each with its own database and writer. Single commits
 * leave the machine idle, so the tools do not slow each other down, and both meet the same disturbances.
 */
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { levelFolder, listObjects } from "../../measure/gateway.ts";
import { quantile } from "../../measure/statistics.ts";
import { assertAlive, type Child, readLog, type Workspace, waitUntil } from "../../measure/workspace.ts";
import { bunCommand } from "../../toolchain.ts";
import { type Storage, startStorage } from "../processes/storage.ts";
import { nameOf, type Site, type Tool } from "../processes/tools.ts";
import { failedRun, type Measurement } from "../results/measurement.ts";
import { accessLogOffset, countRequests } from "../samples/access-log.ts";
import { describeSpec, type LagSpec } from "../spec.ts";
import { verify } from "./verify.ts";

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

/** Unmeasured commits at the start: inotify needs the level's folder to exist. */
export const WARM_UP_COUNT = 2;

const MIN_GAP_MS = 1200;
const MAX_GAP_MS = 3000;
const READY_LIMIT_MS = 30_000;
const STOP_LIMIT_MS = 60_000;
const LOG_GRACE_MS = 300;

/** Measures both tools at once. A run fails when a process dies or a commit never arrives. */
export function measureLag(
  workspace: Workspace,
  tools: readonly Tool[],
  spec: LagSpec,
  templatePath: string,
): Promise<Measurement[]> {
  return workspace.scope("lag", (folder) =>
    Promise.all(
      tools.map((tool, index) =>
        measureTool(workspace, folder, tool, spec, templatePath, index + 1).catch((error) =>
          failedRun(spec, tool.name, error),
        ),
      ),
    ),
  );
}

async function measureTool(
  workspace: Workspace,
  lagFolder: string,
  tool: Tool,
  spec: LagSpec,
  templatePath: string,
  seed: number,
): Promise<Measurement> {
  const { commitCount } = spec;
  const folder = join(lagFolder, tool.name);
  mkdirSync(folder);
  // A gateway for each tool, whose log then counts the requests of one tool.
  const storage = await startStorage(workspace, folder, spec);
  const databasePath = join(folder, "lag.db");
  copyFileSync(templatePath, databasePath);
  const site: Site = { endpoint: storage.endpoint, prefix: tool.name, folder, user: null };
  const watcher = workspace.start(tool.name, tool.watch(site, [databasePath]));
  const level = (number: 0 | 9): string =>
    levelFolder(storage.gateway, tool.name, nameOf(databasePath), number);
  await waitUntil([watcher], "the first snapshot", READY_LIMIT_MS, () => listObjects(level(9)).length > 0);
  const offset = accessLogOffset(storage.gateway.accessLogPath);
  const gaps = { minGapMs: MIN_GAP_MS, maxGapMs: MAX_GAP_MS };
  const probe = startProbe(workspace, folder, tool, {
    ...{ databasePath, levelFolder: level(0), commitCount, seed },
    ...gaps,
  });
  await Promise.race([workspace.finish(probe, (commitCount + 10) * MAX_GAP_MS * 2), watcher.process.exited]);
  assertAlive(watcher);
  const lagsMs = (JSON.parse(readLog(probe)) as number[]).toSorted((left, right) => left - right);
  const requests = await countSince(storage, offset, lagsMs.length + WARM_UP_COUNT);
  await workspace.stop(watcher, STOP_LIMIT_MS);
  const near = { ...site, endpoint: storage.near };
  const { values, failure } = await verify(workspace, tool, near, [databasePath], 1, null);
  return {
    ...{ case: "lag", tool: tool.name, setting: describeSpec(spec), failure },
    values: {
      lagP50Ms: quantile(lagsMs, 0.5),
      lagP95Ms: quantile(lagsMs, 0.95),
      lagP99Ms: quantile(lagsMs, 0.99),
      lagMaxMs: lagsMs.at(-1) ?? Number.NaN,
      commitCount: lagsMs.length,
      ...requests,
      ...values,
    },
  };
}

async function countSince(
  { gateway }: Storage,
  offset: number,
  commitCount: number,
): Promise<Record<string, number>> {
  await Bun.sleep(LOG_GRACE_MS);
  const { accessLogPath } = gateway;
  const { byKind, incrementCount } = countRequests(accessLogPath, offset, accessLogOffset(accessLogPath));
  return {
    ...{ incrementCount, incrementsPerCommit: incrementCount / commitCount },
    ...Object.fromEntries(Object.entries(byKind).map(([kind, count]) => [`requests.${kind}`, count])),
  };
}

function startProbe(workspace: Workspace, folder: string, tool: Tool, options: ProbeOptions): Child {
  const optionsPath = join(folder, "probe.json");
  writeFileSync(optionsPath, JSON.stringify(options));
  const program = join(import.meta.dir, "..", "processes", "lag-probe-main.ts");
  return workspace.start(`${tool.name}-probe`, { words: bunCommand(program, optionsPath), env: {} });
}
