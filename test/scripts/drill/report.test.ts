/** The report of the drill. */
import { expect, test } from "bun:test";
import { failuresOf, formatReport, type LaneResult } from "../../../scripts/drill/report.ts";

const OBSERVED = {
  ...{ processes: 12, answers: { dashboard: 30, metrics: 20, health: 14, status: 3 }, unanswered: 2 },
};
const NO_KILLS = { killed: 0, finished: 0 };
const LANE: LaneResult = {
  label: "folder",
  kills: { starting: 3, working: 7 },
  writerKillCount: 2,
  recoveriesMs: [400, 100, 300, 200],
  ...{ commitCount: 900, objectCount: 80, checkCount: 1, comparedCount: 4 },
  verbs: {
    restore: { killed: 2, finished: 1 },
    "restore --force": NO_KILLS,
    ...{ snapshot: NO_KILLS, compact: NO_KILLS, replicate: NO_KILLS },
  },
  temporaryObjectCount: 3,
  observed: OBSERVED,
  failures: [],
};

test("a sound drill passes, with the percentiles of its recoveries", () => {
  expect(failuresOf([LANE], 5_000)).toEqual([]);
  const report = formatReport([LANE], 5_000, "bun run drill --seed 1");
  expect(report).toContain("| folder | 3 | 7 | 2 | 900 | 80 | 200 | 400 | 400 | 1 | 4 |");
  expect(report).toContain("| folder | restore | 2 | 1 |");
  expect(report).toContain("folder: 3 warnings of verify.");
  const answers = "dashboard 30, metrics 20, health 14, status 3; without an answer 2.";
  expect(report).toContain(`folder: Judged answers of 12 processes: ${answers}`);
  expect(formatReport([{ ...LANE, observed: null }], 5_000, "x")).not.toContain("Judged answers");
  expect(report).toEndWith("PASSED");
});

test("a slow recovery and any failure fail the drill", () => {
  const failed = { ...LANE, recoveriesMs: [100, 5_001], failures: ["LOST: app-1"] };
  expect(failuresOf([LANE, failed], 5_000)).toEqual([
    "folder: LOST: app-1",
    "folder: 1 of 2 recoveries took more than 5000 ms",
  ]);
  expect(formatReport([failed], 5_000, "x")).toContain("FAILED\n- folder: LOST: app-1\n- folder: 1 of 2");
});
