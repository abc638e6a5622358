/**
 * `bun run chaos`: runs the built `walrust watch` while its storage, its network and its machine fail by a
 * seed, and checks that no commit is lost, no restore is wrong, no replication stops in silence and nothing
 * grows. Needs Linux; uses versitygw if `bun run peers` has installed it.
 *
 *   --minutes N         length of the run [10]
 *   --databases N       number of databases [4]
 *   --seed S            seed of the load and of the faults [random]
 *   --recovery-secs N   fail if a recovery in calm weather takes longer [5]
 *   --binary PATH       run this walrust instead of a fresh build
 *   --keep PATH         keep all files of the lives that failed in this folder
 *   --observed          poll dashboard, metrics, health and status of each watch, and judge the answers
 *
 * Prints a report as Markdown: the mean time between failures, the seeds that failed with the commands that
 * repeat them, and the faults. Exits with 1 after a failure.
 */
import { mkdirSync } from "node:fs";
import { copyFile } from "node:fs/promises";
import { join } from "node:path";
import { ChaosLife } from "./chaos/life.ts";
import { Machine } from "./chaos/machine/machine.ts";
import { runInNamespace } from "./chaos/machine/namespace.ts";
import { parseSettings, replayLine, type Settings } from "./chaos/options.ts";
import { planLives } from "./chaos/plan.ts";
import { failuresOf, formatReport, type LifeResult } from "./chaos/report.ts";
import { startStore } from "./measure/storage/storage.ts";
import { Workspace } from "./measure/workspace.ts";
import { ensureBinary, fail } from "./toolchain.ts";

const report = (text: string): void => console.error(`chaos: ${text}`);

/** Runs one life in a workspace of its own. */
async function runLife(
  life: { readonly seed: number; readonly durationMs: number },
  built: string,
  settings: Settings,
): Promise<{ result: LifeResult; missing: Machine["missing"] }> {
  const { databaseCount, keepPath, isObserved } = settings;
  const workspace = await Workspace.create("chaos");
  const binary = join(workspace.folder, "walrust");
  const probeFolder = join(workspace.folder, "probe");
  mkdirSync(probeFolder);
  const machine = await Machine.probe(workspace.folder, probeFolder);
  try {
    await copyFile(built, binary);
    const store = await startStore(workspace);
    const replay = replayLine({ ...life, databaseCount, isObserved });
    report(`${replay}, before ${store.name}`);
    const own = { workspace, binary, store, machine, databaseCount, replay, isObserved, report };
    const chaosLife = await ChaosLife.begin(life, own);
    const result = await chaosLife.run();
    if (result.failures.length > 0 && keepPath !== null) {
      await workspace.keepIn(join(keepPath, `seed-${life.seed}`));
    }
    await workspace.killAll();
    await chaosLife.end();
    const missing = store.restart === null ? { store: "versitygw is not installed" } : {};
    return { result, missing: { ...machine.missing, ...missing } };
  } finally {
    await workspace.dispose();
    machine.memory?.remove();
  }
}

/** Runs all lives and prints the report. @returns the exit code */
async function main(): Promise<number> {
  if (process.platform !== "linux") throw new Error("The chaos run needs Linux");
  const settings = parseSettings(process.argv.slice(2), Math.floor(Math.random() * 1e6));
  const inner = await runInNamespace();
  if (inner !== null) return inner;
  const built = await ensureBinary(settings.binary);
  const results: LifeResult[] = [];
  let missing: Machine["missing"] = {};
  for (const life of planLives(settings.seed, settings.durationMs)) {
    const one = await runLife(life, built, settings);
    results.push(one.result);
    missing = one.missing;
  }
  console.log(formatReport(results, missing, settings.recoveryLimitMs, replayLine(settings)));
  return failuresOf(results, settings.recoveryLimitMs).length === 0 ? 0 : 1;
}

try {
  process.exitCode = await main();
} catch (error) {
  fail(`chaos failed: ${error instanceof Error ? error.message : error}`);
}
