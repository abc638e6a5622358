/**
 * Snapshots in the spool that belong to another history than the state. A power cut brings back files whose
 * removal had not reached the disk, also those of captures that the disk had lost before. By then other
 * captures have the same TXIDs, and the old snapshot would be uploaded as theirs.
 *
 * A snapshot is no link of the chain, and only repeats the chain value at its TXID. So a link that ends or
 * begins there, or the state, tells whether it is of the same history. Where none does, the snapshot counts
 * only if the power was not cut since: the next snapshot replaces it.
 */
import { rmSync } from "node:fs";
import { hex, isChainLink } from "../../format/chain.ts";
import type { SpoolFile } from "../../local/spool.ts";
import type { DatabaseState } from "../../local/state.ts";

/**
 * The files without stale snapshots, which are removed.
 * @param files the files that wait; their links lead to the state
 * @param isOfOtherBoot whether the state was written before the machine started
 */
export function withoutStaleSnapshots(
  files: readonly SpoolFile[],
  state: Pick<DatabaseState, "txid" | "chain">,
  isOfOtherBoot: boolean,
): SpoolFile[] {
  const chains = new Map<number, string>([[state.txid, state.chain]]);
  for (const link of files.filter(isChainLink)) {
    chains.set(link.maxTxid, hex(link.chain));
    chains.set(link.minTxid - 1, hex(link.previousChain));
  }
  return files.filter((file) => {
    if (isChainLink(file)) return true;
    const chain = chains.get(file.maxTxid);
    if (chain === undefined ? !isOfOtherBoot : chain === hex(file.chain)) return true;
    rmSync(file.path, { force: true });
    return false;
  });
}
