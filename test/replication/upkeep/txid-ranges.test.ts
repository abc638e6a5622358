/** TxidRanges against the same queries answered by a scan of every object. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Txid } from "../../../src/format/types.ts";
import { TxidRanges } from "../../../src/replication/upkeep/txid-ranges.ts";
import { cases } from "../../support/property-cases.ts";

interface Range {
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

const range = fc
  .tuple(fc.integer({ min: 1, max: 30 }), fc.integer({ min: 0, max: 6 }))
  .map(([min, more]): Range => ({ minTxid: min as Txid, maxTxid: (min + more) as Txid }));

function slowReach(objects: readonly Range[], txid: number): number {
  let reached = txid;
  for (let isFurther = true; isFurther; ) {
    isFurther = false;
    for (const { minTxid, maxTxid } of objects) {
      if (minTxid > reached + 1 || maxTxid <= reached) continue;
      reached = maxTxid;
      isFurther = true;
    }
  }
  return reached;
}

test("TxidRanges agrees with a scan of every object", () => {
  const property = fc.property(fc.array(range, { maxLength: 25 }), range, (objects, asked) => {
    const ranges = new TxidRanges(objects);
    const sorted = objects.toSorted((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid);
    const { minTxid, maxTxid } = asked;
    const cover = sorted.find((one) => one.minTxid <= minTxid && one.maxTxid >= maxTxid) ?? null;
    expect(ranges.firstCoverOrNull(asked)).toEqual(cover);
    expect(ranges.hasWithin(asked)).toBe(
      objects.some((one) => one.minTxid >= minTxid && one.maxTxid <= maxTxid),
    );
    for (let txid = 0; txid <= 40; txid++) {
      expect(ranges.leadsOn(txid)).toBe(objects.some((one) => one.minTxid <= txid + 1 && one.maxTxid > txid));
      expect(ranges.reachFrom(txid)).toBe(slowReach(objects, txid));
    }
  });
  fc.assert(property, cases(300));
});

test("TxidRanges of nothing covers nothing and leads nowhere", () => {
  const none = new TxidRanges<Range>([]);
  const asked = { minTxid: 1 as Txid, maxTxid: 2 as Txid };
  expect([none.firstCoverOrNull(asked), none.hasWithin(asked), none.leadsOn(0), none.reachFrom(7)]).toEqual([
    null,
    false,
    false,
    7,
  ]);
});
