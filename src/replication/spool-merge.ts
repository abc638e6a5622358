/**
 * Merging pending increments into one while the network is away, so that the spool stays within its size. One
 * captured batch is one TXID; the merged file stands for the range and is one link of the chain, so the
 * state's chain value changes with it.
 *
 * Order: the merged file is complete, then the state names its chain value, then the single files go. A crash
 * in between leaves both; loading the spool keeps those that lead to the state's chain value.
 */
import { closeSync, readSync } from "node:fs";
import { hex } from "../format/chain.ts";
import { type LtxSource, MERGE_INPUTS_MAX, mergeLtx } from "../format/ltx-merge.ts";
import { openOwn } from "../local/own-file.ts";
import { removeSpoolFile, type SpoolFile, SpoolWriter } from "../local/spool.ts";
import { writeState } from "../local/state.ts";
import type { LiveDatabase } from "./live-database.ts";

/**
 * Merges the pending increments but the first, which may be on its way just now.
 * @returns the bytes it saved; 0 when there was nothing to merge
 * @throws WalrustError when the disk refuses; nothing has changed then
 */
export function mergePending(live: LiveDatabase): number {
  const { state } = live;
  const increments = live.pending.filter((file) => file.level === 0).slice(1);
  const sources = increments.slice(-MERGE_INPUTS_MAX);
  const [first] = sources;
  const last = sources.at(-1);
  if (state === null || sources.length < 2 || first === undefined || last === undefined) return 0;
  if (last.maxTxid !== state.txid) return 0;
  const before = sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const spool = new SpoolWriter(live.paths.spoolFolder, 0, first.minTxid, last.maxTxid);
  const opened = sources.map(openSource);
  try {
    mergeLtx(
      opened.map(({ read }) => read),
      (bytes) => spool.write(bytes),
    );
    const merged = spool.finish({ previousChain: first.previousChain });
    const next = { ...state, chain: hex(merged.chain) };
    writeState(live.paths, next);
    live.state = next;
    live.pending.splice(live.pending.indexOf(first), 0, merged);
    for (const source of sources) {
      live.pending.splice(live.pending.indexOf(source), 1);
      removeSpoolFile(source);
    }
    return before - merged.sizeBytes;
  } catch (error) {
    spool.discard();
    throw error;
  } finally {
    for (const source of opened) source.close();
  }
}

function openSource(file: SpoolFile): { read: LtxSource; close: () => void } {
  let fd: number | null = null;
  let offset = 0;
  const read = (target: Uint8Array): number => {
    fd ??= openOwn(file.path);
    const count = readSync(fd, target, 0, Math.min(target.length, file.sizeBytes - offset), offset);
    offset += count;
    return count;
  };
  return { read, close: () => (fd === null ? undefined : closeSync(fd)) };
}
