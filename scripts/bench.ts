/**
 * `bun run bench`: measures walrust and Litestream on the same machine, databases and writer, against a real
 * S3 gateway (versitygw) on loopback. Prints Markdown tables. Needs Linux and one run of `bun run peers`.
 *
 *   --case NAME         memory, lag, large, history or far; repeatable; all but far by default
 *   --databases LIST    memory, far: numbers of databases, such as 1,10,100,500 [1,100]
 *   --rate N            memory, far: commits a second to each database; 0 is idle [1]
 *   --seconds N         memory, far: duration of the load [60]
 *   --verify N          memory, far: databases to restore and compare at the end [10]
 *   --delay MS          far: round trip to the storage [50]
 *   --line-rate N       far: upload rate of the line in bytes a second; 0 is no limit [0]
 *   --only TOOL         far: measure only walrust or only litestream
 *   --commits N         lag: number of commits [40]
 *   --megabytes N       large: size of the database [500]
 *   --rounds N          large: number of rounds [3]
 *   --increments N      history: number of increments [10000]
 *   --quick             smaller defaults, some three minutes in all
 *   --binary PATH       measure this walrust instead of a fresh build
 *   --json FILE         append a JSON line for the machine and one for every run of a tool
 *
 * Exits with 1 and prints no table when a process ends early, the writer cannot keep up, or a restored
 * database differs from its source in one byte. Leaves neither files nor processes behind.
 */
import { existsSync } from "node:fs";
import { appendFile, copyFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { createDatabase } from "./bench/databases.ts";
import { measureFar } from "./bench/far-case.ts";
import { GATEWAY_BINARY } from "./bench/gateway.ts";
import { measureHistory } from "./bench/history-case.ts";
import { measureLag } from "./bench/lag-case.ts";
import { measureLarge } from "./bench/large-case.ts";
import { type Binaries, describeMachine, formatMachine } from "./bench/machine.ts";
import { measureMemory } from "./bench/memory-case.ts";
import { formatTables, type Measurement } from "./bench/results.ts";
import { litestreamTool, type Tool, walrustTool } from "./bench/tools.ts";
import { Workspace } from "./bench/workspace.ts";
import { BINARY, bunCommand, capture, ensurePackages, fail, ROOT, run } from "./toolchain.ts";

const CASES = ["memory", "lag", "large", "history", "far"] as const;
/** Without `far`, which takes minutes and runs only on request. */
const DEFAULT_CASES = CASES.filter((name) => name !== "far");
const DEFAULTS = {
  databases: "1,100",
  rate: 1,
  seconds: 60,
  verify: 10,
  commits: 40,
  megabytes: 500,
  rounds: 3,
  increments: 10_000,
  delay: 50,
  "line-rate": 0,
};
const QUICK = {
  ...DEFAULTS,
  seconds: 15,
  verify: 3,
  commits: 20,
  megabytes: 100,
  rounds: 1,
  increments: 500,
};
const LITESTREAM = join(ROOT, ".peers", "bin", "litestream");
const SMALL_BYTES = 100_000;
const TEMPLATE_SEED = 1;

type Settings = Omit<typeof DEFAULTS, "databases"> & {
  readonly databaseCounts: readonly number[];
  readonly cases: readonly string[];
  readonly binary: string | null;
  readonly only: string | null;
  readonly jsonPath: string | null;
};

function parseSettings(): Settings {
  const text = { type: "string" } as const;
  const { values } = parseArgs({
    options: {
      ...{ databases: text, rate: text, seconds: text, verify: text, commits: text, megabytes: text },
      ...{ delay: text, "line-rate": text, only: text },
      ...{ rounds: text, increments: text, binary: text, json: text, quick: { type: "boolean" } },
      case: { type: "string", multiple: true },
    },
  });
  const defaults = values.quick === true ? QUICK : DEFAULTS;
  const number = (name: Exclude<keyof typeof DEFAULTS, "databases">, min: number): number => {
    const value = Number(values[name] ?? defaults[name]);
    if (!(value >= min)) throw new Error(`--${name} must be a number from ${min}`);
    return value;
  };
  const cases = values.case ?? DEFAULT_CASES;
  const unknown = cases.find((name) => !CASES.some((known) => known === name));
  if (unknown !== undefined) throw new Error(`--case ${unknown}: expected one of ${CASES.join(", ")}`);
  const databaseCounts = (values.databases ?? defaults.databases).split(",").map(Number);
  if (!databaseCounts.every((count) => Number.isInteger(count) && count >= 1)) {
    throw new Error("--databases must be numbers from 1, separated by commas");
  }
  return {
    ...{ cases, databaseCounts, rate: number("rate", 0), seconds: number("seconds", 1) },
    ...{ verify: number("verify", 1), commits: number("commits", 1), rounds: number("rounds", 1) },
    megabytes: number("megabytes", 1),
    increments: number("increments", 1),
    delay: number("delay", 0),
    "line-rate": number("line-rate", 0),
    only: values.only ?? null,
    binary: values.binary === undefined ? null : resolve(values.binary),
    jsonPath: values.json === undefined ? null : resolve(values.json),
  };
}

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

/** Runs the requested cases and passes each result to `take` at once. */
async function measure(
  workspace: Workspace,
  tools: readonly Tool[],
  settings: Settings,
  take: (measurement: Measurement) => Promise<void>,
): Promise<void> {
  const templatePath = join(workspace.folder, "small.db");
  createDatabase(templatePath, SMALL_BYTES, TEMPLATE_SEED);
  if (settings.cases.includes("memory")) {
    for (const databaseCount of settings.databaseCounts) {
      for (const tool of tools) {
        report(`memory: ${tool.name}, databases: ${databaseCount}`);
        const load = { databaseCount, commitsPerSecond: settings.rate, durationMs: settings.seconds * 1000 };
        const options = { ...load, verifyCount: settings.verify, templatePath };
        await take(await measureMemory(workspace, tool, options));
      }
    }
  }
  if (settings.cases.includes("far")) {
    for (const databaseCount of settings.databaseCounts) {
      for (const tool of tools.filter(({ name }) => settings.only === null || name === settings.only)) {
        report(`far: ${tool.name}, databases: ${databaseCount}, ${settings.delay} ms away`);
        const load = { databaseCount, commitsPerSecond: settings.rate, durationMs: settings.seconds * 1000 };
        const line = { roundTripMs: settings.delay, lineRate: settings["line-rate"] };
        const options = { ...load, ...line, verifyCount: settings.verify, templatePath };
        await take(await measureFar(workspace, tool, options));
      }
    }
  }
  if (settings.cases.includes("lag")) {
    report(`lag: ${settings.commits} commits`);
    const options = { commitCount: settings.commits, templatePath };
    for (const one of await measureLag(workspace, tools, options)) await take(one);
  }
  if (settings.cases.includes("history")) {
    report(`history: ${settings.increments} increments`);
    const options = { incrementCount: settings.increments, commitsPerSecond: 200, templatePath };
    for (const one of await measureHistory(workspace, tools, options)) await take(one);
  }
  if (settings.cases.includes("large")) {
    report(`large: making a database of ${settings.megabytes} MB`);
    const largePath = join(workspace.folder, "large.db");
    createDatabase(largePath, settings.megabytes * 1e6, TEMPLATE_SEED);
    for (let round = 1; round <= settings.rounds; round++) {
      for (const tool of tools) {
        report(`large: ${tool.name}, round ${round} of ${settings.rounds}`);
        await take(await measureLarge(workspace, tool, largePath));
      }
    }
  }
}

function report(text: string): void {
  console.error(`bench: ${text}`);
}

async function main(): Promise<void> {
  if (process.platform !== "linux") throw new Error("The benchmark reads /proc: it needs Linux");
  const settings = parseSettings();
  const missing = [LITESTREAM, GATEWAY_BINARY].find((path) => !existsSync(path));
  if (missing !== undefined) throw new Error(`${missing} is not installed: run \`bun run peers\``);
  const workspace = await Workspace.create();
  for (const [signal, exitCode] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
  ] as const) {
    process.on(signal, () => process.exit(exitCode));
  }
  try {
    const binaries = await takeBinaries(workspace, settings.binary);
    const machine = await describeMachine(binaries);
    const tools = [walrustTool(binaries.walrust), litestreamTool(binaries.litestream)];
    const measurements: Measurement[] = [];
    const record = async (line: object): Promise<void> => {
      if (settings.jsonPath !== null) await appendFile(settings.jsonPath, `${JSON.stringify(line)}\n`);
    };
    await record({ machine });
    await measure(workspace, tools, settings, async (measurement) => {
      measurements.push(measurement);
      await record(measurement);
    });
    console.log(`${formatMachine(machine, measurements)}\n\n${formatTables(measurements)}`);
  } finally {
    await workspace.dispose();
  }
}

try {
  await main();
} catch (error) {
  fail(`bench failed: ${error instanceof Error ? error.message : error}`);
}
