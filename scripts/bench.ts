/**
 * `bun run bench`: measures walrust and Litestream on the same machine, databases and commits, against a real
 * S3 gateway (versitygw). Prints Markdown tables. Needs Linux and one run of `bun run peers`.
 *
 *   --preset NAME       table (default), quick, scalability, goals or full: see bench/plan.ts
 *   --quick             the preset quick, three minutes; with another preset, short runs of its cases
 *   --case NAME         only this case of the preset: load, lag, commit, large or history; repeatable
 *   --goal TEXT         goals: only the goals with this text
 *   --tool NAME         measure only walrust or only litestream
 *
 * Loads in all combinations, instead of a preset:
 *   --databases LIST    numbers of databases, such as 1,10,100,500,1000 [1,100]
 *   --rates LIST        commits a second to each database; 0 is idle [1]
 *   --sizes LIST        sizes of a database, such as 100KB,500MB,4GB [100KB]
 *   --delays LIST       delays to the storage and back, each way, in ms [0]
 *   --schemes LIST      http, https [http]
 *
 * Overrides for every case that has the value:
 *   --warm-up N         load: seconds of load before the measurement
 *   --seconds N         load: seconds of the measurement
 *   --end stop|kill     load: SIGTERM after the last commit, or SIGKILL under load
 *   --verify N|all      load: databases to restore and compare at the end
 *   --user NAME         load: run the tools as this user; needs root
 *   --observed          load: poll walrust's dashboard, metrics, health and status, and judge the answers
 *   --line-rate N       upload rate of the line in bytes a second; 0 is no limit
 *   --commits N         lag, commit: number of commits
 *   --rounds N          large: number of rounds
 *   --increments N      history: number of increments
 *
 *   --binary PATH       measure this walrust instead of a fresh build
 *   --json FILE         append a JSON line for the machine and one for every run of a tool
 *
 * Exits with 1 when a process failed, a restored database is wrong or an observed page breaks a rule; the
 * tables then name the failure. Leaves neither files nor processes behind.
 */
import { existsSync } from "node:fs";
import { appendFile, copyFile } from "node:fs/promises";
import { join } from "node:path";
import { parseSettings } from "./bench/options.ts";
import { litestreamTool, walrustTool } from "./bench/processes/tools.ts";
import { formatGoals } from "./bench/results/goal-table.ts";
import type { Measurement } from "./bench/results/measurement.ts";
import { formatFailures, formatSummary, formatTables } from "./bench/results/tables.ts";
import { runSpecs } from "./bench/run.ts";
import { type Binaries, describeMachine, formatMachine } from "./bench/samples/machine.ts";
import type { Spec } from "./bench/spec.ts";
import { GATEWAY_BINARY } from "./measure/gateway.ts";
import { Workspace } from "./measure/workspace.ts";
import { BINARY, bunCommand, capture, ensurePackages, fail, ROOT, run } from "./toolchain.ts";

const LITESTREAM = join(ROOT, ".peers", "bin", "litestream");

/**
 * Copies the executables, so that a build during the benchmark changes nothing, and drops the copies from the
 * page cache. The kernel then reads both from disk, as after a boot. It would map a freshly written file in
 * larger pieces, which adds 5 MB of RSS.
 */
async function takeBinaries(workspace: Workspace, named: string | null): Promise<Binaries> {
  if (named === null) {
    await ensurePackages();
    if ((await run(bunCommand("scripts/build.ts"))) !== 0) throw new Error("walrust cannot be built");
  }
  const [walrust, litestream] = ["walrust", "litestream"].map((name) => join(workspace.folder, name));
  await copyFile(named ?? BINARY, walrust!);
  await copyFile(LITESTREAM, litestream!);
  await run(["sync"]);
  for (const path of [walrust!, litestream!]) {
    const { exitCode, stderr } = await capture(["dd", `if=${path}`, "iflag=nocache", "count=0"]);
    if (exitCode !== 0) throw new Error(`Cannot drop ${path} from the page cache: ${stderr}`);
  }
  return { walrust: walrust!, litestream: litestream! };
}

/** Runs the benchmark and prints its tables. @returns the exit code */
async function main(): Promise<number> {
  if (process.platform !== "linux") throw new Error("The benchmark reads /proc: it needs Linux");
  const settings = parseSettings(process.argv.slice(2));
  const missing = [LITESTREAM, GATEWAY_BINARY].find((path) => !existsSync(path));
  if (missing !== undefined) throw new Error(`${missing} is not installed: run \`bun run peers\``);
  const workspace = await Workspace.create("bench");
  try {
    const binaries = await takeBinaries(workspace, settings.binary);
    const machine = await describeMachine(binaries);
    const walrust = walrustTool(binaries.walrust);
    const tools = [walrust, litestreamTool(binaries.litestream)];
    const measurements: Measurement[] = [];
    const record = async (line: object): Promise<void> => {
      if (settings.jsonPath !== null) await appendFile(settings.jsonPath, `${JSON.stringify(line)}\n`);
    };
    await record({ machine });
    const take = async (measurement: Measurement, spec: Spec): Promise<void> => {
      measurements.push(measurement);
      await record({ ...measurement, spec });
    };
    const report = (text: string): void => console.error(`bench: ${text}`);
    const measured = tools.filter(({ name }) => settings.toolNames.includes(name));
    await runSpecs({ workspace, tools: measured, walrust, take, report }, settings.specs);
    const failures = formatFailures(measurements);
    const parts = [
      formatMachine(machine, measurements),
      failures === "" ? "" : `FAILURES:\n\n${failures}`,
      settings.goals.length === 0 ? "" : formatGoals(settings.goals, measurements),
      formatSummary(measurements),
      formatTables(measurements),
    ];
    console.log(parts.filter((part) => part !== "").join("\n\n"));
    return failures === "" ? 0 : 1;
  } finally {
    await workspace.dispose();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  fail(`bench failed: ${error instanceof Error ? error.message : error}`);
}
