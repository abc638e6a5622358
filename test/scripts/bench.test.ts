/**
 * The pure parts of the benchmark: its readers of /proc and of the gateway's log, and its tables. The sample
 * texts come from Linux 6.18 and versitygw 1.8.0.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assertSame, createDatabase, firstDifference } from "../../scripts/bench/databases.ts";
import { parseAccessLog } from "../../scripts/bench/gateway.ts";
import { parseBusyMs, parseCpuMs, parseStatus } from "../../scripts/bench/proc.ts";
import { formatTables, type Measurement } from "../../scripts/bench/results.ts";
import { median, quantile } from "../../scripts/bench/statistics.ts";

const folder = mkdtempSync(join(tmpdir(), "walrust-bench-test-"));
afterAll(() => rmSync(folder, { recursive: true }));

function fileOf(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

describe("proc", () => {
  const STATUS =
    "Name:\twalrust\nVmHWM:\t   61232 kB\nVmRSS:\t   59000 kB\nRssAnon:\t   11000 kB\nThreads:\t7\n";

  test("parseStatus reads kB as bytes", () => {
    expect(parseStatus(STATUS)).toEqual({
      rssBytes: 59_000 * 1024,
      anonymousBytes: 11_000 * 1024,
      peakRssBytes: 61_232 * 1024,
      threadCount: 7,
    });
  });

  test("parseStatus rejects a zombie, which has no memory", () => {
    expect(() => parseStatus("Name:\twalrust\nState:\tZ (zombie)\nThreads:\t1\n")).toThrow("no VmRSS");
  });

  test("parseCpuMs adds utime and stime, for any name of the process", () => {
    expect(parseCpuMs("77 (a) R 1 (b) S 1 77 77 0 -1 4194560 1 2 3 4 150 25 0 0 20 0 7 0 1")).toBe(1750);
  });

  test("parseBusyMs omits idle and iowait", () => {
    expect(parseBusyMs("cpu  10 1 5 9000 800 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")).toBe(250);
  });
});

describe("parseAccessLog", () => {
  const line = (operation: string, key: string, status: number): string =>
    `test bench [21/November/2026:01:30:40 +0000] 127.0.0.1 test 4J8B4VWKG4QE9L9L s3_${operation} ${key} ` +
    `/bench/${key} ${status} - 0 3350 3 3 - Bun/1.4.5 - D3D= SigV4 - AuthHeader s3.amazonaws.com - arn Yes\n`;
  const OBJECT = "0000000000000002-0000000000000002.ltx";

  test("counts by operation, and counts the level-0 objects written", () => {
    const text =
      line("PutObject", `walrust/db/0000/${OBJECT}`, 200) +
      line("PutObject", `walrust/db/0009/${OBJECT}`, 200) +
      line("PutObject", "walrust/db/manifest.json", 200) +
      line("ListObjectsV2", "-", 200) +
      line("PutObject", `walrust/db/0000/${OBJECT}`, 412);
    expect(parseAccessLog(text)).toEqual({
      byKind: { PutObject: 3, ListObjectsV2: 1, "PutObject:412": 1 },
      incrementCount: 1,
    });
  });

  test("an empty log counts nothing", () => {
    expect(parseAccessLog("")).toEqual({ byKind: {}, incrementCount: 0 });
  });
});

describe("firstDifference", () => {
  const bytes = new Uint8Array(3 << 20).fill(7);

  test("finds nothing between equal files", () => {
    expect(firstDifference(fileOf("a", bytes), fileOf("b", bytes))).toBeNull();
  });

  test.each([0, 4095, 1 << 20, (3 << 20) - 1])("finds the one changed byte at %d", (offset) => {
    const changed = bytes.slice();
    changed[offset] = 8;
    expect(firstDifference(fileOf("a", bytes), fileOf("b", changed))).toBe(offset);
  });

  test("finds a missing end", () => {
    expect(firstDifference(fileOf("a", bytes), fileOf("b", bytes.subarray(0, 5000)))).toBe(5000);
  });

  test("assertSame rejects a restored database with one changed byte", async () => {
    const source = join(folder, "source.db");
    createDatabase(source, 100_000, 1);
    const restored = await Bun.file(source).bytes();
    assertSame(source, fileOf("same.db", restored));
    restored[50_000]! ^= 1;
    expect(() => assertSame(source, fileOf("changed.db", restored))).toThrow("from byte 50000");
  });
});

describe("results", () => {
  const one = (tool: "walrust" | "litestream", lagP50Ms: number): Measurement => ({
    ...{ case: "lag", tool, setting: "x" },
    values: { lagP50Ms, lagP95Ms: 2000, commitCount: 40 },
  });

  test("formatTables shows units, the median of rounds and the ratio", () => {
    const table = formatTables([
      one("walrust", 9),
      one("walrust", 50),
      one("walrust", 60),
      one("litestream", 500),
    ]);
    expect(table).toContain("| lag: x, median of 3 rounds | walrust | Litestream | ratio |");
    expect(table).toContain("| commit → object, p50 | 50 ms | 500 ms | 0.1 |");
    expect(table).toContain("| commit → object, p95 | 2.00 s | 2.00 s | 1 |");
    expect(table).toContain("| commits | 40 | 40 |  |");
    expect(table).toContain("| commit → object, longest | – | – |  |");
  });

  test("quantile takes the nearest rank", () => {
    const sorted = Array.from({ length: 40 }, (_, index) => index + 1);
    expect([0.5, 0.95, 1].map((share) => quantile(sorted, share))).toEqual([20, 38, 40]);
    expect(median([3, 1, 2])).toBe(2);
    expect(quantile([], 0.5)).toBeNaN();
  });
});
