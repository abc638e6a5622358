/**
 * Case `history`: restores a small database with a long history, from increments alone and after compaction.
 *
 * walrust watches with a short sync interval until the bucket holds enough increments. The case then removes
 * merged objects from the gateway's folder; the first snapshot and the increments stay. Both tools restore
 * from this one bucket, since each reads the other's objects. Then `walrust compact --force` merges the
 * increments, and both restore again. The case compares every restored file byte for byte.
 */
import { copyFileSync, existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "../../measure/comparison.ts";
import { countStored, type Gateway, levelFolder, listObjects } from "../../measure/gateway.ts";
import { type Command, type Workspace, waitUntil } from "../../measure/workspace.ts";
import { type Cost, runCosted } from "../processes/costed.ts";
import { startStorage } from "../processes/storage.ts";
import { nameOf, type Site, type Tool } from "../processes/tools.ts";
import { startWriter, stopWriter } from "../processes/writer.ts";
import type { Measurement } from "../results/measurement.ts";
import { describeSpec, type HistorySpec, LOOPBACK } from "../spec.ts";

const STOP_LIMIT_MS = 60_000;
const COMPACT_LIMIT_MS = 300_000;
const COMMITS_PER_SECOND = 200;
const MERGED_LEVELS = [1, 2, 3] as const;

/** Measures both tools on one history. @throws Error when a program fails or a restored file differs */
export function measureHistory(
  workspace: Workspace,
  tools: readonly Tool[],
  walrust: Tool,
  spec: HistorySpec,
  templatePath: string,
): Promise<Measurement[]> {
  return workspace.scope("history", async (folder) => {
    const { gateway, endpoint } = await startStorage(workspace, folder, LOOPBACK);
    const site: Site = { endpoint, prefix: "history", folder, user: null };
    const database = join(folder, "app.db");
    copyFileSync(templatePath, database);
    await makeHistory(workspace, walrust, site, gateway, database, spec.incrementCount);
    for (const level of MERGED_LEVELS) {
      const merged = levelFolder(gateway, site.prefix, nameOf(database), level);
      // The gateway keeps metadata beside the objects and, with that metadata, refuses to create them again.
      const known = merged.replace("gateway-root", "gateway-sidecar");
      for (const path of [merged, known]) if (existsSync(path)) rmSync(path, { recursive: true });
    }
    const objectCount = countStored(gateway, site.prefix);
    const plain = await restoreWithEach(workspace, tools, site, database);
    const compact = workspace.start("compact", compactCommand(walrust, site, database));
    await workspace.finish(compact, COMPACT_LIMIT_MS);
    const compactedObjectCount = countStored(gateway, site.prefix);
    const compacted = await restoreWithEach(workspace, tools, site, database);
    return tools.map(({ name }) => ({
      ...{ case: "history", tool: name, setting: describeSpec(spec), failure: null },
      values: {
        ...{ objectCount, compactedObjectCount, restoredCount: 2, wrongCount: 0 },
        plainRestoreWallMs: plain[name]!.wallMs,
        plainRestorePeakRssBytes: plain[name]!.peakRssBytes,
        compactedRestoreWallMs: compacted[name]!.wallMs,
        compactedRestorePeakRssBytes: compacted[name]!.peakRssBytes,
      },
    }));
  });
}

/** Watches a busy database until enough increments are stored. */
async function makeHistory(
  workspace: Workspace,
  walrust: Tool,
  site: Site,
  gateway: Gateway,
  database: string,
  incrementCount: number,
): Promise<void> {
  const { words, env } = walrust.watch(site, [database]);
  const watcher = workspace.start("watch", { words: [...words, "--wal-sync-interval", "0.01"], env });
  const writing = { databases: [database], commitsPerSecond: COMMITS_PER_SECOND, seed: 1 };
  const writer = await startWriter(workspace, site.folder, writing);
  const increments = levelFolder(gateway, site.prefix, nameOf(database), 0);
  const limitMs = 60_000 + (incrementCount / 10) * 1000;
  await waitUntil(
    [watcher, ...writer.children],
    "the increments",
    limitMs,
    () => listObjects(increments).length >= incrementCount,
  );
  await stopWriter(workspace, writer);
  await workspace.stop(watcher, STOP_LIMIT_MS);
  settleDatabase(database);
}

async function restoreWithEach(
  workspace: Workspace,
  tools: readonly Tool[],
  site: Site,
  database: string,
): Promise<Record<string, Cost>> {
  const costs: Record<string, Cost> = {};
  for (const tool of tools) {
    const target = join(site.folder, `restored-${tool.name}.db`);
    costs[tool.name] = await runCosted(workspace, "restore", tool.restore(site, database, target));
    assertSame(database, target);
    rmSync(target);
  }
  return costs;
}

function compactCommand(walrust: Tool, site: Site, database: string): Command {
  const { words, env } = walrust.watch(site, []);
  const [binary, , ...destination] = words;
  return { words: [binary!, "compact", nameOf(database), "--force", ...destination], env };
}
