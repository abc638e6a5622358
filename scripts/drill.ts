/**
 * `bun run drill`: kills the built `walrust watch` with SIGKILL at random moments beside writing
 * applications, against a folder and against S3. Measures the recoveries, compares restores with their
 * sources, and kills `restore`, `snapshot`, `compact` and `replicate`, too. Needs Linux; uses versitygw if
 * `bun run peers` has installed it.
 *
 *   --kills N             kills of `watch`, half for each destination [200]
 *   --databases N         number of databases [4]
 *   --kills-per-check N   kills between two comparisons of everything [20]
 *   --seed S              seed of the kills and of the load [random]
 *   --recovery-secs N     fail if a recovery takes longer [5]
 *   --binary PATH         run this walrust instead of a fresh build
 *   --keep PATH           after a failure, keep all files of the run in this folder
 *   --observed            poll dashboard, metrics, health and status of each watch, and judge the answers
 *
 * Prints a report as Markdown. Exits with 1 when a restore is wrong, a journalled commit is lost, a restart
 * uploads a database in full, a recovery takes too long, an observed page breaks a rule or a process fails.
 */
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { Lane } from "./drill/lane.ts";
import { parseSettings, replayLine, type Settings } from "./drill/options.ts";
import { planKills } from "./drill/plan.ts";
import { failuresOf, formatReport, type LaneResult } from "./drill/report.ts";
import { planDatabases } from "./measure/journal/planned-databases.ts";
import { bucketDestination, type Destination, folderDestination } from "./measure/storage/destination.ts";
import { startStore } from "./measure/storage/storage.ts";
import { Workspace } from "./measure/workspace.ts";
import { ensureBinary, fail } from "./toolchain.ts";

const report = (text: string): void => console.error(`drill: ${text}`);

/** Drills each destination in turn. */
async function drill(workspace: Workspace, binary: string, settings: Settings): Promise<LaneResult[]> {
  const { seed, killCount, databaseCount, killsPerCheck, isObserved } = settings;
  const databases = planDatabases(seed, databaseCount, 0);
  const writerCount = databases.reduce((sum, { writers }) => sum + writers.length, 0);
  const kills = planKills(seed, killCount, writerCount);
  const half = Math.ceil(kills.length / 2);
  const store = await startStore(workspace);
  const destinations: Destination[] = [
    folderDestination(join(workspace.folder, "bucket-folder")),
    bucketDestination("s3", `http://127.0.0.1:${store.port}`),
  ];
  report(`${killCount} kills beside ${writerCount} writers, against a folder and ${store.name}`);
  const results: LaneResult[] = [];
  for (const [index, destination] of destinations.entries()) {
    const own = { workspace, binary, destination, databases, seed: seed + index, killsPerCheck };
    const result = await new Lane({ ...own, isObserved, report }).run(
      kills.slice(index * half, (index + 1) * half),
    );
    results.push(result);
    if (result.failures.length > 0) break;
  }
  return results;
}

/** Runs the drill and prints its report. @returns the exit code */
async function main(): Promise<number> {
  if (process.platform !== "linux") throw new Error("The drill needs Linux");
  const settings = parseSettings(process.argv.slice(2), Math.floor(Math.random() * 1e6));
  report(replayLine(settings));
  const built = await ensureBinary(settings.binary);
  const workspace = await Workspace.create("drill");
  try {
    const binary = join(workspace.folder, "walrust");
    await copyFile(built, binary);
    const results = await drill(workspace, binary, settings);
    console.log(formatReport(results, settings.recoveryLimitMs, replayLine(settings)));
    if (failuresOf(results, settings.recoveryLimitMs).length === 0) return 0;
    if (settings.keepPath !== null) await workspace.keepIn(settings.keepPath);
    return 1;
  } finally {
    await workspace.dispose();
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  fail(`drill failed: ${error instanceof Error ? error.message : error}`);
}
