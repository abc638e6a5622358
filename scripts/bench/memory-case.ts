/**
 * Case `memory`: cost of a tool beside many databases under an even load, and proof that nothing was lost.
 *
 * The tools run one after the other, each with the machine, a gateway and a writer to itself, on copies of
 * the same databases with the same commits. Side by side they would share two cores, and the busier tool
 * would slow down the other. The clock starts when every database has its first snapshot in the bucket. At
 * the end the case stops the tool with SIGTERM, restores databases and compares them.
 */
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "./databases.ts";
import {
  accessLogOffset,
  countRequests,
  type Gateway,
  levelFolder,
  listObjects,
  startGateway,
} from "./gateway.ts";
import { machineBusyMs, type ProcessSample, sampleProcess } from "./proc.ts";
import type { Measurement } from "./results.ts";
import { nameOf, type Site, type Tool } from "./tools.ts";
import { type Child, type Workspace, waitBeside, waitUntil } from "./workspace.ts";
import { startWriter, stopWriter, type WriterResult } from "./writer.ts";

/** Options of the case. */
export interface MemoryOptions {
  readonly databaseCount: number;
  readonly commitsPerSecond: number;
  readonly durationMs: number;
  /** Number of databases to restore at the end. */
  readonly verifyCount: number;
  readonly templatePath: string;
}

const READY_LIMIT_MS = 120_000;
const STOP_LIMIT_MS = 60_000;
const RESTORE_LIMIT_MS = 60_000;
const WRITER_SEED = 7;
/** Pause before reading the access log: the gateway writes the log after it has answered. */
const LOG_GRACE_MS = 200;

/** Measures one tool under a load. @throws Error when a process dies or a restored database differs */
export async function measureMemory(
  workspace: Workspace,
  tool: Tool,
  options: MemoryOptions,
): Promise<Measurement> {
  const folder = join(workspace.folder, `memory-${options.databaseCount}-${tool.name}`);
  const databases = copyDatabases(join(folder, "databases"), options);
  const gateway = await startGateway(workspace, folder);
  const site: Site = { gateway, prefix: tool.name, folder };
  const startMs = performance.now();
  const watcher = workspace.start(tool.name, tool.watch(site, databases));
  await waitUntil([watcher, gateway.child], "the first snapshots", READY_LIMIT_MS, () =>
    databases.every((path) => listObjects(levelFolder(gateway, tool.name, nameOf(path), 9)).length > 0),
  );
  const readyMs = performance.now() - startMs;
  const load = await runLoad(workspace, gateway, watcher, databases, options);
  const stopMs = await timed(() => workspace.stop(watcher, STOP_LIMIT_MS));
  const verified = await verify(workspace, tool, site, pickEvenly(databases, options.verifyCount));
  await workspace.stop(gateway.child, STOP_LIMIT_MS);
  rmSync(folder, { recursive: true });
  return {
    case: "memory",
    tool: tool.name,
    setting: `databases: ${options.databaseCount}, commits/s to each: ${options.commitsPerSecond}`,
    values: { ...load, readyMs, stopMs, verified },
  };
}

/** Copies of the template in a new folder. */
export function copyDatabases(
  folder: string,
  { databaseCount, templatePath }: Pick<MemoryOptions, "databaseCount" | "templatePath">,
): string[] {
  mkdirSync(folder, { recursive: true });
  return Array.from({ length: databaseCount }, (_, index) => {
    const path = join(folder, `db-${String(index + 1).padStart(4, "0")}.db`);
    copyFileSync(templatePath, path);
    return path;
  });
}

/** Readings at the start and at the end of the load. */
function takeSnapshot(
  gateway: Gateway,
  watcher: Child,
): {
  offset: number;
  tool: ProcessSample;
  gatewayCpuMs: number;
  busyMs: number;
  atMs: number;
} {
  return {
    offset: accessLogOffset(gateway),
    tool: sampleProcess(watcher.pid),
    gatewayCpuMs: sampleProcess(gateway.child.pid).cpuMs,
    busyMs: machineBusyMs(),
    atMs: performance.now(),
  };
}

async function runLoad(
  workspace: Workspace,
  gateway: Gateway,
  watcher: Child,
  databases: readonly string[],
  options: MemoryOptions,
): Promise<Record<string, number>> {
  const writerOptions = { databases, commitsPerSecond: options.commitsPerSecond, seed: WRITER_SEED };
  const before = takeSnapshot(gateway, watcher);
  const ownCpuBefore = process.cpuUsage();
  const writer = startWriter(workspace, join(databases[0]!, "..", ".."), writerOptions);
  await waitBeside([watcher, gateway.child, writer], options.durationMs);
  const after = takeSnapshot(gateway, watcher);
  const writerCpuMs = sampleProcess(writer.pid).cpuMs;
  const ownCpu = process.cpuUsage(ownCpuBefore);
  const written = await stopWriter(workspace, writer, writerOptions);
  await Bun.sleep(LOG_GRACE_MS);
  const requests = countRequests(gateway, before.offset, after.offset);
  const cpuMs = after.tool.cpuMs - before.tool.cpuMs;
  const gatewayCpuMs = after.gatewayCpuMs - before.gatewayCpuMs;
  const loadMs = after.atMs - before.atMs;
  const accountedMs = cpuMs + gatewayCpuMs + writerCpuMs + (ownCpu.user + ownCpu.system) / 1000;
  const { incrementCount } = requests;
  return {
    rssBytes: after.tool.rssBytes,
    anonymousBytes: after.tool.anonymousBytes,
    peakRssBytes: after.tool.peakRssBytes,
    rssBeforeLoadBytes: before.tool.rssBytes,
    startCpuMs: before.tool.cpuMs,
    cpuMs,
    cpuShare: cpuMs / loadMs,
    ...(incrementCount === 0 ? {} : { cpuPerIncrementMs: cpuMs / incrementCount }),
    descriptorCount: after.tool.descriptorCount,
    threadCount: after.tool.threadCount,
    incrementCount,
    ...Object.fromEntries(Object.entries(requests.byKind).map(([kind, n]) => [`requests.${kind}`, n])),
    ...writerValues(written),
    gatewayCpuMs,
    loadMs,
    otherProgramsShare: Math.max(0, (after.busyMs - before.busyMs - accountedMs) / loadMs),
  };
}

function writerValues(written: WriterResult): Record<string, number> {
  const { commitCount, latestMs, commitP50Ms, commitP99Ms } = written;
  // A load without commits has no durations.
  return commitCount === 0 ? { commitCount } : { commitCount, latestMs, commitP50Ms, commitP99Ms };
}

/** Restores databases and compares each with its source. @returns their number */
export async function verify(
  workspace: Workspace,
  tool: Tool,
  site: Site,
  databases: readonly string[],
): Promise<number> {
  for (const path of databases) {
    settleDatabase(path);
    const target = join(site.folder, `restored-${nameOf(path)}.db`);
    const restore = workspace.start(`${tool.name}-restore`, tool.restore(site, path, target));
    await workspace.finish(restore, RESTORE_LIMIT_MS);
    assertSame(path, target);
  }
  return databases.length;
}

/** Picks `count` items at even distances. */
export function pickEvenly<Item>(items: readonly Item[], count: number): Item[] {
  const step = Math.max(1, items.length / count);
  return items.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
}

async function timed(action: () => Promise<void>): Promise<number> {
  const startMs = performance.now();
  await action();
  return performance.now() - startMs;
}
