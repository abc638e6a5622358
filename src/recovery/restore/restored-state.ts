/**
 * The state of a restored database, written where a watch of the database finds it: the next watch then
 * uploads only what differs.
 *
 * An existing state folder belongs to the previous database. The folder is kept, under the stamp of the
 * database file, because it may hold captured transactions that were never uploaded. An undo returns it.
 *
 * A kill may leave a state beside a database of another stamp. No watch takes it for the state of that
 * database: a state of a restore has no position in a WAL, any other state names its database file, and a
 * watch compares all pages with the page sums then.
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { CHAIN_ZERO, hex } from "../../format/chain.ts";
import type { Txid } from "../../format/types.ts";
import { PageSumWriter } from "../../local/page-sums.ts";
import type { LocalPlaces } from "../../local/places.ts";
import { copySpoolFile } from "../../local/spool.ts";
import { localCopyOrNull } from "../../local/spool-cache.ts";
import type { HistoryOwner } from "../../local/spooled-history.ts";
import { readState, writeState } from "../../local/state.ts";
import { createStateFolder, type StateFolder, stateFolderAt } from "../../local/state-folder.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { DatabaseBuilder } from "./database-builder.ts";
import { keptName } from "./kept-files.ts";

/** A restored database, and the history that it continues. */
export interface RestoredDatabase {
  readonly owner: HistoryOwner;
  /** Path of the database, with all links resolved. */
  readonly path: string;
  readonly builder: DatabaseBuilder;
  /** Chain value at the restored TXID, 64 hex digits, or null where the objects carry none. */
  readonly chain: string | null;
  /** Objects that came from the spool alone: they still wait for their upload. */
  readonly unsent: readonly LtxObject[];
}

/**
 * Writes position and page sums of a restored database. Where they cannot be written, the restore goes on:
 * the next watch uploads the whole file once.
 * @param stamp the one under which the database file is kept
 * @throws WalrustError code "database" when the state of the previous database stays in its place: a watch
 * would take it for the state of the restored database
 */
export function leaveState(restored: RestoredDatabase, places: LocalPlaces, stamp: string, env: Env): void {
  // The folder may have been made only now: earlier findings about it are void.
  places.refresh();
  // The path was resolved before: resolved again, it would follow a link that was made meanwhile.
  const { paths } = places.of(restored.path);
  const asideFolder = keptName(paths.folder, stamp);
  const hadFolder = existsSync(paths.folder);
  if (hadFolder) renameSync(paths.folder, asideFolder);
  try {
    writeRestored(restored, paths, env);
    if (hadFolder) carryUnsent(restored.unsent, stateFolderAt(asideFolder).spoolFolder, paths.spoolFolder);
  } catch (error) {
    rmSync(paths.folder, { recursive: true, force: true });
    if (hadFolder) {
      renameSync(asideFolder, paths.folder);
      throw error;
    }
    const hint = "A watch of the restored file will upload it once in full; choose a folder with --state-dir";
    const database = restored.owner.name;
    env.log.warn(`cannot leave state for a watch: ${errorMessage(error)}`, { database, hint });
  }
}

function writeRestored(restored: RestoredDatabase, paths: StateFolder, env: Env): void {
  const { builder, owner, chain } = restored;
  createStateFolder(paths, restored.path);
  const writer = new PageSumWriter(paths.sumsPath);
  try {
    builder.eachSum((low, high) => writer.push(low, high));
    writer.close();
    writeState(paths, {
      destination: owner.destination,
      name: owner.name,
      writer: hex(env.randomBytes(16)),
      txid: builder.txid as Txid,
      timeMs: builder.timeMs,
      pageSizeBytes: builder.pageSizeBytes,
      commit: builder.commit,
      checksum: builder.checksum,
      chain: chain ?? hex(CHAIN_ZERO),
      wal: null,
      snapshot: builder.base,
    });
    writer.publish();
  } catch (error) {
    writer.discard();
    throw error;
  }
}

/** Copies the files that still wait for their upload into the new spool. */
function carryUnsent(unsent: readonly LtxObject[], fromFolder: string, spoolFolder: string): void {
  for (const object of unsent) {
    const file = localCopyOrNull(fromFolder, object);
    if (file !== null) copySpoolFile(file, spoolFolder);
  }
}

/**
 * The state beside a database after an undo: "kept" is the one that was there, "returned" the earlier one.
 */
export type UndoneState = "kept" | "returned" | "none";

/**
 * Returns the state that was kept with a database file, unless a watch has captured since: then the history
 * goes on from the state of that watch, and the next watch uploads what differs.
 * @param path path of the database, with all links resolved
 * @param from the stamp of the file that is put back
 * @param to the stamp under which the present file is kept
 * @throws WalrustError code "database" when the present state cannot be read now
 */
export function returnState(path: string, from: string, to: string, places: LocalPlaces): UndoneState {
  places.refresh();
  const { paths } = places.of(path);
  const { folder } = paths;
  const earlier = keptName(folder, from);
  const reading = readState(paths);
  if (reading.kind === "refused") throw reading.error;
  const hasCaptured =
    reading.kind === "state" ? reading.state.wal !== null || reading.state.file !== undefined : false;
  const isReturned = existsSync(earlier) && !hasCaptured && reading.kind !== "lost";
  if (!isReturned) return reading.kind === "none" ? "none" : "kept";
  if (existsSync(folder)) renameSync(folder, keptName(folder, to));
  renameSync(earlier, folder);
  return "returned";
}
