/**
 * A pinned database under three hostile writers that are killed at random, while an independent shadow copies
 * its WAL. In the end the shadow's image must equal the database.
 */
import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { checkpointCycle } from "../../../src/database/checkpoint.ts";
import { Pin } from "../../../src/database/pin/pin.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { WalShadow } from "../oracles/wal-shadow.ts";
import { seededRandom } from "../seeded-random.ts";

/** "freeze": byte 123 and cycles. "hybrid": also takes and moves read marks. */
export type StressKind = "freeze" | "hybrid";

/** Counts and findings of a run. */
export interface StressReport {
  readonly kind: StressKind;
  readonly seed: number;
  commits: number;
  generations: number;
  kills: number;
  conversions: number;
  yields: number;
  /** Number of cycles by outcome. */
  readonly cycles: Record<string, number>;
  readonly writeLockHeldMs: number[];
  changeCountResets: number;
  /** Number of yields after which the change count showed missed commits. */
  misses: number;
  /** Number of calls that ended without the pin. */
  released: number;
  violations: readonly string[];
  mismatchedPages: readonly number[];
  pageCount: number;
  integrity: string;
}

const WRITERS = 3;
const WRITER_SCRIPT = join(import.meta.dir, "hostile-writer.ts");
const LOOK_INTERVAL_MS = 10;
const CYCLE_INTERVAL_MS = 250;
const EXTENSION_MS = 30_000;
/** The least commits of a run. */
export const COMMITS_MIN = 50;

const env = systemEnv(SILENT_LOG);

/** Runs one stress in an empty folder. */
export async function runPinStress(
  folder: string,
  kind: StressKind,
  seed: number,
  durationMs: number,
): Promise<StressReport> {
  const path = join(folder, "stress.db");
  const setup = new Database(path);
  setup.run("PRAGMA page_size = 512");
  setup.run("PRAGMA journal_mode = WAL");
  setup.run("CREATE TABLE t(id INTEGER PRIMARY KEY, w INT, n INT, b BLOB)");
  setup.close(true);

  const report = emptyReport(kind, seed);
  const random = seededRandom(seed);
  const pin = Pin.open(path, env);
  const shadow = new WalShadow(pin);
  await harass(path, pin, shadow, random, durationMs, report);
  if (!shadow.capture()) shadow.violations.push("the WAL could not be read at the end");
  pin.close();
  judge(path, shadow, report);
  return report;
}

async function harass(
  path: string,
  pin: Pin,
  shadow: WalShadow,
  random: () => number,
  durationMs: number,
  report: StressReport,
): Promise<void> {
  const writers = new Set<Bun.Subprocess>();
  let writerCount = 0;
  const kill = async (writer: Bun.Subprocess): Promise<void> => {
    writer.kill("SIGKILL");
    await writer.exited;
    writers.delete(writer);
    report.kills++;
  };
  const endMs = env.monotonicMs() + durationMs;
  let nextCycleMs = env.monotonicMs() + CYCLE_INTERVAL_MS;
  // On a busy machine the run continues until there were commits, a complete cycle and a restart of the WAL:
  // without them it shows nothing.
  const hasShown = (): boolean =>
    (report.cycles["complete"] ?? 0) > 0 && shadow.generationCount > 1 && shadow.commitCount > COMMITS_MIN;
  const isOver = (): boolean => {
    const nowMs = env.monotonicMs();
    return nowMs >= endMs && (hasShown() || nowMs >= endMs + EXTENSION_MS);
  };
  while (!isOver()) {
    for (const writer of writers) if (writer.exitCode !== null) writers.delete(writer);
    while (writers.size < WRITERS) {
      const writerSeed = String(report.seed * 1000 + ++writerCount);
      const command = [process.execPath, WRITER_SCRIPT, path, String(writerCount), writerSeed];
      writers.add(Bun.spawn(command, { stdout: "ignore", stderr: "ignore" }));
    }
    if (random() < 0.05) await kill([...writers][Math.floor(random() * writers.size)]!);
    if (random() < 0.02) for (const writer of [...writers]) await kill(writer);
    shadow.capture();
    if (pin.foreignCheckpointWaits()) {
      pin.yieldToCheckpoint(() => shadow.capture(), env);
      shadow.mayMiss = true;
      report.yields++;
      if (pin.state === "released") report.released++;
    }
    if (env.monotonicMs() >= nextCycleMs) {
      step(pin, shadow, random, report);
      shadow.verify();
      nextCycleMs = env.monotonicMs() + CYCLE_INTERVAL_MS;
    }
    await env.sleep(LOOK_INTERVAL_MS);
  }
  for (const writer of [...writers]) await kill(writer);
}

function step(pin: Pin, shadow: WalShadow, random: () => number, report: StressReport): void {
  if (report.kind === "hybrid" && random() < 0.5) {
    if (pin.mark()) report.conversions++;
  } else {
    const options = { writeLockTimeoutMs: 200, truncate: random() < 0.3 };
    const outcome = checkpointCycle(pin, () => shadow.capture(), options, env);
    report.cycles[outcome.outcome] = (report.cycles[outcome.outcome] ?? 0) + 1;
    if (outcome.writeLockHeldMs > 0) report.writeLockHeldMs.push(outcome.writeLockHeldMs);
  }
  if (pin.state === "released") report.released++;
}

function judge(path: string, shadow: WalShadow, report: StressReport): void {
  const database = new Database(path);
  const row = database.query<{ integrity_check: string }, []>("PRAGMA integrity_check").get();
  report.integrity = row?.integrity_check ?? "";
  database.query("PRAGMA wal_checkpoint(TRUNCATE)").get();
  database.close(true);
  const file = readFileSync(path);
  report.pageCount = file.length / shadow.pin.pageSizeBytes;
  report.mismatchedPages = shadow.mismatches(file);
  report.violations = shadow.violations;
  report.commits = shadow.commitCount;
  report.generations = shadow.generationCount;
  report.changeCountResets = shadow.resetCount;
  report.misses = shadow.missCount;
}

function emptyReport(kind: StressKind, seed: number): StressReport {
  return {
    kind,
    seed,
    commits: 0,
    generations: 0,
    kills: 0,
    conversions: 0,
    yields: 0,
    cycles: {},
    writeLockHeldMs: [],
    changeCountResets: 0,
    misses: 0,
    released: 0,
    violations: [],
    mismatchedPages: [],
    pageCount: 0,
    integrity: "",
  };
}
