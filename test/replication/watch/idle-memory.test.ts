/**
 * The memory of idle databases: the heap that each keeps after its first snapshot is uploaded, the parts for
 * uploads and upkeep are dropped, and its metrics were read. The databases of the first half warm the code
 * up. Code that the engine compiles during the second half belongs to no database, and is taken off. The
 * measurement has a process of its own: heap of other tests in the same process would move it by some
 * hundred bytes.
 */
import { heapStats } from "bun:jsc";
import { expect, test } from "bun:test";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { metricFamilies } from "../../../src/observability/metrics.ts";
import { metricsText, PROMETHEUS_FORMAT } from "../../../src/observability/prometheus.ts";
import { Tally } from "../../../src/observability/tally.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { FleetRun, tenants } from "../../support/runs/fleet-run.ts";
import { tempFolder } from "../../support/temp.ts";

const HALF = 500;
/** Retained heap of one idle database: 3.7 to 3.9 KB. */
const BYTES_MAX = 4_096;
/** Set in the process that measures. */
const MEASURES = "WALRUST_TEST_MEASURES_IDLE";
/** Heap cells of compiled code. */
const CODE = /CodeBlock|Executable|SymbolTable/;
/** Collections in a row that free nothing. */
const UNCHANGED_COUNT = 20;
/** A database without captures for this long is idle. */
const QUIET_MS = 15_000;

/** Runs this file in a process of its own. @throws Error with its output when a bound does not hold */
async function measureAlone(): Promise<void> {
  const child = Bun.spawn([process.execPath, "test", "--timeout=300000", import.meta.path], {
    env: { ...process.env, [MEASURES]: "1" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  if ((await child.exited) !== 0) throw new Error(`${stdout}${stderr}`);
}

/** Makes /metrics once: the page, and what it is made from, are not kept. */
function scrape(run: FleetRun, tally: Tally): void {
  const facts = { tally, version: "0.4.0", storeConditions: [] };
  const text = metricsText(metricFamilies(run.statuses(), facts), PROMETHEUS_FORMAT);
  expect(text.match(/^walrust_snapshot_count/gm)!.length).toBe(run.statuses().length);
}

/** Opens 1,000 databases, and measures those of the second half. */
async function measure(): Promise<void> {
  const names = Array.from({ length: 2 * HALF }, (_, index) => `tenant-${index}`);
  const all = await tenants(tempFolder("idle"), ...names);
  const run = new FleetRun([], new FileStore({ path: tempFolder("bucket") }));
  const tally = new Tally(systemEnv(SILENT_LOG));
  const heaps: number[] = [];
  for (const count of [HALF, 2 * HALF]) {
    run.present = all.slice(0, count);
    run.clock.pass(5_000);
    await run.until("the uploads", () => run.all("uploaded").length >= HALF, 120_000);
    for (const event of run.events) tally.observe(event);
    run.events.length = 0;
    run.lines.length = 0;
    run.clock.pass(QUIET_MS);
    await run.discovery();
    scrape(run, tally);
    heaps.push(await settledHeap(run));
  }
  await run.stop();
  expect((heaps[1]! - heaps[0]!) / HALF).toBeLessThanOrEqual(BYTES_MAX);
}

test(
  "an idle database retains at most 4 KB of heap",
  process.env[MEASURES] === undefined ? measureAlone : measure,
  300_000,
);

/**
 * The heap in bytes, without compiled code, once the jobs of the start have ended and collections free
 * nothing more.
 */
async function settledHeap(run: FleetRun): Promise<number> {
  let heap = Number.POSITIVE_INFINITY;
  for (let unchanged = 0; unchanged < UNCHANGED_COUNT; ) {
    await run.discovery();
    Bun.gc(true);
    const { heapSize } = heapStats();
    unchanged = heapSize < heap ? 0 : unchanged + 1;
    heap = Math.min(heap, heapSize);
  }
  return heap - codeSize();
}

/** The compiled code on the heap, in bytes. */
function codeSize(): number {
  const { nodes, nodeClassNames } = Bun.generateHeapSnapshot();
  let size = 0;
  // A node has four numbers: identifier, size, index of the class name, flags.
  for (let index = 0; index < nodes.length; index += 4)
    if (CODE.test(nodeClassNames[nodes[index + 2]!]!)) size += nodes[index + 1]!;
  return size;
}
