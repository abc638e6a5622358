/** Requests over its socket to a watch in this process, as `snapshot`, `compact` and `sync` make them. */
import type { RetentionConfig } from "../../../src/config/config.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { stateFolderOf } from "../../../src/local/state-folder.ts";
import { askEveryWatch, askWatchOrNull } from "../../../src/replication/control/control-client.ts";
import type { SyncedDatabase } from "../../../src/replication/requests/sync-request.ts";
import type { UpkeepResult } from "../../../src/replication/upkeep/maintenance.ts";
import type { SnapshotResult } from "../../../src/replication/upkeep/snapshot-once.ts";
import type { SyncAnswer } from "../../../src/replication/watch/watch-control.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";

/** Requests a snapshot of the database at `path`. @returns null if no watch runs */
export async function askForSnapshot(path: string, store: ObjectStore): Promise<SnapshotResult | null> {
  const request = { verb: "snapshot", path, destination: store.url } as const;
  return (await askWatchOrNull(stateFolderOf(path).folder, request)) as SnapshotResult | null;
}

/** Requests compaction and retention at once. @returns null if no watch runs */
export async function askForUpkeep(
  path: string,
  store: ObjectStore,
  retention: Partial<RetentionConfig>,
  force = true,
): Promise<UpkeepResult | null> {
  const given = { compaction: {}, retention };
  const request = { verb: "compact", path, destination: store.url, given, force } as const;
  return (await askWatchOrNull(stateFolderOf(path).folder, request)) as UpkeepResult | null;
}

/** Syncs databases of the watch over a store. @param names absent: all */
export async function askForSync(
  store: ObjectStore,
  timeoutMs: number,
  names?: readonly string[],
): Promise<SyncedDatabase[]> {
  const asker = { env: systemEnv(SILENT_LOG), signal: new AbortController().signal };
  const chosen = names === undefined ? {} : { names };
  const request = { verb: "sync", destination: store.location, timeoutMs, ...chosen } as const;
  const answers = await askEveryWatch(request, asker);
  // A watch of this machine that the test did not start may be unable to answer.
  return answers.flatMap(({ result }) => (result as SyncAnswer | null)?.databases ?? []);
}
