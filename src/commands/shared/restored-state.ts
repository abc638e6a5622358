/**
 * The state left for a restored database where a watch of it looks, so that it uploads only what differs.
 *
 * A state folder that is there already belongs to the database that was there: it is kept under the name of
 * the file that was moved aside, because it may hold captured transactions that were never uploaded.
 */
import { existsSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Env } from "../../env.ts";
import { errorMessage } from "../../errors.ts";
import { CHAIN_ZERO, hex } from "../../format/chain.ts";
import type { Txid } from "../../format/types.ts";
import { PageSumWriter } from "../../local/page-sums.ts";
import type { LocalPlaces } from "../../local/places.ts";
import { copySpoolFile, openSpoolFileOrNull, spoolFileName } from "../../local/spool.ts";
import { writeState } from "../../local/state.ts";
import { createStateFolder, type StateFolder } from "../../local/state-folder.ts";
import type { RestoredState } from "../../recovery/restore/restore-database.ts";
import { isUnsent } from "./local-copies.ts";

/**
 * Writes position and page sums of a restored database. Where that cannot be, nothing is lost but an upload
 * of the whole file by the next watch, and the restore goes on.
 * @throws WalrustError code "database" when state of the database before is there and stays; it is back in
 * its place then, and would be taken for the restored one's
 */
export function leaveState(
  restored: RestoredState,
  destination: string,
  env: Env,
  places: LocalPlaces,
): void {
  // The folder may have been made only now: what was seen of it before counts no more.
  places.refresh();
  // The path was resolved before: resolved again, it would follow a link that was made meanwhile.
  const { paths } = places.of(restored.outputPath);
  const stamp = new Date(env.nowMs()).toISOString().replace(/[:.]/g, "-");
  const asideFolder = `${paths.folder}.pre-restore-${stamp}`;
  const hadFolder = existsSync(paths.folder);
  if (hadFolder) renameSync(paths.folder, asideFolder);
  try {
    writeRestored(restored, paths, destination, env);
    if (hadFolder) carryUnsent(restored, join(asideFolder, "ltx"), paths.spoolFolder);
  } catch (error) {
    rmSync(paths.folder, { recursive: true, force: true });
    if (hadFolder) {
      renameSync(asideFolder, paths.folder);
      throw error;
    }
    const hint = "A watch of the restored file will upload it once in full; choose a folder with --state-dir";
    env.log.warn(`cannot leave state for a watch: ${errorMessage(error)}`, { database: restored.name, hint });
  }
}

function writeRestored(restored: RestoredState, paths: StateFolder, destination: string, env: Env): void {
  const { builder, name, chain } = restored;
  createStateFolder(paths, restored.outputPath);
  const writer = new PageSumWriter(paths.sumsPath);
  try {
    const { sums } = builder;
    for (let word = 0; word < sums.length; word += 2) writer.push(sums[word]!, sums[word + 1]!);
    writer.close();
    writeState(paths, {
      destination,
      name,
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

/** What was restored from the spool alone still has to be uploaded: it goes into the new spool. */
function carryUnsent(restored: RestoredState, fromFolder: string, spoolFolder: string): void {
  for (const object of restored.objects) {
    if (!isUnsent(object)) continue;
    const fileName = spoolFileName(object.level, object.minTxid, object.maxTxid);
    const from = join(fromFolder, fileName);
    const file = openSpoolFileOrNull(from, object.level, object.minTxid, object.maxTxid);
    if (file !== null) copySpoolFile(file, spoolFolder);
  }
}
