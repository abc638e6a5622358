/**
 * Snapshots that a power cut has brought back. The simulator found that one of a lost history was uploaded
 * for the TXID that another capture had by then (seed 1732).
 */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { CHAIN_ZERO, hex } from "../../../src/format/chain.ts";
import type { Txid } from "../../../src/format/types.ts";
import { type SpoolFile, SpoolWriter } from "../../../src/local/spool.ts";
import { withoutStaleSnapshots } from "../../../src/replication/attach/stale-snapshots.ts";
import { tempFolder } from "../../support/temp.ts";

/** The increments 5 and 6-7, which wait, and the state after them. */
function waiting(): { folder: string; links: SpoolFile[]; state: { txid: Txid; chain: string } } {
  const folder = tempFolder("stale");
  const previousChain = new Uint8Array(32).fill(4);
  const first = new SpoolWriter(folder, 0, 5 as Txid, 5 as Txid).finish({ previousChain });
  const second = new SpoolWriter(folder, 0, 6 as Txid, 7 as Txid).finish({ previousChain: first.chain });
  return { folder, links: [first, second], state: { txid: 7 as Txid, chain: hex(second.chain) } };
}

function snapshotOf(folder: string, txid: number, chain: Uint8Array): SpoolFile {
  return new SpoolWriter(folder, 9, 1 as Txid, txid as Txid).finish({ chain });
}

test.each([4, 5, 7])("a snapshot of TXID %d stays if it has the chain value there, else it goes", (txid) => {
  const { folder, links, state } = waiting();
  const [first, second] = links as [SpoolFile, SpoolFile];
  const chains: Record<number, Uint8Array> = { 4: first.previousChain, 5: first.chain, 7: second.chain };
  const own = snapshotOf(folder, txid, chains[txid]!);
  expect(withoutStaleSnapshots([...links, own], state, true)).toEqual([...links, own]);
  const stale = snapshotOf(folder, txid, CHAIN_ZERO);
  for (const isOfOtherBoot of [true, false]) {
    expect(withoutStaleSnapshots([...links, stale], state, isOfOtherBoot)).toEqual(links);
    expect(existsSync(stale.path)).toBe(false);
  }
});

test.each([3, 6])(
  "a snapshot of TXID %d, where no chain value is known, stays until the power is cut",
  (txid) => {
    const { folder, links, state } = waiting();
    const snapshot = snapshotOf(folder, txid, new Uint8Array(32).fill(1));
    expect(withoutStaleSnapshots([...links, snapshot], state, false)).toEqual([...links, snapshot]);
    expect(withoutStaleSnapshots([...links, snapshot], state, true)).toEqual(links);
    expect(existsSync(snapshot.path)).toBe(false);
  },
);
