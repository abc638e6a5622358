/**
 * Case `far`: how many seconds a tool falls behind when the storage is far away. A slow line (slow-line.ts)
 * between the tool and the gateway adds a delay and, on request, limits the upload rate.
 *
 * A database is behind by the age of its oldest commit that no level-0 object in the bucket holds. An object
 * holds every commit before the time in its LTX header, which both tools set to the time of the capture. The
 * case samples some of the databases once a second, from ten seconds after the start of the load to its end.
 * A tool that keeps up stays at a steady value. A tool that does not keep up grows, so the table shows the
 * last value beside the median.
 */
import { closeSync, openSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../src/format/ltx.ts";
import { bunCommand } from "../toolchain.ts";
import {
  accessLogOffset,
  countRequests,
  type Gateway,
  levelFolder,
  listObjects,
  startGateway,
} from "./gateway.ts";
import { copyDatabases, pickEvenly, verify } from "./memory-case.ts";
import { sampleProcess } from "./proc.ts";
import type { Measurement } from "./results.ts";
import { quantile } from "./statistics.ts";
import { nameOf, type Site, type Tool } from "./tools.ts";
import { type Child, readLog, type Workspace, waitBeside, waitUntil } from "./workspace.ts";
import { startWriter, stopWriter } from "./writer.ts";

/** Options of the case. */
export interface FarOptions {
  readonly databaseCount: number;
  readonly commitsPerSecond: number;
  readonly durationMs: number;
  readonly roundTripMs: number;
  /** Upload rate in bytes a second; 0 is no limit. */
  readonly lineRate: number;
  readonly verifyCount: number;
  readonly templatePath: string;
}

const READY_LIMIT_MS = 300_000;
const STOP_LIMIT_MS = 120_000;
const WARM_UP_MS = 10_000;
const LOOK_INTERVAL_MS = 1_000;
const LOOKED_AT_MAX = 20;
const LOG_GRACE_MS = 200;
const WRITER_SEED = 7;

/** Measures one tool under a load, with far storage. @throws Error as `measureMemory` */
export async function measureFar(
  workspace: Workspace,
  tool: Tool,
  options: FarOptions,
): Promise<Measurement> {
  const { databaseCount, commitsPerSecond, roundTripMs, lineRate } = options;
  const folder = join(workspace.folder, `far-${databaseCount}-${roundTripMs}-${tool.name}`);
  const databases = copyDatabases(join(folder, "databases"), options);
  const gateway = await startGateway(workspace, folder);
  const line = await startLine(workspace, gateway, options);
  const site: Site = { gateway: { ...gateway, url: line.url }, prefix: tool.name, folder };
  const startMs = performance.now();
  const watcher = workspace.start(tool.name, tool.watch(site, databases));
  const beside = [watcher, gateway.child, line.child];
  await waitUntil(beside, "the first snapshots", READY_LIMIT_MS, () =>
    databases.every((path) => listObjects(levelFolder(gateway, tool.name, nameOf(path), 9)).length > 0),
  );
  const readyMs = performance.now() - startMs;
  const load = await runLoad(workspace, tool, gateway, watcher, beside, databases, options);
  const stopStartMs = performance.now();
  await workspace.stop(watcher, STOP_LIMIT_MS);
  const stopMs = performance.now() - stopStartMs;
  // A tool that fell behind may not upload everything while it stops, and then its restore differs.
  console.error(`bench: ${JSON.stringify({ ...load, readyMs, stopMs })}\n${readLog(watcher).slice(-800)}`);
  const near: Site = { ...site, gateway };
  const verified = await verify(workspace, tool, near, pickEvenly(databases, options.verifyCount));
  line.child.process.kill();
  await workspace.stop(gateway.child, STOP_LIMIT_MS);
  rmSync(folder, { recursive: true });
  const rate = lineRate === 0 ? "" : `, ${lineRate / 1000} KB/s upwards`;
  const what = `databases: ${databaseCount}, commits/s to each: ${commitsPerSecond}`;
  return {
    case: "far",
    tool: tool.name,
    setting: `${what}, ${roundTripMs} ms away${rate}`,
    values: { ...load, readyMs, stopMs, verified },
  };
}

async function startLine(
  workspace: Workspace,
  gateway: Gateway,
  { roundTripMs, lineRate }: FarOptions,
): Promise<{ child: Child; url: string }> {
  const program = join(import.meta.dir, "slow-line-main.ts");
  const { port } = new URL(gateway.url);
  const words = bunCommand(program, port, String(roundTripMs), String(lineRate));
  const child = workspace.start("slow-line", { words, env: {} });
  await waitUntil([child], "the slow line", READY_LIMIT_MS, () => readLog(child).includes("\n"));
  return { child, url: `http://127.0.0.1:${readLog(child).trim()}` };
}

async function runLoad(
  workspace: Workspace,
  tool: Tool,
  gateway: Gateway,
  watcher: Child,
  beside: readonly Child[],
  databases: readonly string[],
  options: FarOptions,
): Promise<Record<string, number>> {
  const { commitsPerSecond, durationMs } = options;
  const writerOptions = { databases, commitsPerSecond, seed: WRITER_SEED };
  const offset = accessLogOffset(gateway);
  const before = sampleProcess(watcher.pid);
  const writer = startWriter(workspace, join(databases[0]!, "..", ".."), writerOptions);
  await waitUntil([writer], "the writer", READY_LIMIT_MS, () => readLog(writer).includes("\n"));
  const startedAtMs = Number(readLog(writer).split("\n")[0]);
  const plan = { startedAtMs, gapMs: 1000 / (commitsPerSecond * databases.length), count: databases.length };
  const looked = pickEvenly(databases, Math.min(databases.length, LOOKED_AT_MAX));
  const behind: number[] = [];
  let last: number[] = [];
  const loadStartMs = performance.now();
  while (performance.now() - loadStartMs < durationMs) {
    await waitBeside([...beside, writer], LOOK_INTERVAL_MS);
    last = looked.map((path) => {
      const folder = levelFolder(gateway, tool.name, nameOf(path), 0);
      return behindMs(newestCaptureMs(folder), databases.indexOf(path), plan);
    });
    if (performance.now() - loadStartMs >= WARM_UP_MS) behind.push(...last);
  }
  const after = sampleProcess(watcher.pid);
  const written = await stopWriter(workspace, writer, writerOptions);
  await Bun.sleep(LOG_GRACE_MS);
  const { byKind } = countRequests(gateway, offset, accessLogOffset(gateway));
  const seconds = (performance.now() - loadStartMs) / 1000;
  const sorted = Float64Array.from(behind).sort();
  return {
    behindP50Ms: quantile(sorted, 0.5),
    behindP95Ms: quantile(sorted, 0.95),
    behindMaxMs: quantile(sorted, 1),
    behindEndMs: Math.max(...last),
    putsPerSecond: Math.round((byKind["PutObject"] ?? 0) / seconds),
    rssBytes: after.rssBytes,
    anonymousBytes: after.anonymousBytes,
    peakRssBytes: after.peakRssBytes,
    cpuShare: (after.cpuMs - before.cpuMs) / (seconds * 1000),
    descriptorCount: after.descriptorCount,
    commitCount: written.commitCount,
    latestMs: written.latestMs,
  };
}

/** The schedule of the writer: evenly spaced commits to one database after the other. */
export interface CommitPlan {
  /** Wall clock in ms. */
  readonly startedAtMs: number;
  readonly gapMs: number;
  /** Number of databases. */
  readonly count: number;
}

/** Age in ms of the oldest commit after the newest capture in the bucket; 0 without such a commit. */
export function behindMs(
  captureMs: number,
  index: number,
  { startedAtMs, gapMs, count }: CommitPlan,
  nowMs = Date.now(),
): number {
  const everyMs = gapMs * count;
  const firstMs = startedAtMs + index * gapMs;
  const round = Math.max(0, Math.floor((captureMs - firstMs) / everyMs) + 1);
  return Math.max(0, nowMs - (firstMs + round * everyMs));
}

/** Capture time of the newest level-0 object, from its LTX header; 0 without an object. */
function newestCaptureMs(folder: string): number {
  const newest = listObjects(folder)
    .sort((a, b) => a.slice(17).localeCompare(b.slice(17)))
    .at(-1);
  if (newest === undefined) return 0;
  const header = new Uint8Array(LTX_HEADER_SIZE);
  const fd = openSync(join(folder, newest), "r");
  try {
    readSync(fd, header, 0, LTX_HEADER_SIZE, 0);
  } finally {
    closeSync(fd);
  }
  return decodeLtxHeader(header).timestampMs;
}
