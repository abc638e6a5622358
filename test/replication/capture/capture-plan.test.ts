/** planCapture: every branch, each with its reason. */
import { describe, expect, test } from "bun:test";
import type { WalPosition } from "../../../src/database/wal/wal-tail.ts";
import type { WalIndexHeader } from "../../../src/format/wal-index.ts";
import { type CaptureInput, planCapture } from "../../../src/replication/capture/capture-plan.ts";

const WAL: WalPosition = { salt1: 11, salt2: 12, frameCount: 7, checksum1: 21, checksum2: 22 };

function indexWith(changes: Partial<WalIndexHeader> = {}): WalIndexHeader {
  return {
    version: 3007000,
    changeCount: 3,
    bigEndianChecksum: false,
    pageSizeBytes: 4096,
    mxFrame: 7,
    pageCount: 5,
    frameChecksum1: 21,
    frameChecksum2: 22,
    salt1: 11,
    salt2: 12,
    backfilled: 0,
    backfillAttempted: 0,
    readMarks: [0, 0, 0, 0, 0],
    ...changes,
  };
}

function inputWith(changes: Partial<CaptureInput> = {}): CaptureInput {
  return {
    wal: WAL,
    pageSizeBytes: 4096,
    index: indexWith(),
    mayRestart: false,
    changeCount: 3,
    pinLost: null,
    ...changes,
  };
}

const EMPTY_WAL: WalPosition = { ...WAL, frameCount: 0 };
const RESTARTED = { salt1: 12, salt2: 99 };

const ROWS: readonly [criterion: string, input: CaptureInput, plan: ReturnType<typeof planCapture>][] = [
  ["nothing new", inputWith(), { action: "nothing", reason: "no new frames" }],
  [
    "a wal-index that is being changed",
    inputWith({ index: null }),
    { action: "nothing", reason: "the wal-index is being changed" },
  ],
  [
    "a pin that was lost, before anything else",
    inputWith({ pinLost: "gone", index: null }),
    { action: "re-anchor", reason: "gone" },
  ],
  [
    "another page size",
    inputWith({ index: indexWith({ pageSizeBytes: 1024 }) }),
    { action: "re-anchor", reason: "page size is 1024, it was 4096" },
  ],
  [
    "a page size in an empty WAL, which means nothing",
    inputWith({ wal: EMPTY_WAL, index: indexWith({ pageSizeBytes: 0, mxFrame: 0 }) }),
    { action: "nothing", reason: "no new frames" },
  ],
  [
    "no position",
    inputWith({ wal: null }),
    { action: "re-anchor", reason: "the position in the WAL is not known" },
  ],
  [
    "new frames",
    inputWith({ index: indexWith({ mxFrame: 9 }) }),
    { action: "increment", after: WAL, reason: "2 new frames" },
  ],
  [
    "the first frames of an empty WAL",
    inputWith({ wal: EMPTY_WAL }),
    { action: "increment", after: EMPTY_WAL, reason: "7 new frames" },
  ],
  [
    "a WAL that became shorter",
    inputWith({ index: indexWith({ mxFrame: 6 }) }),
    { action: "re-anchor", reason: "the WAL ends at frame 6, captured were 7" },
  ],
  [
    "another last frame, by the first half of its checksum",
    inputWith({ index: indexWith({ frameChecksum1: 20 }) }),
    { action: "re-anchor", reason: "frame 7 is not the one that was captured" },
  ],
  [
    "another last frame, by the second half of its checksum",
    inputWith({ index: indexWith({ frameChecksum2: 20 }) }),
    { action: "re-anchor", reason: "frame 7 is not the one that was captured" },
  ],
  [
    "the checksum of an empty WAL, which means nothing",
    inputWith({ wal: EMPTY_WAL, index: indexWith({ mxFrame: 0, frameChecksum1: 0 }) }),
    { action: "nothing", reason: "no new frames" },
  ],
  [
    "a restart that may have lost frames",
    inputWith({ index: indexWith(RESTARTED) }),
    { action: "re-anchor", reason: "the WAL was restarted before all its frames were captured" },
  ],
  [
    "another first salt alone",
    inputWith({ index: indexWith({ salt1: 12 }) }),
    { action: "re-anchor", reason: "the WAL was restarted before all its frames were captured" },
  ],
  [
    "another second salt alone",
    inputWith({ index: indexWith({ salt2: 13 }) }),
    { action: "re-anchor", reason: "the WAL was restarted before all its frames were captured" },
  ],
  [
    "a WAL that began while no watch ran",
    inputWith({ wal: EMPTY_WAL, index: indexWith(RESTARTED) }),
    { action: "re-anchor", reason: "the WAL was started anew while it was not watched" },
  ],
  [
    "a restart after everything was captured",
    inputWith({ mayRestart: true, index: indexWith({ ...RESTARTED, mxFrame: 2 }) }),
    {
      action: "increment",
      after: null,
      reason: "the WAL was restarted after everything was captured",
    },
  ],
  [
    "a restart that has brought nothing yet",
    inputWith({ mayRestart: true, index: indexWith({ ...RESTARTED, mxFrame: 0 }) }),
    { action: "nothing", reason: "the WAL was restarted and is empty" },
  ],
  [
    "a restart after which commits came and the WAL was emptied",
    inputWith({ mayRestart: true, index: indexWith({ ...RESTARTED, mxFrame: 0, changeCount: 5 }) }),
    { action: "re-anchor", reason: "the WAL holds 0 of 2 commits since the last capture" },
  ],
  [
    "a restart of an empty WAL whose count of commits is not known",
    inputWith({ mayRestart: true, changeCount: null, index: indexWith({ ...RESTARTED, mxFrame: 0 }) }),
    { action: "nothing", reason: "the WAL was restarted and is empty" },
  ],
  [
    "a restart from an empty WAL that may be",
    inputWith({ mayRestart: true, wal: EMPTY_WAL, index: indexWith({ ...RESTARTED, mxFrame: 2 }) }),
    {
      action: "increment",
      after: null,
      reason: "the WAL was restarted after everything was captured",
    },
  ],
];

describe("planCapture", () => {
  test.each(ROWS)("planCapture: %s", (_, input, plan) => {
    expect(planCapture(input)).toEqual(plan);
  });
});
