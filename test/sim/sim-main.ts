/**
 * The child process of the simulator: runs seeds one after the other, with a line of JSON on stdout for each.
 * Start it with `--preload preload.ts`.
 *
 *   sim-main.ts FIRST COUNT STRIDE [--verbose]
 *
 * After a violation the line holds its message and the last lines of the trace.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Crashed } from "./seam/gate.ts";
import { Simulation } from "./simulation.ts";
import { Application } from "./world/application.ts";
import { Trace } from "./world/trace.ts";

/** The result of one seed. */
export interface SeedResult {
  readonly seed: number;
  readonly violation: string | null;
  /** The hash of the trace. */
  readonly trace: string;
  readonly durationMs: number;
  readonly profile: string;
  readonly events: number;
  readonly operations: number;
  readonly crashes: number;
  readonly points: number;
  readonly restores: number;
  readonly looks: number;
  readonly lines: readonly string[];
}

const [first = 1, count = 1, stride = 1] = process.argv.slice(2, 5).map(Number);
const isVerbose = process.argv.includes("--verbose");
// Memory in place of a disk: a run does nothing but call files.
const base = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
const folder = mkdtempSync(join(base, "walrust-sim-"));
// A watch that crashes leaves the folder of its socket behind; there it goes with the others.
process.env["TMPDIR"] = join(folder, "temporary");
mkdirSync(join(folder, "temporary"), { mode: 0o700 });
let escaped: unknown = null;
process.on("unhandledRejection", (error) => {
  if (!(error instanceof Crashed)) escaped ??= error;
});

async function runSeed(seed: number, application: Application): Promise<SeedResult> {
  const trace = new Trace(isVerbose ? (line) => process.stderr.write(`${line}\n`) : null);
  const beganMs = performance.now();
  const world = join(folder, "world");
  mkdirSync(world, { mode: 0o700 });
  let violation: string | null = null;
  let facts = { profile: "", events: 0, operations: 0, crashes: 0, points: 0, restores: 0, looks: 0 };
  try {
    const { plan, ...report } = await new Simulation(seed, world, application, trace).run();
    facts = { ...report, profile: plan.profile };
  } catch (error) {
    violation = error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
  violation ??= escaped === null ? null : `a promise failed that nobody awaits: ${String(escaped)}`;
  escaped = null;
  application.ask({ kind: "forget", path: "" });
  rmSync(world, { recursive: true, force: true });
  const durationMs = performance.now() - beganMs;
  const lines = violation === null ? [] : trace.lastLines;
  return { seed, violation, trace: trace.digest, durationMs, ...facts, lines };
}

try {
  const application = new Application(folder);
  for (let index = 0; index < count; index++) {
    const result = await runSeed(first + index * stride, application);
    writeSync(1, `${JSON.stringify(result)}\n`);
  }
  await application.stop();
} finally {
  rmSync(folder, { recursive: true, force: true });
}
// Crashed processes leave work behind that keeps the event loop alive.
process.exit(0);
