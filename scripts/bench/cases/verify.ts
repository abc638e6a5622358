/**
 * Restores databases at the end of a load and compares them, with the storage near. After an orderly end, a
 * restored database has the bytes of its source. After a SIGKILL, it has the rows of its source after some
 * number of commits; the acknowledged commits after that number are missing. The same is true after an
 * orderly end for which the tool had too little time; the database itself still holds these commits.
 */
import { rmSync } from "node:fs";
import { join } from "node:path";
import { assertReplayed, assertSame, firstDifference, settleDatabase } from "../../measure/comparison.ts";
import { median } from "../../measure/statistics.ts";
import type { Workspace } from "../../measure/workspace.ts";
import { type Cost, runCosted } from "../processes/costed.ts";
import { nameOf, type Site, type Tool } from "../processes/tools.ts";
import { seedOf } from "../processes/writer.ts";

/** The outcome of all restores. */
export interface Verification {
  readonly values: Readonly<Record<string, number>>;
  /** The first reason why a restored database is wrong. */
  readonly failure: string | null;
}

/** The commits of the application up to the end of the tool. */
export interface History {
  /** A killed tool has no time to upload the last commits. */
  readonly isKilled: boolean;
  readonly endMs: number;
  /** Times of the commits to each database. */
  readonly commitsMs: readonly Float64Array[];
  readonly templatePath: string;
  readonly seed: number;
}

/**
 * Restores `count` of the databases, and compares each.
 *
 * @param history null if nothing may be missing
 */
export async function verify(
  workspace: Workspace,
  tool: Tool,
  site: Site,
  databases: readonly string[],
  count: number,
  history: History | null,
): Promise<Verification> {
  const costs: Cost[] = [];
  const failures: string[] = [];
  const missing = { missingCommitCount: 0, missingMs: 0 };
  const indexes = pickEvenly([...databases.keys()], count);
  for (const index of indexes) {
    const path = databases[index]!;
    const target = join(site.folder, `restored-${nameOf(path)}.db`);
    try {
      if (history?.isKilled !== true) settleDatabase(path);
      costs.push(await runCosted(workspace, `${tool.name}-restore`, tool.restore(site, path, target)));
      const keptCount = history === null ? null : compare(path, target, history, index);
      if (history === null || keptCount === null) {
        assertSame(path, target);
      } else {
        const { commitCount, ageMs } = lossOf(history.commitsMs[index]!, keptCount, history.endMs);
        missing.missingCommitCount += commitCount;
        missing.missingMs = Math.max(missing.missingMs, ageMs);
      }
    } catch (error) {
      failures.push(error instanceof Error ? error.message : String(error));
    }
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${target}${suffix}`, { force: true });
  }
  return {
    values: {
      restoredCount: indexes.length,
      wrongCount: failures.length,
      ...(costs.length === 0 ? {} : summarizeCosts(costs)),
      ...(history === null ? {} : missing),
    },
    failure: failures[0] ?? null,
  };
}

/** Number of commits in an older state of the source; null where the bytes must be those of the source. */
function compare(source: string, restored: string, history: History, index: number): number | null {
  const { isKilled, templatePath, seed, commitsMs } = history;
  if (!isKilled && firstDifference(source, restored) === null) return null;
  const keptCount = assertReplayed(restored, templatePath, `${restored}.replayed`, seedOf(seed, index));
  return isKilled || keptCount < commitsMs[index]!.length ? keptCount : null;
}

function summarizeCosts(costs: readonly Cost[]): Record<string, number> {
  return {
    restoreWallMs: median(costs.map(({ wallMs }) => wallMs)),
    restorePeakRssBytes: Math.max(...costs.map(({ peakRssBytes }) => peakRssBytes)),
  };
}

/** The commits before the end that a restored copy lacks, and the age of the oldest of them at the end. */
export function lossOf(
  commitsMs: Float64Array,
  keptCount: number,
  endMs: number,
): { commitCount: number; ageMs: number } {
  const lost = commitsMs.subarray(keptCount).filter((commitMs) => commitMs <= endMs);
  return { commitCount: lost.length, ageMs: lost.length === 0 ? 0 : endMs - lost[0]! };
}

/** Picks `count` items at even distances. */
export function pickEvenly<Item>(items: readonly Item[], count: number): Item[] {
  const step = Math.max(1, items.length / count);
  return items.filter((_, index) => Math.floor(index / step) !== Math.floor((index - 1) / step));
}
