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
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "../../measure/comparison.ts";
import { storedBytes } from "../../measure/gateway.ts";
import type { Workspace } from "../../measure/workspace.ts";
import { type Cost, runCosted } from "../processes/costed.ts";
import { startStorage } from "../processes/storage.ts";
import type { OneShots, Site, Tool } from "../processes/tools.ts";
import type { Measurement } from "../results/measurement.ts";
import { describeSpec, type LargeSpec } from "../spec.ts";

/** Measures one tool once. @throws Error when a program fails or the restored file differs in a byte */
export function measureLarge(
  workspace: Workspace,
  tool: Tool,
  spec: LargeSpec,
  templatePath: string,
): Promise<Measurement> {
  return workspace.scope(`large-${tool.name}`, async (folder) => {
    const { gateway, endpoint } = await startStorage(workspace, folder, spec);
    const base = { endpoint, folder, user: null };
    const usual = await copyAndRestore(workspace, tool, { ...base, prefix: "usual" }, templatePath);
    const objectBytes = storedBytes(gateway, "usual");
    let thorough = usual;
    if (tool.thorough !== null) {
      // Two copies of a large database in the bucket may not fit on the disk.
      rmSync(join(gateway.bucketFolder, "usual"), { recursive: true });
      const site = { ...base, prefix: "thorough", folder: join(folder, "thorough") };
      mkdirSync(site.folder);
      thorough = await copyAndRestore(workspace, tool.thorough, site, templatePath);
    }
    const values = {
      ...named("copy", usual.copy),
      ...named("snapshot", thorough.copy),
      ...named("restore", usual.restore),
      ...named("checkedRestore", thorough.restore),
      objectBytes,
      restoredCount: tool.thorough === null ? 1 : 2,
      wrongCount: 0,
    };
    return { case: "large", tool: tool.name, setting: describeSpec(spec), values, failure: null };
  });
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
  for (const path of [source, target]) rmSync(path);
  return { copy, restore };
}

/** Copies a file and flushes the copy, so that no write-back disturbs the measured program. */
async function freshCopy(from: string, to: string): Promise<void> {
  copyFileSync(from, to);
  await Bun.spawn(["sync"]).exited;
}

function named(name: string, cost: Cost): Record<string, number> {
  return {
    [`${name}WallMs`]: cost.wallMs,
    [`${name}CpuMs`]: cost.cpuMs,
    [`${name}PeakRssBytes`]: cost.peakRssBytes,
  };
}
