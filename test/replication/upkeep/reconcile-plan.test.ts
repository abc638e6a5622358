/** Whether a listing leads to the acknowledged TXID, and which unfinished uploads have no owner. */
import { describe, expect, test } from "bun:test";
import { objectKey } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { planRestore } from "../../../src/recovery/plan/restore-plan.ts";
import {
  checkHistory,
  historyProblemOrNull,
  planAbandoned,
} from "../../../src/replication/upkeep/reconcile-plan.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { seededRandom } from "../../support/seeded-random.ts";

const HOUR_MS = 3_600_000;

function object(level: number, minTxid: number, maxTxid: number): LtxObject {
  const key = objectKey("s3", "app", level, minTxid as Txid, maxTxid as Txid);
  return { key, level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, sizeBytes: 100, modifiedMs: 0 };
}

/** "9/1-4 0/5-5" as objects. */
function objects(text: string): LtxObject[] {
  const words = text.split(" ").filter((word) => word !== "");
  return words.map((word) => object(...(word.split(/[/-]/).map(Number) as [number, number, number])));
}

describe("checkHistory", () => {
  test.each([
    ["", 0, null],
    ["9/1-1", 1, null],
    ["9/1-1 0/2-2 0/3-3", 3, null],
    ["9/1-3 0/2-2 0/4-4", 4, null],
    ["9/1-1 9/1-3 0/4-4", 4, null],
    ["9/1-1 1/2-4 0/5-5", 5, null],
    ["9/1-3 1/2-5", 5, null],
    // TXID 9 lies above the acknowledged TXID, because its upload is in progress.
    ["9/1-1 0/2-2 0/9-9", 2, null],
    ["", 5, "holds no snapshot"],
    ["0/2-2 0/3-3", 3, "holds no snapshot"],
    ["9/1-1 0/3-3", 3, "lacks TXID 2 to 2"],
    ["9/1-1 9/1-3 0/6-6 0/7-7", 7, "lacks TXID 4 to 5"],
    ["9/1-1 0/2-2", 4, "lacks TXID 3 to 4"],
  ])("judges %p with TXID %p acknowledged", (text, acknowledged, problem) => {
    const found = historyProblemOrNull(checkHistory(objects(text), acknowledged), acknowledged);
    if (problem === null) expect(found).toBeNull();
    else expect(found).toContain(problem);
  });

  test("agrees with the plan of a restore, for any listing", () => {
    const random = seededRandom(7);
    const below = (limit: number): number => Math.floor(random() * limit);
    for (let round = 0; round < 3_000; round++) {
      const listed: LtxObject[] = [];
      for (let count = below(8); count > 0; count--) {
        const minTxid = 1 + below(9);
        listed.push(object(minTxid === 1 ? 9 : below(3), minTxid, minTxid + below(4)));
      }
      const newest = Math.max(0, ...listed.map(({ maxTxid }) => maxTxid));
      const isSound = checkHistory(listed, newest).kind === "sound";
      expect([listed.map(({ key }) => key), isSound]).toEqual([
        listed.map(({ key }) => key),
        newest === 0 || planRestore(listed, null).kind === "plan",
      ]);
    }
  });
});

describe("planAbandoned", () => {
  const upload = (key: string, ageMs: number) => ({ key, uploadId: key, initiatedMs: 1e12 - ageMs });
  const keyOf = (level: number, minTxid: number, maxTxid: number): string =>
    object(level, minTxid, maxTxid).key;
  const facts = {
    layout: "s3",
    name: "app",
    keys: new Set([keyOf(9, 1, 4)]),
    acknowledgedTxid: 10,
    isOurs: true,
    nowMs: 1e12,
  } as const;

  test.each([
    ["of a key that is there", upload(keyOf(9, 1, 4), 0), true],
    ["of our own, an hour old", upload(keyOf(9, 1, 8), HOUR_MS), true],
    ["that may have begun just now", upload(keyOf(9, 1, 8), HOUR_MS - 1), false],
    ["beyond what is acknowledged: perhaps another writer's", upload(keyOf(0, 11, 11), 100 * HOUR_MS), false],
    ["that is a week old", upload(keyOf(0, 11, 11), 168 * HOUR_MS), true],
    ["of a database below this one", upload(`app/${keyOf(9, 1, 4)}`, 1e11), false],
    ["that is no LTX object", upload("app/backup.tar", 1e11), false],
  ])("judges one %s", (_, one, isAbandoned) => {
    expect(planAbandoned([one], facts).length).toBe(isAbandoned ? 1 : 0);
  });

  test("keeps uploads that may be another writer's, except those that cannot complete", () => {
    const uploads = [upload(keyOf(9, 1, 8), 100 * HOUR_MS), upload(keyOf(9, 1, 4), 0)];
    expect(planAbandoned(uploads, { ...facts, isOurs: false })).toEqual([uploads[1]!]);
  });
});
