/**
 * The state left beside a restored database, so that a following `watch` uploads only what differs.
 *
 * A state folder that is there already belongs to the database that was there: it is kept under the name of
 * the file that was moved aside, because it may hold captured transactions that were never uploaded.
 */
import { existsSync, renameSync } from "node:fs";
import { PageSumWriter } from "../database/page-sums.ts";
import type { Env } from "../env.ts";
import { CHAIN_ZERO, hex } from "../format/chain.ts";
import type { Txid } from "../format/types.ts";
import type { RestoredState } from "../recovery/restore.ts";
import { createStateFolder, stateFolderOf, writeState } from "../replication/state.ts";

/** Writes position and page sums of a restored database. */
export function leaveState(restored: RestoredState, destination: string, env: Env): void {
  const { builder, name, outputPath, chain } = restored;
  const paths = stateFolderOf(outputPath);
  if (existsSync(paths.folder)) {
    const stamp = new Date(env.nowMs()).toISOString().replace(/[:.]/g, "-");
    renameSync(paths.folder, `${paths.folder}.pre-restore-${stamp}`);
  }
  createStateFolder(paths);
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
      snapshot: null,
    });
    writer.publish();
  } catch (error) {
    writer.discard();
    throw error;
  }
}
