/**
 * Figures, curve and report of a soak, and the readers behind them. The readings come from a run of three
 * minutes; a leak is added to the readings of a sound run, so that the judgement is seen to fail.
 */
import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { sizeOfFolder } from "../../../scripts/measure/folders.ts";
import { parseMetrics } from "../../../scripts/measure/metrics.ts";
import { findingsOf } from "../../../scripts/measure/restores.ts";
import { addCounts } from "../../../scripts/soak/application.ts";
import { FIGURES, judgeReadings, type Reading, sliceReadings } from "../../../scripts/soak/figures.ts";
import { failuresOf, formatReport, type SoakResult } from "../../../scripts/soak/report.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { tempFolder } from "../../support/temp.ts";

const MINUTE_MS = 60_000;
/** Index of the threads in FIGURES. */
const THREADS = FIGURES.findIndex(({ label }) => label === "threads");
const ACTIONS = { commit: 9, large: 1, vacuum: 1, reopen: 1, checkpoint: 2, blocked: 0, busy: 0 };

/** Readings every 3 s of a sound process; `leak` adds to each by its minute. */
function readings(minutes: number, leak: (minute: number) => Partial<Reading> = () => ({})): Reading[] {
  const random = seededRandom(5);
  return Array.from({ length: minutes * 20 }, (_, index): Reading => {
    const atMs = index * 3_000;
    const minute = atMs / MINUTE_MS;
    const sound: Reading = {
      ...{ atMs, rssBytes: 60e6 + 8e6 * random(), anonymousBytes: 30e6 + 8e6 * random(), pssBytes: 62e6 },
      ...{ descriptorCount: 140 + Math.floor(8 * random()), threadCount: 9, cpuMs: index * 300 },
      ...{
        spoolBytes: 4e6 + 2e6 * random(),
        sentBytes: 90e6 * ((minute / 10) % 1),
        walBytes: 50e6,
        lagSeconds: random(),
        pendingCount: 3,
      },
      ...{ incrementCount: index * 60, snapshotCount: index, mergeCount: index * 2, events: { failures: 1 } },
      ...{ requests: { get: index }, faults: { reset: index } },
    };
    return { ...sound, ...leak(minute) };
  });
}

function resultOf(all: readonly Reading[], minutes: number, failures: readonly string[] = []): SoakResult {
  return {
    replay: "bun run soak --seed 1",
    readings: all,
    episodes: [
      { kind: "outage", startMs: 30_000, endMs: 60_000, share: 1, delayMs: 0 },
      { kind: "stall", startMs: 31_000, endMs: 60_000, share: 1, delayMs: 0 },
      { kind: "stall", startMs: 40_000, endMs: 60_000, share: 1, delayMs: 0 },
    ],
    ...{ durationMs: minutes * MINUTE_MS, warmUpMs: MINUTE_MS, actions: ACTIONS },
    judgements: judgeReadings(all, MINUTE_MS),
    restores: { restoredCount: 50, failures, warnings: ["soak-004: WARNING a"] },
    ...{ observed: null, violations: [] },
  };
}

describe("the judgement", () => {
  test("passes a sound run", () => {
    const result = resultOf(readings(45), 45);
    expect(failuresOf(result)).toEqual([]);
    expect(result.judgements).toHaveLength(FIGURES.length);
    expect(formatReport(result)).toEndWith("verify: soak-004: WARNING a\n\nPASSED");
  });

  test.each<[string, string, (minute: number) => Partial<Reading>]>([
    [
      "1 KB an increment",
      "anonymous memory",
      (minute) => ({ anonymousBytes: 30e6 + minute * 1_200 * 1_024 }),
    ],
    ["a descriptor a minute", "descriptors", (minute) => ({ descriptorCount: 140 + Math.floor(minute) })],
    ["a thread in ten minutes", "threads", (minute) => ({ threadCount: 9 + Math.floor(minute / 10) })],
    ["local files that stay", "local files", (minute) => ({ spoolBytes: 4e6 + minute * 3e5 })],
    ["uploaded copies beyond their limit", "uploaded copies", (minute) => ({ sentBytes: minute * 3e6 })],
    ["a backlog", "captures waiting", (minute) => ({ pendingCount: 3 + minute })],
    ["a watch that falls behind", "lag", (minute) => ({ lagSeconds: minute / 4 })],
  ])("fails for %s within 45 minutes", (_leak, label, leak) => {
    const failures = failuresOf(resultOf(readings(45, leak), 45));
    expect(failures.map((text) => text.split(":")[0])).toEqual([label]);
    expect(failures[0]).toContain("grows by");
  });

  test("fails for a wrong restore, and for a run without verdicts", () => {
    expect(failuresOf(resultOf(readings(45), 45, ["restore of soak-001: differs"]))).toEqual([
      "restore of soak-001: differs",
    ]);
    const short = failuresOf(resultOf(readings(1), 1));
    expect(short.join("\n")).not.toBe("");
    expect(formatReport(resultOf(readings(1), 1))).toContain("FAILED\n- ");
  });

  test("fails for a broken rule of an observed page, and counts the answers", () => {
    const answers = { dashboard: 300, metrics: 120, health: 60, status: 30 };
    const observed = { processes: 1, answers, unanswered: 4 };
    const result = { ...resultOf(readings(45), 45), observed, violations: ["OBSERVED: health: x"] };
    expect(failuresOf(result)).toEqual(["OBSERVED: health: x"]);
    expect(formatReport(result)).toContain(
      "Judged answers of 1 processes: dashboard 300, metrics 120, health 60, status 30; without an answer 4.",
    );
  });

  test("a short run tolerates twice the growth of memory, and no more of other figures", () => {
    const kinds = (minutes: number): string[] => {
      const growing = readings(minutes, (minute) => ({
        anonymousBytes: 30e6 + (30e6 * minute) / minutes,
        descriptorCount: 140 + Math.floor((20 * minute) / minutes),
      }));
      return failuresOf(resultOf(growing, minutes)).map((text) => text.split(":")[0]!);
    };
    expect(kinds(10)).toEqual(["descriptors"]);
    expect(kinds(45)).toEqual(["anonymous memory", "descriptors"]);
  });

  test("does not judge the warm-up, nor Pss without permission to read it", () => {
    const hot = readings(10, (minute) => (minute < 1 ? { rssBytes: 500e6 } : {}));
    expect(failuresOf(resultOf(hot, 10))).toEqual([]);
    const withoutPss = readings(10).map(({ pssBytes: _pss, ...rest }) => rest);
    expect(judgeReadings(withoutPss, MINUTE_MS).map(({ figure }) => figure.label)).not.toContain("Pss");
  });
});

describe("the curve", () => {
  test("sliceReadings takes medians, and counts from slice to slice without a gap", () => {
    const slices = sliceReadings(readings(12), [], 12 * MINUTE_MS, 12);
    expect(slices).toHaveLength(12);
    expect(slices.slice(1).map(({ incrementCount }) => incrementCount)).toEqual(Array(11).fill(20 * 60));
    expect(slices[3]).toMatchObject({ untilMs: 4 * MINUTE_MS, snapshotCount: 20, requestCount: 20 });
    expect(slices[3]!.medians[THREADS]).toBe(9);
  });

  test("formatReport shows a row for each slice, with its fault episodes", () => {
    const lines = formatReport(resultOf(readings(12), 12)).split("\n");
    expect(lines[0]).toBe("Replay: `bun run soak --seed 1`");
    const rows = lines.filter((line) => /^\| \d/.test(line));
    expect(rows).toHaveLength(12);
    expect(rows[0]).toContain("(outage, 2 stall)");
    expect(rows[0]).toStartWith("| 1.0 | ");
  });
});

test("findingsOf takes the findings of `walrust verify` with their databases", () => {
  const output = [
    "soak-001 in s3://bench/soak",
    "  5 objects (1 KB), 1 snapshot, TXID 1 to 5",
    "soak-001: ok",
    "soak-002 in s3://bench/soak",
    "  WARNING unreachable-object: soak-002/0001/1-2.ltx no restore can use the object",
    "  ERROR chain: broken",
    "soak-002: 1 error",
  ].join("\n");
  expect(findingsOf(output)).toEqual([
    "soak-002: WARNING unreachable-object: soak-002/0001/1-2.ltx no restore can use the object",
    "soak-002: ERROR chain: broken",
  ]);
});

test("parseMetrics adds the databases, and takes the longest lag", () => {
  const text = [
    "# HELP walrust_up 1 while walrust watches.",
    "walrust_up 1",
    'walrust_uploads_total{kind="increment"} 12',
    'walrust_uploads_total{kind="snapshot"} 4',
    "walrust_snapshot_count 4",
    "walrust_compaction_total 5",
    "walrust_re_anchor_total 6",
    'walrust_lag_seconds{db="a"} 0.5',
    'walrust_lag_seconds{db="b"} 2.25',
    'walrust_cache_pending_uploads{db="a"} 1',
    'walrust_cache_pending_uploads{db="b"} 2',
    'walrust_errors_total{db="a",type="storage"} 2',
    'walrust_errors_total{db="b",type="storage"} 1',
  ].join("\n");
  expect(parseMetrics(text)).toMatchObject({
    ...{ lagSeconds: 2.25, pendingCount: 3, incrementCount: 12, snapshotCount: 4, mergeCount: 5 },
    events: { "re-anchors": 6, failures: 3, "open breakers": 0 },
  });
  expect(() => parseMetrics("404")).toThrow("The watch has no metrics: 404");
});

test("sizeOfFolder adds the files at every depth, and only those that pass", () => {
  const folder = tempFolder("sizes");
  mkdirSync(join(folder, "a", "b"), { recursive: true });
  writeFileSync(join(folder, "app.db"), "12");
  writeFileSync(join(folder, "a", "b", "app.db-wal"), "12345");
  expect(sizeOfFolder(folder, () => true)).toBe(7);
  expect(sizeOfFolder(folder, (path) => path.endsWith("-wal"))).toBe(5);
});

test("addCounts adds the counts of all processes", () => {
  expect(addCounts([ACTIONS, { ...ACTIONS, commit: 1 }])).toEqual({
    ...{ commit: 10, large: 2, vacuum: 2, reopen: 2, checkpoint: 4, blocked: 0, busy: 0 },
  });
});
