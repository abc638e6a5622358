/**
 * Restores databases at the end of a load and compares them, with the storage near. After an orderly end, a
 * restored database has the bytes of its source. After a SIGKILL, it has the rows of its source after some
 * number of commits; the acknowledged commits after that number are lost.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { assertReplayed, assertSame, settleDatabase } from "../comparison.ts";
import { type Cost, runCosted } from "../processes/costed.ts";
import { nameOf, type Site, type Tool } from "../processes/tools.ts";
import type { Workspace } from "../processes/workspace.ts";
import { seedOf } from "../processes/writer.ts";
import { median } from "../results/statistics.ts";

/** The outcome of all restores. */
export interface Verification {
  readonly values: Readonly<Record<string, number>>;
  /** The first reason why a restored database is wrong. */
  readonly failure: string | null;
}

/** A kill of the tool, with the commits of the application. */
export interface Kill {
  readonly atMs: number;
  /** Times of the commits to each database. */
  readonly commitsMs: readonly Float64Array[];
  readonly templatePath: string;
  readonly seed: number;
}

/** Restores `count` of the databases, and compares each. @param kill null after an orderly end */
export async function verify(
  workspace: Workspace,
  tool: Tool,
  site: Site,
  databases: readonly string[],
  count: number,
  kill: Kill | null,
): Promise<Verification> {
  const costs: Cost[] = [];
  const failures: string[] = [];
  const lost = { lostCommitCount: 0, lostMs: 0 };
  for (const index of pickEvenly([...databases.keys()], count)) {
    const path = databases[index]!;
    const target = join(site.folder, `restored-${nameOf(path)}.db`);
    try {
      if (kill === null) settleDatabase(path);
      costs.push(await runCosted(workspace, `${tool.name}-restore`, tool.restore(site, path, target)));
      if (kill === null) {
        assertSame(path, target);
      } else {
        const { templatePath, seed } = kill;
        const kept = assertReplayed(target, templatePath, `${target}.replayed`, seedOf(seed, index));
        const { commitCount, ageMs } = lossOf(kill.commitsMs[index]!, kept, kill.atMs);
        lost.lostCommitCount += commitCount;
        lost.lostMs = Math.max(lost.lostMs, ageMs);
      }
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${target}${suffix}`, { force: true });
  }
  const restoredCount = pickEvenly(databases, count).length;
  return {
    values: {
      restoredCount,
      wrongCount: failures.length,
      ...(costs.length === 0 ? {} : summarizeCosts(costs)),
      ...(kill === null ? {} : lost),
    },
    failure: failures[0] ?? null,
  };
}

function summarizeCosts(costs: readonly Cost[]): Record<string, number> {
  return {
    restoreWallMs: median(costs.map(({ wallMs }) => wallMs)),
    restorePeakRssBytes: Math.max(...costs.map(({ peakRssBytes }) => peakRssBytes)),
  };
}

/** The commits before a kill that a restored copy lacks, and the age of the oldest of them at the kill. */
export function lossOf(
  commitsMs: Float64Array,
  keptCount: number,
  killMs: number,
): { commitCount: number; ageMs: number } {
  const lost = commitsMs.subarray(keptCount).filter((commitMs) => commitMs <= killMs);
  return { commitCount: lost.length, ageMs: lost.length === 0 ? 0 : killMs - lost[0]! };
}

/** Picks `count` items at even distances. */
export function pickEvenly<Item>(items: readonly Item[], count: number): Item[] {
  const step = Math.max(1, items.length / count);
  return items.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
}
