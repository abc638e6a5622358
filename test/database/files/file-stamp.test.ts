/** The detector of foreign writes, beside checkpoints of SQLite that come at any moment. */
import { afterEach, beforeEach, expect, test } from "bun:test";
import { closeSync, openSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { OverwriteDetector } from "../../../src/database/files/file-stamp.ts";
import type { WalIndexHeader } from "../../../src/format/wal-index.ts";
import { tempFolder } from "../../support/temp.ts";

const path = join(tempFolder("stamp"), "app.db");
let fd = -1;
let timeS = 1_000_000;

beforeEach(() => {
  fd = openSync(path, "w+");
  written();
});
afterEach(() => closeSync(fd));

/** Gives the file another time, as a write does. */
function written(): void {
  timeS++;
  utimesSync(path, timeS, timeS);
}

function indexAt(backfilled: number): WalIndexHeader {
  return { salt1: 1, salt2: 2, backfilled, backfillAttempted: backfilled } as WalIndexHeader;
}

test("OverwriteDetector finds a write without a checkpoint", () => {
  const detector = new OverwriteDetector();
  detector.accept(fd, indexAt(5));
  expect(detector.check(fd, false, () => indexAt(5))).toBeFalse();
  written();
  expect(detector.check(fd, false, () => indexAt(5))).toBeTrue();
});

test("OverwriteDetector takes no checkpoint for a foreign write, between any two of its own steps", () => {
  for (const checkpointAt of [0, 1]) {
    const detector = new OverwriteDetector();
    detector.accept(fd, indexAt(5));
    let readings = 0;
    let backfilled = 5;
    const reading = (): WalIndexHeader => {
      if (readings++ === checkpointAt || backfilled > 5) {
        // A whole checkpoint, after the stamp was taken.
        written();
        backfilled++;
      }
      return indexAt(backfilled);
    };
    expect(detector.check(fd, false, reading)).toBeFalse();
    expect([checkpointAt, detector.check(fd, false, () => indexAt(backfilled))]).toEqual([
      checkpointAt,
      false,
    ]);
    written();
    expect(detector.check(fd, false, () => indexAt(backfilled))).toBeTrue();
  }
});
