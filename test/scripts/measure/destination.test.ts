/** The listing of a drill's destination, and the faults in a history. */
import { expect, test } from "bun:test";
import { historyFaultOrNull, parseKeys } from "../../../scripts/measure/storage/destination.ts";

const key = (level: string, min: number, max: number): string =>
  `p/app/${level}/${min.toString(16).padStart(16, "0")}-${max.toString(16).padStart(16, "0")}.ltx`;

test("parseKeys takes the objects of both layouts in order, and no other key", () => {
  const keys = [
    ...[key("0009", 1, 1), key("0000", 16, 17), key("0000", 2, 15)],
    ...["p/app/manifest.json", `${key("0000", 2, 15)}.meta.json`, `ltx/${key("0", 18, 18).slice(6)}`],
  ];
  expect(parseKeys(keys)).toEqual([
    { level: 0, minTxid: 2, maxTxid: 15 },
    { level: 0, minTxid: 16, maxTxid: 17 },
    { level: 0, minTxid: 18, maxTxid: 18 },
    { level: 9, minTxid: 1, maxTxid: 1 },
  ]);
});

test.each<[string, string[], string | null]>([
  ["a chain", [key("0000", 2, 4), key("0000", 5, 5)], null],
  ["a beginning that retention removed", [key("0009", 1, 1), key("0000", 9, 9)], null],
  ["a gap", [key("0000", 2, 4), key("0000", 6, 6)], "TXID 6 follows 4 on level 0"],
  ["an overlap", [key("0000", 2, 4), key("0000", 4, 6)], "TXID 4 follows 4 on level 0"],
])("historyFaultOrNull: %s", (_name, keys, fault) => {
  expect(historyFaultOrNull(parseKeys(keys))).toBe(fault);
});
