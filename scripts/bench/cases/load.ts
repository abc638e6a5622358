/**
 * Case `load`: cost of a tool beside many databases under an even load, its lag, and proof that nothing was
 * lost.
 *
 * The tools run one after the other, each with the machine, a gateway and a writer to itself, on copies of
 * the same databases with the same commits. Side by side they would share two cores, and the busier tool
 * would slow down the other. The clock starts when every database has its first snapshot in the bucket. After
 * a warm-up, the case measures for the duration of the spec. Then it counts system calls for some seconds,
 * still under load, and ends the tool.
 */
import { chownSync } from "node:fs";
import { join } from "node:path";
import { copyDatabases } from "../../measure/databases.ts";
import { freePort, levelFolder, listObjects } from "../../measure/gateway.ts";
import { Observations } from "../../measure/observed/observations.ts";
import { Observer } from "../../measure/observed/observer.ts";
import { machineBusyMs, sampleProcess } from "../../measure/proc.ts";
import { quantile } from "../../measure/statistics.ts";
import {
  assertAlive,
  type Child,
  describeLog,
  findUser,
  type Workspace,
  waitUntil,
} from "../../measure/workspace.ts";
import { type Storage, startStorage } from "../processes/storage.ts";
import { nameOf, type Site, type Tool } from "../processes/tools.ts";
import { readCommitTimes, startWriter, stopWriter, type Writer } from "../processes/writer.ts";
import { behindOf, lagsOf, ticksOf, visibleTimes, type Window } from "../results/behind.ts";
import type { Measurement } from "../results/measurement.ts";
import { accessLogOffset, countRequests } from "../samples/access-log.ts";
import { ObjectLog } from "../samples/objects.ts";
import { Sampler, summarize } from "../samples/sampler.ts";
import { countSystemCalls } from "../samples/syscalls.ts";
import { describeSpec, type LoadSpec } from "../spec.ts";
import { verify } from "./verify.ts";

/** The processes and files of a running case. */
interface Stage {
  readonly workspace: Workspace;
  readonly spec: LoadSpec;
  readonly folder: string;
  readonly databases: readonly string[];
  readonly storage: Storage;
  readonly watcher: Child;
  /** The observer of walrust, with its record; null: nobody observes. */
  readonly observed: Observed | null;
}

/** The observer of a tool. */
interface Observed {
  readonly observer: Observer;
  readonly record: Observations;
}

/** The end of the tool. */
interface Ending {
  readonly atMs: number;
  readonly values: Readonly<Record<string, number>>;
  readonly failure: string | null;
}

const READY_LIMIT_MS = 600_000;
const STOP_LIMIT_MS = 120_000;
const WRITER_SEED = 7;
const TURN_MS = 50;
/** Not a divisor of a second, at which all databases with a commit a second are in the same phase. */
const TICK_MS = 170;
const END_TICK_COUNT = 30;
/** Pause before reading the access log and the last objects: the gateway writes the log after its answer. */
const GRACE_MS = 300;
const MONTH_SECONDS = 30 * 86_400;

/** Measures one tool under a load. @throws Error when a process dies */
export function measureLoad(
  workspace: Workspace,
  tool: Tool,
  spec: LoadSpec,
  templatePath: string,
): Promise<Measurement> {
  return workspace.scope(`load-${tool.name}`, async (folder) => {
    const databases = copyDatabases(join(folder, "databases"), templatePath, spec.databaseCount);
    const storage = await startStorage(workspace, folder, spec);
    const user = spec.user === null ? null : await findUser(spec.user);
    for (const path of [folder, join(folder, "databases"), ...databases]) {
      if (user !== null) chownSync(path, user.uid, user.gid);
    }
    const site: Site = { endpoint: storage.endpoint, prefix: tool.name, folder, user };
    const startMs = performance.now();
    const statusPort = spec.isObserved && tool.status !== null ? freePort() : undefined;
    const watcher = workspace.start(tool.name, tool.watch(site, databases, statusPort));
    const observed = statusPort === undefined ? null : observe(workspace, watcher, statusPort, tool, site);
    const level = (path: string, number: 0 | 9): string =>
      levelFolder(storage.gateway, tool.name, nameOf(path), number);
    // Looks again only at the databases that had no snapshot yet.
    let readyCount = 0;
    await waitUntil([watcher, ...storage.children], "the first snapshots", READY_LIMIT_MS, () => {
      while (readyCount < databases.length && listObjects(level(databases[readyCount]!, 9)).length > 0) {
        readyCount++;
      }
      return readyCount === databases.length;
    });
    const readyMs = performance.now() - startMs;
    const { cpuMs: startCpuMs, peakRssBytes: startPeakRssBytes } = sampleProcess(watcher.pid);
    const stage: Stage = { workspace, spec, folder, databases, storage, watcher, observed };
    const objects = new ObjectLog(databases.map((path) => level(path, 0)));
    const { ending, values, commitsMs } = await runLoad(stage, objects);
    const isKilled = spec.end === "kill";
    const history = { isKilled, endMs: ending.atMs, commitsMs, templatePath, seed: WRITER_SEED };
    const near: Site = { ...site, endpoint: storage.near };
    const verified = await verify(workspace, tool, near, databases, spec.verifyCount, history);
    return {
      ...{ case: "load", tool: tool.name, setting: describeSpec(spec) },
      values: { ...values, ...ending.values, readyMs, startCpuMs, startPeakRssBytes, ...verified.values },
      failure: ending.failure ?? (verified.failure && `${verified.failure}; ${describeLog(watcher)}`),
    };
  });
}

/** Observes walrust. As another user it is not asked for its status: its socket is for that user alone. */
function observe(workspace: Workspace, watcher: Child, port: number, tool: Tool, site: Site): Observed {
  const record = new Observations((text) => console.error(`bench: ${text}`));
  const { folder } = workspace;
  const command = site.user === null ? (tool.status?.(site) ?? null) : null;
  const status = command && { words: command.words, env: workspace.environment(command.env), folder };
  return { record, observer: Observer.of(watcher, { url: `http://127.0.0.1:${port}`, status }, record) };
}

/** Runs the application beside the tool, from its first commit to the end of the tool. */
async function runLoad(
  stage: Stage,
  objects: ObjectLog,
): Promise<{ ending: Ending; values: Record<string, number>; commitsMs: Float64Array[] }> {
  const { workspace, spec, folder, databases, storage, watcher } = stage;
  const { commitsPerSecond } = spec;
  const writer = await startWriter(workspace, folder, { databases, commitsPerSecond, seed: WRITER_SEED });
  const beside = [watcher, ...storage.children, ...writer.children];
  const readDue = (): void => objects.readDue();
  await turnFor(beside, spec.warmUpMs, readDue);
  const { window, values } = await measureWindow(stage, writer, () => objects.readDue());
  const traced = await traceCalls(stage, () => turnFor(beside, 1_000, readDue));
  const ending = await endTool(stage, writer);
  await Bun.sleep(GRACE_MS);
  objects.readAll();
  const commitsMs = readCommitTimes(writer);
  const lags = commitsPerSecond === 0 ? {} : lagValues(commitsMs, objects, window, Date.now());
  return { ending, commitsMs, values: { ...values, ...traced, ...lags } };
}

/** Takes all readings over the duration of the spec. */
async function measureWindow(
  { spec, storage, watcher }: Stage,
  writer: Writer,
  readDue: () => void,
): Promise<{ window: Window; values: Record<string, number> }> {
  const { gateway, children, endpoint } = storage;
  const read = () => ({
    ...{ tool: sampleProcess(watcher.pid), offset: accessLogOffset(gateway.accessLogPath) },
    ...{ busyMs: machineBusyMs(), atMs: performance.now() },
    othersCpuMs: [...children, ...writer.children].reduce(
      (sum, { pid }) => sum + sampleProcess(pid).cpuMs,
      0,
    ),
    gatewayCpuMs: sampleProcess(gateway.child.pid).cpuMs,
    ownCpu: process.cpuUsage(),
  });
  const startMs = Date.now();
  const before = read();
  const sampler = new Sampler(watcher.pid, endpoint.port);
  await turnFor([watcher, ...children, ...writer.children], spec.durationMs, () => {
    readDue();
    sampler.tick();
  });
  const after = read();
  const window = { startMs, endMs: Date.now() };
  await Bun.sleep(GRACE_MS);
  const loadMs = after.atMs - before.atMs;
  const cpuMs = after.tool.cpuMs - before.tool.cpuMs;
  const ownCpu = process.cpuUsage(before.ownCpu);
  const accountedMs = cpuMs + (after.othersCpuMs - before.othersCpuMs) + (ownCpu.user + ownCpu.system) / 1000;
  const counts = countRequests(gateway.accessLogPath, before.offset, after.offset);
  const values = {
    ...summarize(sampler.samples, sampler.fullSamples),
    ...{ cpuMs, cpuShare: cpuMs / loadMs },
    ...(counts.incrementCount === 0 ? {} : { cpuPerIncrementMs: cpuMs / counts.incrementCount }),
    incrementCount: counts.incrementCount,
    requestsPerSecond: (counts.totalCount * 1000) / loadMs,
    listsPerDatabaseMonth:
      ((counts.byKind["ListObjectsV2"] ?? 0) * MONTH_SECONDS * 1000) / loadMs / spec.databaseCount,
    ...Object.fromEntries(Object.entries(counts.byKind).map(([kind, n]) => [`requests.${kind}`, n])),
    gatewayCpuMs: after.gatewayCpuMs - before.gatewayCpuMs,
    loadMs,
    otherProgramsShare: Math.max(0, (after.busyMs - before.busyMs - accountedMs) / loadMs),
  };
  return { window, values };
}

/** Counts system calls under load. Without a counter, only lets the last commits of the window arrive. */
async function traceCalls(
  { spec, storage, watcher, folder }: Stage,
  turn: () => Promise<void>,
): Promise<Record<string, number>> {
  const { accessLogPath } = storage.gateway;
  const traceMs = Math.min(10_000, Math.max(3_000, spec.durationMs / 4));
  const offset = accessLogOffset(accessLogPath);
  const startMs = performance.now();
  const counting = countSystemCalls(watcher.pid, traceMs, folder);
  while (performance.now() - startMs < traceMs) await turn();
  const calls = await counting;
  const seconds = (performance.now() - startMs) / 1000;
  await Bun.sleep(GRACE_MS);
  const { incrementCount } = countRequests(accessLogPath, offset, accessLogOffset(accessLogPath));
  if (calls === null) return {};
  return {
    callsPerSecond: calls / seconds,
    ...(incrementCount === 0 ? {} : { callsPerIncrement: calls / incrementCount }),
  };
}

async function endTool(stage: Stage, writer: Writer): Promise<Ending> {
  const { observed } = stage;
  const ending = await endWatcher(stage, writer);
  if (observed === null) return ending;
  const { answers } = observed.record.counts;
  const judgedAnswerCount = Object.values(answers).reduce((sum, count) => sum + count, 0);
  const failure = ending.failure ?? observed.record.violations[0] ?? null;
  return { ...ending, values: { ...ending.values, judgedAnswerCount }, failure };
}

async function endWatcher(stage: Stage, writer: Writer): Promise<Ending> {
  const { workspace, spec, watcher, observed } = stage;
  if (spec.end === "kill") {
    await observed?.observer.end();
    assertAlive(watcher);
    const atMs = Date.now();
    await workspace.kill(watcher);
    return { atMs, values: await stopApplication(workspace, writer, spec), failure: null };
  }
  const values = await stopApplication(workspace, writer, spec);
  await observed?.observer.finish();
  const atMs = Date.now();
  try {
    await workspace.stop(watcher, STOP_LIMIT_MS);
    return { atMs, values: { ...values, stopMs: Date.now() - atMs }, failure: null };
  } catch (error) {
    return { atMs, values, failure: error instanceof Error ? error.message : String(error) };
  }
}

async function stopApplication(
  workspace: Workspace,
  writer: Writer,
  { commitsPerSecond, databaseCount }: LoadSpec,
): Promise<Record<string, number>> {
  const { commitCount, durationMs, latestMs, ...latencies } = await stopWriter(workspace, writer);
  // A load without commits has no durations.
  if (commitCount === 0) return { commitCount };
  const wantedCount = (commitsPerSecond * databaseCount * durationMs) / 1000;
  const reachedShare = Math.min(1, commitCount / wantedCount);
  return { commitCount, reachedShare, latestMs, ...latencies };
}

/** Lags of the commits in the window, and how far behind the databases were. */
function lagValues(
  commitsMs: readonly Float64Array[],
  objects: ObjectLog,
  window: Window,
  seenUntilMs: number,
): Record<string, number> {
  const visibleMs = commitsMs.map((commits, index) => visibleTimes(commits, objects.objects[index]!));
  const lags = lagsOf(commitsMs, visibleMs, window, seenUntilMs);
  const ticks = ticksOf(window, TICK_MS);
  const behind = behindOf(commitsMs, visibleMs, ticks);
  const atEnd = behindOf(commitsMs, visibleMs, ticks.slice(0, END_TICK_COUNT));
  return {
    ...(lags.length === 0
      ? {}
      : {
          lagP50Ms: quantile(lags, 0.5),
          lagP95Ms: quantile(lags, 0.95),
          lagP99Ms: quantile(lags, 0.99),
          lagMaxMs: quantile(lags, 1),
        }),
    behindP50Ms: quantile(behind, 0.5),
    behindMaxMs: quantile(behind, 1),
    behindEndMs: quantile(atEnd, 0.95),
  };
}

/** Calls `turn` again and again for a duration. @throws Error as soon as one of the processes has ended */
async function turnFor(children: readonly Child[], durationMs: number, turn: () => void): Promise<void> {
  const untilMs = performance.now() + durationMs;
  while (performance.now() < untilMs) {
    turn();
    for (const child of children) assertAlive(child);
    await Bun.sleep(TURN_MS);
  }
}
