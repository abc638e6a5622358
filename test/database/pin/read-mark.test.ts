/** The choice among the read marks, as a table. */
import { expect, test } from "bun:test";
import {
  readerSlotOrNull,
  recentSlotOrNull,
  slotsByPreference,
} from "../../../src/database/pin/read-mark.ts";
import { READ_MARK_UNUSED, type WalIndexHeader } from "../../../src/format/wal-index.ts";

const UNUSED = READ_MARK_UNUSED;

function index(mxFrame: number, ...marks: [number, number, number, number]): WalIndexHeader {
  return {
    version: 3007000,
    changeCount: 1,
    bigEndianChecksum: false,
    pageSizeBytes: 4096,
    mxFrame,
    pageCount: 1,
    frameChecksum1: 0,
    frameChecksum2: 0,
    salt1: 0,
    salt2: 0,
    backfilled: 0,
    backfillAttempted: 0,
    readMarks: [0, ...marks],
  };
}

test.each<[string, WalIndexHeader, number[], number | null]>([
  ["the only held one", index(9, 9, UNUSED, UNUSED, UNUSED), [1], 1],
  ["the highest of the held ones", index(9, 3, 9, 5, UNUSED), [1, 2, 3], 2],
  ["the last of equal ones", index(9, 9, 9, UNUSED, UNUSED), [1, 2], 2],
  ["none that no reader holds", index(9, 9, 5, UNUSED, UNUSED), [2], 2],
  ["none beyond mxFrame", index(9, 12, 5, UNUSED, UNUSED), [1, 2], 2],
  ["none that is unused though held", index(9, UNUSED, UNUSED, UNUSED, UNUSED), [1, 2], null],
  ["none without readers", index(9, 9, 9, 9, 9), [], null],
])("readerSlotOrNull finds %s", (_name, header, held, expected) => {
  expect(readerSlotOrNull(header, (slot) => held.includes(slot))).toBe(expected);
});

test.each<[string, WalIndexHeader | null, number | null]>([
  ["the highest mark near the end", index(100, 60, 90, UNUSED, UNUSED), 2],
  ["a mark at the end", index(100, 100, UNUSED, UNUSED, UNUSED), 1],
  ["a mark in the middle of the frames that are not copied", index(100, 50, UNUSED, UNUSED, UNUSED), 1],
  ["none before the middle", index(100, 49, UNUSED, UNUSED, UNUSED), null],
  [
    "none near the end, but before the middle of what is left",
    { ...index(100, 90, 0, 0, 0), backfilled: 85 },
    null,
  ],
  ["none beyond the end", index(100, 101, UNUSED, UNUSED, UNUSED), null],
  ["none of a WAL that is copied", { ...index(100, 100, 0, 0, 0), backfilled: 100 }, null],
  ["none without a wal-index", null, null],
])("recentSlotOrNull finds %s", (_name, header, expected) => {
  expect(recentSlotOrNull(header)).toBe(expected);
});

test("slotsByPreference puts the highest mark first and unused ones last", () => {
  expect(slotsByPreference(index(9, 3, UNUSED, 9, 0))).toEqual([3, 1, 4, 2]);
  expect(slotsByPreference(null)).toEqual([1, 2, 3, 4]);
});
