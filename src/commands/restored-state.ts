/**
 * The state left beside a restored database, so that a following `watch` uploads only what differs.
 *
 * A state folder that is there already belongs to the database that was there: it is kept under the name of
 * the file that was moved aside, because it may hold captured transactions that were never uploaded.
 */
import { copyFileSync, existsSync, renameSync } from "node:fs";
import { join } from "node:path";
import { PageSumWriter } from "../database/page-sums.ts";
import type { Env } from "../env.ts";
import { CHAIN_ZERO, hex } from "../format/chain.ts";
import type { Txid } from "../format/types.ts";
import type { RestoredState } from "../recovery/restore.ts";
import { spoolFileName } from "../replication/spool.ts";
import { createStateFolder, stateFolderOf, writeState } from "../replication/state.ts";
import { isUnsent } from "./local-copies.ts";

/** Writes position and page sums of a restored database. */
export function leaveState(restored: RestoredState, destination: string, env: Env): void {
  const { builder, name, outputPath, chain } = restored;
  const paths = stateFolderOf(outputPath);
  const asideFolder = `${paths.folder}.pre-restore-${new Date(env.nowMs()).toISOString().replace(/[:.]/g, "-")}`;
  const hadFolder = existsSync(paths.folder);
  if (hadFolder) renameSync(paths.folder, asideFolder);
  createStateFolder(paths);
  if (hadFolder) carryUnsent(restored, join(asideFolder, "ltx"), paths.spoolFolder);
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
    if (existsSync(from)) copyFileSync(from, join(spoolFolder, fileName));
  }
}
