/**
 * Case `large`: copies one idle database of some hundred MB into the bucket and restores it. Measures wall
 * time, CPU time and peak memory of each program, and compares the restored file byte for byte.
 *
 * The tools take turns, each on a copy of the same file, flushed to disk and present in the page cache. Their
 * work differs by default, so the case measures both variants:
 * - `litestream replicate -once` leaves a restorable copy at level 0; `-force-snapshot` also writes the
 *   snapshot object that `walrust snapshot` writes in the first place.
 * - walrust's restore ends with SQLite's integrity check; Litestream's does with `-integrity-check full`.
 */
import { copyFileSync, mkdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "./databases.ts";
import { startGateway, storedBytes } from "./gateway.ts";
import { watchPeak } from "./proc.ts";
import type { Measurement } from "./results.ts";
import type { OneShots, Site, Tool } from "./tools.ts";
import type { Command, Workspace } from "./workspace.ts";

const RUN_LIMIT_MS = 600_000;

/** Cost of one run of a program. */
export interface Cost {
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly peakRssBytes: number;
}

/** Measures one tool once. @throws Error when a program fails or the restored file differs in a byte */
export async function measureLarge(
  workspace: Workspace,
  tool: Tool,
  templatePath: string,
): Promise<Measurement> {
  const folder = join(workspace.folder, `large-${tool.name}`);
  mkdirSync(folder);
  const gateway = await startGateway(workspace, folder);
  const usual = await copyAndRestore(workspace, tool, { gateway, prefix: "usual", folder }, templatePath);
  const objectBytes = storedBytes(gateway, "usual");
  let thorough = usual;
  if (tool.thorough !== null) {
    const site = { gateway, prefix: "thorough", folder: join(folder, "thorough") };
    mkdirSync(site.folder);
    thorough = await copyAndRestore(workspace, tool.thorough, site, templatePath);
  }
  await workspace.stop(gateway.child, RUN_LIMIT_MS);
  rmSync(folder, { recursive: true });
  const values = {
    ...named("copy", usual.copy),
    ...named("snapshot", thorough.copy),
    ...named("restore", usual.restore),
    ...named("checkedRestore", thorough.restore),
    objectBytes,
    verified: tool.thorough === null ? 1 : 2,
  };
  const setting = `database of ${Math.round(statSync(templatePath).size / 1e6)} MB`;
  return { case: "large", tool: tool.name, setting, values };
}

async function copyAndRestore(
  workspace: Workspace,
  ways: OneShots,
  site: Site,
  templatePath: string,
): Promise<{ copy: Cost; restore: Cost }> {
  const source = join(site.folder, "large.db");
  const target = join(site.folder, "restored.db");
  await freshCopy(templatePath, source);
  const copy = await runCosted(workspace, "snapshot", ways.copyOnce(site, source));
  settleDatabase(source);
  const restore = await runCosted(workspace, "restore", ways.restore(site, source, target));
  assertSame(source, target);
  rmSync(target);
  return { copy, restore };
}

/** Copies a file and flushes the copy, so that no write-back disturbs the measured program. */
async function freshCopy(from: string, to: string): Promise<void> {
  copyFileSync(from, to);
  await Bun.spawn(["sync"]).exited;
}

/** Runs a program to its end. @returns the cost of the run. @throws Error when the program fails */
export async function runCosted(workspace: Workspace, label: string, command: Command): Promise<Cost> {
  const startMs = performance.now();
  const child = workspace.start(label, command);
  const watching = watchPeak(child.pid, child.process.exited);
  await workspace.finish(child, RUN_LIMIT_MS);
  const wallMs = performance.now() - startMs;
  const usage = child.process.resourceUsage();
  if (usage === undefined) throw new Error(`${label}: its CPU time is unknown`);
  return { wallMs, cpuMs: Number(usage.cpuTime.total) / 1000, peakRssBytes: await watching };
}

function named(name: string, cost: Cost): Record<string, number> {
  return {
    [`${name}WallMs`]: cost.wallMs,
    [`${name}CpuMs`]: cost.cpuMs,
    [`${name}PeakRssBytes`]: cost.peakRssBytes,
  };
}
