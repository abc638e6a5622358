/** The text of `walrust status`, at 3 and at 500 databases. */
import { expect, test } from "bun:test";
import { judgeWatches } from "../../../src/commands/status/judged-watches.ts";
import { ageText, statusLines } from "../../../src/commands/status/status-text.ts";
import type { ReportedDatabase } from "../../../src/replication/watch/watch-report.ts";
import { answerOf, reportedOf, watchStatusOf } from "./status-samples.ts";

const NOW_MS = 3_600_000;

function linesOf(databases: readonly ReportedDatabase[], isWhole = false): string[] {
  const judged = judgeWatches([answerOf(watchStatusOf({ databases }))], { names: [], location: null });
  return statusLines(judged, { nowMs: NOW_MS, isWhole });
}

function many(count: number, overrides: Partial<ReportedDatabase> = {}, prefix = "db"): ReportedDatabase[] {
  return Array.from({ length: count }, (_, index) =>
    reportedOf({ database: `${prefix}-${String(index).padStart(3, "0")}`, ...overrides }),
  );
}

const STOPPED = {
  state: "stopped",
  failure: { code: "foreign-writer", message: "Another writer", hint: "Stop the other one" },
} as const;

test("three databases are a table below the problems", () => {
  const validation = { status: "ok", timeMs: NOW_MS - 90_000 } as const;
  const lines = linesOf([
    reportedOf({ database: "shop", ...STOPPED, walBytes: null }),
    reportedOf({ database: "users", validation, listedTimeMs: NOW_MS - 30_000 }),
    reportedOf({ database: "orders", lagMs: 12_340, pendingCount: 3, pendingBytes: 2_048, snapshot: null }),
  ]);
  expect(lines).toEqual([
    "s3://memory (pid 1, 1.2.3, up 1 h): UNHEALTHY, 3 databases, 1 unhealthy, 1 degraded",
    "",
    "  UNHEALTHY: shop",
    "    stopped: Another writer",
    "    → Stop the other one",
    "  degraded: orders",
    "    the store is up to 12.3 s behind, more than 10 sync intervals (10 s)",
    "    → Check the network and the store; `walrust doctor` tries both",
    "",
    "  DATABASE  STATE    LAG   PENDING      TXID  UPLOADED  WAL      SNAPSHOT  LISTED    VALIDATED",
    "  shop      stopped  -     0            12    12        -        1 h ago   -         -",
    "  orders    syncing  12 s  3 (2.00 KB)  12    12        4.05 KB  -         -         -",
    "  users     syncing  0     0            12    12        4.05 KB  1 h ago   30 s ago  ok, 1 min ago",
  ]);
});

test("a database that cannot be watched has no TXID and no lag that nobody knows", () => {
  const failure = { code: "not-wal", message: "app.db is not in WAL mode", hint: null };
  const unknown = {
    state: "failing",
    failure,
    txid: 0,
    uploadedTxid: 0,
    snapshot: null,
    walBytes: null,
  } as const;
  const rows = linesOf([
    reportedOf({ database: "one", ...unknown }),
    reportedOf({ database: "two", ...unknown, txid: 7, lagMs: null }),
  ]);
  expect(rows.slice(-2)).toEqual([
    "  one       failing  -    0        -     -         -    -         -       -",
    "  two       failing  -    0        7     -         -    -         -       -",
  ]);
  const away = { ...failure, code: "storage" };
  expect(linesOf([reportedOf({ state: "failing", failure: away })]).at(-1)).toContain("failing  0 ");
});

test("where no watch was asked for, the text says what runs instead", () => {
  const textOf = (answers: Parameters<typeof judgeWatches>[0], names: string[], location: string | null) =>
    statusLines(judgeWatches(answers, { names, location }), { nowMs: NOW_MS, isWhole: false });
  const running = [answerOf(watchStatusOf())];
  expect(textOf([], [], null)[0]).toBe("No watch of this user runs on this machine.");
  expect(textOf(running, [], "s3://other")).toEqual([
    "No watch of this user replicates to the destination of -b or walrust.toml.",
    "  Watches of this user replicate to: s3://memory",
  ]);
  expect(textOf(running, ["other"], null)[0]).toBe("No watch of this user replicates other.");
});

test("of 500 databases, the problems are listed and the healthy ones are counted", () => {
  const lines = linesOf([...many(497), ...many(3, STOPPED, "bad")]);
  expect(lines.length).toBeLessThan(20);
  expect(lines.filter((line) => line.startsWith("  bad-"))).toHaveLength(3);
  expect(lines).toContain("  UNHEALTHY: bad-000, bad-001, bad-002");
  expect(lines.at(-1)).toBe("  497 databases not listed: give names, or --all");
  expect(linesOf(many(500), true)).toHaveLength(503);
  expect(linesOf(many(500))).toHaveLength(3);
});

test("500 databases with one problem are one entry, and twenty rows", () => {
  const lines = linesOf(many(500, STOPPED));
  expect(lines).toContain("  UNHEALTHY: db-000, db-001, db-002, db-003, db-004 and 495 more");
  expect(lines.filter((line) => line.startsWith("  db-"))).toHaveLength(20);
  expect(lines.at(-1)).toBe("  480 databases not listed: give names, or --all");
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(120);
});

test("a name cannot break a line", () => {
  const lines = linesOf([reportedOf({ database: "a\nb\u001b[2J", ...STOPPED })]);
  for (const line of lines) expect(/\p{Cc}/u.test(line)).toBe(false);
});

test("without a watch, or without one of the names, the text says what to do", () => {
  const none = judgeWatches([], { names: ["app"], location: null });
  expect(statusLines(none, { nowMs: NOW_MS, isWhole: true })).toEqual([
    "No watch of this user runs on this machine.",
    "  Start `walrust watch`, or run `walrust status` as the user of the watch",
    "",
    "No watch of this user replicates app.",
    "  `walrust status` without a name lists the databases of all watches",
  ]);
});

test.each([
  [0, "0 s"],
  [40, "0 s"],
  [1_250, "1.3 s"],
  [59_999, "59 s"],
  [60_000, "1 min"],
  [3_599_999, "59 min"],
  [7_200_000, "2 h"],
  [86_400_000 * 3, "3 d"],
])("ageText of %d ms is %s", (durationMs, text) => {
  expect(ageText(durationMs)).toBe(text);
});
