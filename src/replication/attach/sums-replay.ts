/**
 * The page sums of a database that is attached again: they belong to its state, or lack just the newest
 * capture (a crash between two writes) and are brought up to it from its spool file. The state's checksum
 * judges.
 */
import { statSync } from "node:fs";
import { Uint32List } from "../../database/files/scratch.ts";
import { hasCode } from "../../errors.ts";
import { isChainLink } from "../../format/chain.ts";
import { pageChecksumInto } from "../../format/crc64.ts";
import { LtxDecoder } from "../../format/ltx-decoder.ts";
import { applyBatch, checksumOfFileOrNull } from "../../local/page-sums.ts";
import { type SpoolFile, spoolChunks } from "../../local/spool.ts";
import type { DatabaseState } from "../../local/state.ts";
import type { Captured } from "../capture/live-database.ts";

/** Whether the page sums belong to the state, after replaying the newest capture if a crash left it out. */
export function areSumsSound(
  live: Pick<Captured, "paths">,
  state: DatabaseState,
  files: readonly SpoolFile[],
): boolean {
  const path = live.paths.sumsPath;
  if (checksumOfFileOrNull(path, state.commit) === state.checksum) return true;
  const newest = files.find((file) => file.maxTxid === state.txid && isChainLink(file));
  if (newest === undefined) return false;
  try {
    replaySums(path, newest, state);
  } catch (error) {
    if (hasCode(error, "corrupt") || hasCode(error, "database")) return false;
    throw error;
  }
  return checksumOfFileOrNull(path, state.commit) === state.checksum;
}

/** Applies the sums of a spool file's pages again; the result is judged by its checksum. */
function replaySums(path: string, file: SpoolFile, state: DatabaseState): void {
  const size = statSync(path, { throwIfNoEntry: false })?.size;
  if (size === undefined) return;
  const pgnos = new Uint32List();
  const low = new Uint32List();
  const high = new Uint32List();
  const sum = new Uint32Array(2);
  eachSpoolPage(file, (pgno, page) => {
    pageChecksumInto(pgno, page, sum);
    pgnos.push(pgno);
    low.push(sum[0]!);
    high.push(sum[1]!);
  });
  const batch = { pgnos: pgnos.view(), low: low.view(), high: high.view() };
  applyBatch(path, Math.floor(size / 8), state.commit, batch, state.pageSizeBytes);
}

/** Decodes a spool file page by page in bounded memory. */
function eachSpoolPage(file: SpoolFile, onPage: (pgno: number, page: Uint8Array) => void): void {
  const decoder = new LtxDecoder();
  for (const chunk of spoolChunks(file)) {
    decoder.push(chunk);
    while (decoder.next()) onPage(decoder.pgno, decoder.page);
  }
  decoder.finish();
}
