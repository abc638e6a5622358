/**
 * A SIGKILL during compaction leaves a merged file of level 1 in the spool. Published with the pending files,
 * the merge would be an object without its place in the chain, and `verify` would fail for good.
 */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { CHAIN_ZERO, hex } from "../../src/format/chain.ts";
import type { Txid } from "../../src/format/types.ts";
import { loadSpool, SpoolWriter } from "../../src/local/spool.ts";
import { tempFolder } from "../support/temp.ts";

test("loadSpool removes a merge of level 1 after a killed compaction, and keeps links and snapshots", () => {
  const folder = tempFolder("spool");
  const first = new SpoolWriter(folder, 9, 1 as Txid, 1 as Txid).finish({ previousChain: CHAIN_ZERO });
  const second = new SpoolWriter(folder, 0, 2 as Txid, 2 as Txid).finish({ previousChain: first.chain });
  const snapshot = new SpoolWriter(folder, 9, 1 as Txid, 2 as Txid).finish({ chain: second.chain });
  const merge = new SpoolWriter(folder, 1, 2 as Txid, 2 as Txid).finish({ chain: second.chain });

  const loaded = loadSpool(folder, 2 as Txid, hex(second.chain));

  const paths = loaded.kind === "pending" ? loaded.files.map(({ path }) => path) : loaded.reason;
  expect(paths).toEqual([first.path, second.path, snapshot.path]);
  expect(existsSync(merge.path)).toBe(false);
});
