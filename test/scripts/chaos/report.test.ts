/** The report of a chaos run. */
import { expect, test } from "bun:test";
import { failuresOf, formatMtbf, formatReport, type LifeResult } from "../../../scripts/chaos/report.ts";

const OBSERVED = {
  ...{ processes: 6, answers: { dashboard: 15, metrics: 10, health: 7, status: 2 }, unanswered: 1 },
};
const LIFE: LifeResult = {
  ...{ seed: 4, replay: "bun run chaos --minutes 5 --seed 4", livedMs: 300_000 },
  faults: { kill: 3, dns: 1 },
  hits: { "answered 500": 9 },
  ...{ recoveriesMs: [300, 200], stormyRecoveriesMs: [9_000], stormCpuShares: [0.04], calmCpuShares: [0.02] },
  ...{ memoryKillCount: 1, commitCount: 500, checkCount: 4, comparedCount: 16, warnings: [], failures: [] },
  observed: OBSERVED,
};

test("a sound run passes, with a lower bound of the time between failures", () => {
  const report = formatReport([LIFE, { ...LIFE, seed: 5 }], { disk: "no namespace" }, 5_000, "replay of all");
  expect(report).toContain("| 4 | 5.0 | 500 | 4 | 16 | 1 | passed |");
  expect(report).toContain("| recovery after a kill in calm weather, ms | 4 | 200 | 300 | 300 |");
  expect(report).toContain("| CPU while the store refuses everything, % of a core | 2 | 4.0 | 4.0 | 4.0 |");
  expect(report).toContain("Faults: kill 6, dns 2.");
  expect(report).toContain(
    "Judged answers of 12 processes: dashboard 30, metrics 20, health 14, status 4; without an answer 2.",
  );
  expect(formatReport([{ ...LIFE, observed: null }], {}, 5_000, "x")).not.toContain("Judged answers");
  expect(report).toContain("Left out: disk: no namespace.");
  expect(report).toContain("MTBF: more than 10.0 minutes, without a failure.");
  expect(report).toEndWith("PASSED");
});

test("a failure names its seed and the command that repeats it", () => {
  const failed = { ...LIFE, seed: 6, replay: "again", failures: ["LOST: app-1"] };
  expect(failuresOf([LIFE, failed], 5_000)).toEqual(["LOST: app-1\n  Repeat: `again`"]);
  expect(formatMtbf([LIFE, failed])).toBe("MTBF: 10.0 minutes. Seeds that failed: 6.");
  expect(formatReport([failed], {}, 5_000, "x")).toContain("FAILED\n- LOST: app-1\n  Repeat: `again`");
});

test("a slow recovery fails in calm weather, not among other faults", () => {
  expect(failuresOf([LIFE], 5_000)).toEqual([]);
  expect(failuresOf([{ ...LIFE, recoveriesMs: [5_001] }], 5_000)[0]).toStartWith(
    "1 of 1 recoveries took more than",
  );
});
