/** The next step of a push, for each combination of facts, and the object that leads furthest. */
import { describe, expect, test } from "bun:test";
import type { PushPosition } from "../../../src/format/push.ts";
import type { Txid } from "../../../src/format/types.ts";
import {
  continues,
  furthestOrNull,
  nextObjectOrNull,
  type PushFacts,
  planPush,
} from "../../../src/replication/push/plan-push.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";

const range = (level: number, minTxid: number, maxTxid: number): LtxObject => ({
  ...{ key: `${level}/${minTxid}-${maxTxid}`, level, sizeBytes: 1, modifiedMs: 0 },
  ...{ minTxid: minTxid as Txid, maxTxid: maxTxid as Txid },
});
const FILE = range(0, 5, 5);

function stepFor(position: Partial<PushPosition>, change: Partial<PushFacts<LtxObject>> = {}): string {
  const whole: PushPosition = {
    ...{ name: "app", txid: 4, time: null, checksum: "aa", chain: null },
    ...{ state: "ready", reason: null, hasBucket: false },
    ...position,
  };
  const facts = { headTxid: 9, headChecksum: "bb", next: null, isDiverged: false, isShown: false };
  return planPush({ position: whole, ...facts, ...change }).kind;
}

describe("planPush", () => {
  const CASES: readonly (readonly [Parameters<typeof stepFor>[0], Parameters<typeof stepFor>[1], string])[] =
    [
      [{}, { headTxid: 0 }, "idle"],
      [{ txid: 9, checksum: "bb" }, {}, "idle"],
      [{ txid: 9, checksum: null }, {}, "idle"],
      [{ txid: 9 }, { headChecksum: null }, "idle"],
      [{ txid: 9, checksum: "cc" }, { next: FILE }, "foreign"],
      [{ txid: 10 }, { next: FILE }, "foreign"],
      [{ state: "catching-up" }, { next: FILE }, "wait"],
      [{ state: "waiting" }, { next: FILE }, "wait"],
      [{ state: "failing" }, { next: FILE }, "send"],
      [{}, { next: FILE }, "send"],
      [{}, { next: FILE, isDiverged: true }, "from-bucket"],
      [{}, {}, "from-bucket"],
      [{ hasBucket: true }, {}, "show"],
      [{ hasBucket: true, txid: 0 }, { headTxid: 1 }, "show"],
      [{ hasBucket: true, txid: 8 }, {}, "from-bucket"],
      [{ hasBucket: true }, { isShown: true }, "from-bucket"],
      [{ hasBucket: true }, { next: FILE }, "send"],
    ];
  for (const [position, change, kind] of CASES)
    test(`${JSON.stringify(position)} with ${JSON.stringify(change)} is ${kind}`, () =>
      expect(stepFor(position, change)).toBe(kind));
});

describe("furthestOrNull", () => {
  const objects = [
    range(9, 1, 1),
    range(0, 2, 2),
    range(0, 3, 3),
    range(1, 2, 4),
    range(2, 2, 4),
    range(0, 6, 6),
  ];

  test("takes what leads furthest, and of two what overlaps least", () => {
    expect(furthestOrNull(objects, 1)?.key).toBe("1/2-4");
    expect(furthestOrNull([...objects, range(0, 3, 4)], 1)?.key).toBe("1/2-4");
    expect(furthestOrNull([...objects, range(0, 3, 4)], 2)?.key).toBe("0/3-4");
    expect(furthestOrNull(objects, 0)?.key).toBe("9/1-1");
    expect(furthestOrNull(objects, 4)).toBeNull();
    expect(furthestOrNull(objects, 6)).toBeNull();
  });

  test("never continues a replica with a snapshot", () => {
    expect(continues(range(9, 1, 9), 4)).toBe(false);
    expect(continues(range(9, 1, 9), 0)).toBe(true);
  });
});

describe("nextObjectOrNull", () => {
  const objects = [range(9, 1, 1), range(9, 1, 6), range(0, 7, 7), range(1, 3, 4)];

  test("prefers an increment, else takes the newest snapshot beyond the position", () => {
    expect(nextObjectOrNull(objects, 2, false)?.key).toBe("1/3-4");
    expect(nextObjectOrNull(objects, 4, false)?.key).toBe("9/1-6");
    expect(nextObjectOrNull(objects, 6, false)?.key).toBe("0/7-7");
    expect(nextObjectOrNull(objects, 0, false)?.key).toBe("9/1-6");
    expect(nextObjectOrNull(objects, 7, false)).toBeNull();
  });

  test("gives a replica of another history a newer snapshot alone", () => {
    expect(nextObjectOrNull(objects, 2, true)?.key).toBe("9/1-6");
    expect(nextObjectOrNull(objects, 6, true)).toBeNull();
  });
});
