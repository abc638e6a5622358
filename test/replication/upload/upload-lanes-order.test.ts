/**
 * A snapshot that overtakes the links before it. If the spool is lost before they are sent, the bucket's
 * history continues after the snapshot, and `verify` reports the gap for good.
 */
import { expect, test } from "bun:test";
import { CHAIN_ZERO } from "../../../src/format/chain.ts";
import type { Txid } from "../../../src/format/types.ts";
import { type SpoolFile, SpoolWriter } from "../../../src/local/spool.ts";
import { nextOfLane } from "../../../src/replication/upload/uploader.ts";
import { tempFolder } from "../../support/temp.ts";

const folder = tempFolder("lanes");

function spoolFile(level: number, minTxid: number, maxTxid: number): SpoolFile {
  return new SpoolWriter(folder, level, minTxid as Txid, maxTxid as Txid).finish({ chain: CHAIN_ZERO });
}

const link2 = spoolFile(0, 2, 2);
const link3 = spoolFile(0, 3, 3);
const merged = spoolFile(0, 3, 9);
const snapshot = spoolFile(9, 1, 3);

test.each([
  ["waits for every link up to its TXID", [link2, link3, snapshot], undefined],
  ["waits for the last of them", [link3, snapshot], undefined],
  ["waits for a merged link that holds its TXID", [merged, snapshot], undefined],
  ["does not wait for links after it", [snapshot, spoolFile(0, 4, 4)], snapshot],
  ["goes when nothing else is pending", [snapshot], snapshot],
])("a snapshot %s", (_, pending, next) => {
  expect(nextOfLane({ pending }, "snapshots")).toBe(next);
});

test("links never wait for a snapshot", () => {
  expect(nextOfLane({ pending: [snapshot, link3] }, "links")).toBe(link3);
});
