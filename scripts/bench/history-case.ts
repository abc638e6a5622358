/**
 * Case `history`: restores a small database with a long history, from increments alone and after compaction.
 *
 * walrust watches with a short sync interval until the bucket holds enough increments. The case then removes
 * merged objects from the gateway's folder; the first snapshot and the increments stay. Both tools restore
 * from this one bucket, since each reads the other's objects. Then `walrust compact --force` merges the
 * increments, and both restore again. The case compares every restored file byte for byte.
 */
import { copyFileSync, existsSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "./databases.ts";
import { countStored, levelFolder, listObjects, startGateway } from "./gateway.ts";
import { runCosted } from "./large-case.ts";
import type { Measurement } from "./results.ts";
import { nameOf, type Site, type Tool } from "./tools.ts";
import { type Workspace, waitUntil } from "./workspace.ts";
import { startWriter, stopWriter } from "./writer.ts";

const STOP_LIMIT_MS = 60_000;
const MERGED_LEVELS = [1, 2, 3] as const;

/** Options of the case. */
export interface HistoryOptions {
  readonly incrementCount: number;
  readonly commitsPerSecond: number;
  readonly templatePath: string;
}

/** Measures both tools on one history. @throws Error when a program fails or a restored file differs */
export async function measureHistory(
  workspace: Workspace,
  tools: readonly Tool[],
  options: HistoryOptions,
): Promise<Measurement[]> {
  const walrust = tools.find(({ name }) => name === "walrust");
  if (walrust === undefined) throw new Error("the history case needs walrust");
  const folder = join(workspace.folder, "history");
  mkdirSync(folder);
  const gateway = await startGateway(workspace, folder);
  const site: Site = { gateway, prefix: "history", folder };
  const database = join(folder, "app.db");
  copyFileSync(options.templatePath, database);
  const made = await makeHistory(workspace, walrust, site, database, options);
  for (const level of MERGED_LEVELS) {
    const merged = levelFolder(gateway, site.prefix, nameOf(database), level);
    // The gateway keeps metadata beside the objects and, with that metadata, refuses to create them again.
    const known = merged.replace("gateway-root", "gateway-sidecar");
    for (const path of [merged, known]) if (existsSync(path)) rmSync(path, { recursive: true });
  }
  const before = countStored(gateway, site.prefix);
  const plain = await restoreWithEach(workspace, tools, site, database);
  await workspace.finish(
    workspace.start("compact", compactCommand(walrust, site, database)),
    STOP_LIMIT_MS * 5,
  );
  const after = countStored(gateway, site.prefix);
  const compacted = await restoreWithEach(workspace, tools, site, database);
  await workspace.stop(gateway.child, STOP_LIMIT_MS);
  rmSync(folder, { recursive: true });
  const setting = `${made} increments`;
  return tools.map(({ name }) => ({
    case: "history",
    tool: name,
    setting,
    values: {
      plainRestoreWallMs: plain[name]!.wallMs,
      plainRestorePeakRssBytes: plain[name]!.peakRssBytes,
      compactedRestoreWallMs: compacted[name]!.wallMs,
      compactedRestorePeakRssBytes: compacted[name]!.peakRssBytes,
      objectCount: before,
      compactedObjectCount: after,
      verified: 2,
    },
  }));
}

/** Watches a busy database until enough increments are stored. @returns the number of increments */
async function makeHistory(
  workspace: Workspace,
  walrust: Tool,
  site: Site,
  database: string,
  options: HistoryOptions,
): Promise<number> {
  const { words, env } = walrust.watch(site, [database]);
  const watcher = workspace.start("watch", { words: [...words, "--wal-sync-interval", "0.01"], env });
  const writing = { databases: [database], commitsPerSecond: options.commitsPerSecond, seed: 1 };
  const writer = startWriter(workspace, site.folder, writing);
  const increments = levelFolder(site.gateway, site.prefix, nameOf(database), 0);
  const limitMs = 60_000 + (options.incrementCount / 10) * 1000;
  await waitUntil(
    [watcher, writer],
    "the increments",
    limitMs,
    () => listObjects(increments).length >= options.incrementCount,
  );
  await stopWriter(workspace, writer, writing);
  await workspace.stop(watcher, STOP_LIMIT_MS);
  settleDatabase(database);
  return listObjects(increments).length;
}

async function restoreWithEach(
  workspace: Workspace,
  tools: readonly Tool[],
  site: Site,
  database: string,
): Promise<Record<string, { wallMs: number; peakRssBytes: number }>> {
  const costs: Record<string, { wallMs: number; peakRssBytes: number }> = {};
  for (const tool of tools) {
    const target = join(site.folder, `restored-${tool.name}.db`);
    costs[tool.name] = await runCosted(workspace, "restore", tool.restore(site, database, target));
    assertSame(database, target);
    rmSync(target);
  }
  return costs;
}

function compactCommand(walrust: Tool, site: Site, database: string): ReturnType<Tool["watch"]> {
  const { words, env } = walrust.watch(site, []);
  const [binary, , ...destination] = words;
  return { words: [binary!, "compact", nameOf(database), "--force", ...destination], env };
}
