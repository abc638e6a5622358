/**
 * `bun run soak`: runs the built `walrust watch` beside an application with many databases and a storage with
 * faults, and fails when memory, descriptors, threads, local files or lag grow without end, or when a restore
 * differs from its source. Needs Linux; uses versitygw if `bun run peers` has installed it.
 *
 *   --minutes N       length of the load [45]
 *   --warmup-secs N   time at the beginning that no verdict counts [60]
 *   --databases N     number of databases [50]
 *   --seed S          seed of the load and of the faults [random]
 *   --binary PATH     run this walrust instead of a fresh build
 *   --json FILE       append a JSON line for each reading and one for the result
 *   --observed        poll dashboard, metrics, health and status of the watch, and judge the answers
 *
 * Prints the curve and the verdicts as Markdown, with the command that repeats the run. Exits with 1 when a
 * figure grows, a restore is wrong, an observed page breaks a rule or a process fails. Leaves neither files
 * nor processes behind.
 */
import { appendFile, copyFile } from "node:fs/promises";
import { join } from "node:path";
import { Workspace } from "./measure/workspace.ts";
import { parseSettings, replayLine, type Settings } from "./soak/options.ts";
import { failuresOf, formatReport } from "./soak/report.ts";
import { runSoak } from "./soak/run.ts";
import { ensureBinary, fail } from "./toolchain.ts";

/** Copies the executable, so that a build during the run changes nothing. */
async function takeBinary(workspace: Workspace, { binary }: Settings): Promise<string> {
  const path = join(workspace.folder, "walrust");
  await copyFile(await ensureBinary(binary), path);
  return path;
}

/** Runs the soak and prints its report. @returns the exit code */
async function main(): Promise<number> {
  if (process.platform !== "linux") throw new Error("The soak reads /proc: it needs Linux");
  const settings = parseSettings(process.argv.slice(2), Math.floor(Math.random() * 1e6));
  const { jsonPath } = settings;
  const record = async (line: object): Promise<void> => {
    if (jsonPath !== null) await appendFile(jsonPath, `${JSON.stringify(line)}\n`);
  };
  const report = (text: string): void => console.error(`soak: ${text}`);
  report(replayLine(settings));
  const workspace = await Workspace.create("soak");
  try {
    const binary = await takeBinary(workspace, settings);
    await record({ replay: replayLine(settings), startedAt: new Date().toISOString() });
    const result = await runSoak(settings, { workspace, binary, take: record, report });
    const failures = failuresOf(result);
    const { readings: _readings, ...rest } = result;
    await record({ ...rest, failures });
    console.log(formatReport(result));
    return failures.length === 0 ? 0 : 1;
  } finally {
    await workspace.dispose();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  fail(`soak failed: ${error instanceof Error ? error.message : error}`);
}
