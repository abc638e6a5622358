/** The limit on captured files: a table of removed files, merged files, and stopped databases. */
import { describe, expect, test } from "bun:test";
import {
  isSpoolFull,
  planRelief,
  type SpoolUse,
  selectOverShare,
  totalUse,
} from "../../../src/replication/upload/spool-budget.ts";

const MAX = 1_000;
const use = (pendingBytes: number, sentBytes = 0): SpoolUse => ({ pendingBytes, sentBytes });

describe("planRelief", () => {
  const cases: [string, SpoolUse[], ReturnType<typeof planRelief>][] = [
    ["no database", [], { sentBytesMax: null, isMergeDue: false }],
    ["exactly the limit", [use(600, 400)], { sentBytesMax: null, isMergeDue: false }],
    ["kept files over the limit", [use(500, 501)], { sentBytesMax: 300, isMergeDue: false }],
    ["kept files of two among three", [use(200), use(0, 500), use(0, 500)], relief(300, false)],
    ["pending files alone over the limit", [use(1_001)], { sentBytesMax: 0, isMergeDue: true }],
    ["pending files that leave nothing for kept ones", [use(900, 200)], relief(0, false)],
    ["pending files at the limit beside kept ones", [use(1_000, 1)], relief(0, false)],
    ["both over the limit", [use(700, 50), use(400, 50)], relief(0, true)],
  ];
  for (const [title, uses, expected] of cases) {
    test(title, () => expect(planRelief(uses, MAX)).toEqual(expected));
  }

  function relief(sentBytesMax: number, isMergeDue: boolean): ReturnType<typeof planRelief> {
    return { sentBytesMax, isMergeDue };
  }
});

describe("isSpoolFull", () => {
  const cases: [SpoolUse, boolean, boolean][] = [
    [use(1_000), false, false],
    [use(1_001), false, true],
    [use(600, 401), false, true],
    [use(801), true, true],
    [use(800), true, false],
    [use(400, 400), true, false],
    [use(0), true, false],
  ];
  for (const [total, wasFull, expected] of cases) {
    const title = `${total.pendingBytes} and ${total.sentBytes} of ${MAX}, ${wasFull ? "full" : "not full"}`;
    test(title, () => expect(isSpoolFull(total, MAX, wasFull)).toBe(expected));
  }
});

describe("selectOverShare", () => {
  const cases: [string, SpoolUse[], number[]][] = [
    ["one that holds all", [use(1_001)], [0]],
    ["the large one of two", [use(900), use(101)], [0]],
    ["nobody at an equal share", [use(400), use(400)], []],
    ["kept files count for the total, not for a share", [use(300, 900), use(500)], [1]],
    ["everybody past twice the limit", [use(2_001), use(0)], [0, 1]],
    ["not yet everybody at twice the limit", [use(2_000), use(0)], [0]],
  ];
  for (const [title, uses, expected] of cases) {
    test(title, () => {
      const over = selectOverShare([...uses.keys()], (index) => uses[index]!, MAX);
      expect([...over]).toEqual(expected);
    });
  }
});

test("totalUse adds pending and retained bytes separately", () => {
  expect(totalUse([use(1, 10), use(2, 20)])).toEqual(use(3, 30));
});
