/** The document of the dashboard: rows, sums, and problems with their remedies. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Condition } from "../../src/errors.ts";
import type { DashboardDocument } from "../../src/observability/dashboard/dashboard-document.ts";
import { DashboardSource } from "../../src/observability/dashboard-source.ts";
import { healthReport } from "../../src/observability/health.ts";
import { Tally } from "../../src/observability/tally.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { tempFolder } from "../support/temp.ts";
import { ManualTime, START_MS } from "./manual-time.ts";
import { failed, failingWith, statusOf, uploaded } from "./samples.ts";

/** The document of a watch with these databases, 10 minutes after its start and 30 s after an upload. */
function documentOf(
  statuses: readonly DatabaseStatus[],
  storeConditions: readonly Condition[] = [],
): DashboardDocument {
  const time = new ManualTime();
  const tally = new Tally(time.env);
  time.pass(570_000);
  tally.observe(uploaded());
  for (const { database, failure } of statuses) if (failure) tally.observe(failed(failure.code, database));
  time.pass(30_000);
  const health = healthReport(statuses, {
    version: "0.4.0",
    uptimeMs: 600_000,
    lastUploadTimeMs: tally.lastUploadTimeMs,
    sinceUploadMs: tally.sinceUploadMs(),
    failingMs: (database) => tally.failingMs(database),
    errorsLastHour: (database) => tally.errorsLastHour(database),
    storeConditions,
  });
  return new DashboardSource(time.env).document({ statuses, health, tally });
}

/** Code, health and database of each problem. */
function problemsOf(document: DashboardDocument): string[] {
  return document.problems.map(({ code, health, database }) => `${code} ${health} ${database}`);
}

describe("DashboardSource.document", () => {
  test("has the facts of the process and of the store", () => {
    expect(documentOf([statusOf()])).toMatchObject({
      version: "0.4.0",
      hostname: hostname(),
      time: new Date(START_MS + 600_000).toISOString(),
      uptime_seconds: 600,
      status: "healthy",
      reasons: [],
      store: { connected: true, last_upload_age_seconds: 30 },
      problems: [],
    });
    expect(documentOf([]).databases).toEqual([]);
  });

  test("has one row a database, in the order of the columns", () => {
    const path = join(tempFolder("dashboard"), "app.db");
    writeFileSync(`${path}-wal`, "x".repeat(4_152));
    const document = documentOf([
      statusOf({ path, txid: 9, uploadedTxid: 7, pendingCount: 2, pendingBytes: 900, lagMs: 1_234 }),
      statusOf({ database: "new", state: "starting", uploadedTimeMs: null, snapshotTimeMs: null }),
    ]);
    const rows = document.databases.map((row) =>
      Object.fromEntries(document.columns.map((column, index) => [column, row[index]])),
    );
    expect(rows).toEqual([
      {
        database: "app",
        status: "syncing",
        health: "healthy",
        lag_seconds: 1.234,
        txid: 9,
        uploaded_txid: 7,
        pending_files: 2,
        pending_bytes: 900,
        wal_bytes: 4_152,
        last_sync_age_seconds: 602,
        snapshot_age_seconds: 2_400,
        circuit: "closed",
        errors_last_hour: 0,
      },
      {
        database: "new",
        status: "starting",
        health: "degraded",
        lag_seconds: 0,
        txid: 12,
        uploaded_txid: 12,
        pending_files: 0,
        pending_bytes: 0,
        wal_bytes: null,
        last_sync_age_seconds: null,
        snapshot_age_seconds: null,
        circuit: "closed",
        errors_last_hour: 0,
      },
    ]);
    expect(document.databases.map((row) => row.length)).toEqual([13, 13]);
  });

  test("has the sums of all databases, and begins its history with them", () => {
    const document = documentOf([
      statusOf({ database: "a", pendingCount: 2, pendingBytes: 10, lagMs: 2_000 }),
      statusOf({ database: "b", pendingCount: 3, pendingBytes: 20, lagMs: 11_000 }),
      failingWith("auth", { database: "c", lagMs: 61_000 }),
    ]);
    expect(document.totals).toEqual({
      healthy: 1,
      degraded: 1,
      unhealthy: 1,
      lag_seconds: 61,
      pending_files: 5,
      pending_bytes: 30,
      wal_bytes: 0,
      uploads: 1,
      upload_bytes: 1_000,
    });
    const { history } = document;
    expect([history.lag_seconds, history.not_healthy, history.pending_bytes]).toEqual([[61], [2], [30]]);
  });

  test("has no lag where none is known", () => {
    const [known, unknown] = [statusOf({ lagMs: 2_000 }), statusOf({ database: "b", lagMs: null })];
    const both = documentOf([known, unknown]);
    expect(both.databases.map(([, , , lag]) => lag)).toEqual([2, null]);
    expect([both.totals.lag_seconds, both.history.lag_seconds]).toEqual([2, [2]]);
    const one = documentOf([unknown]);
    expect([one.totals.lag_seconds, one.history.lag_seconds]).toEqual([null, [null]]);
    expect(documentOf([]).totals.lag_seconds).toBe(0);
  });

  test("shows no folder of a database, and cuts long texts", () => {
    const message = `cannot open /srv/tenants/app.db: ${"x".repeat(5_000)}`;
    const hint = "look at /srv/tenants/app.db";
    const condition = { code: "not-shared", health: "unhealthy", message, hint } as const;
    const document = documentOf([
      statusOf({ state: "failing", failure: { code: "database", message, hint } }),
      statusOf({ database: "b", conditions: [condition] }),
    ]);
    expect(document.problems.length).toBe(2);
    expect(JSON.stringify(document)).not.toContain("/srv");
    for (const problem of document.problems) {
      expect(problem.message).toStartWith("cannot open app.db: xxx");
      expect(problem.message.length).toBeLessThan(700);
      expect(problem.hint).toBe("look at app.db");
    }
  });

  test("keeps names that are special to JavaScript, and any character", () => {
    const names = ["__proto__", "constructor", "toString", "<b>", "\u202e\n"];
    const document = documentOf(names.map((database) => statusOf({ database })));
    expect(document.databases.map(([name, , health]) => [name, health])).toEqual(
      names.map((name) => [name, "healthy"]),
    );
  });
});

describe("DashboardSource.document names the problems:", () => {
  const wrong = (code: Condition["code"], health: Condition["health"]): Condition => ({
    code,
    health,
    message: `${code} holds`,
    hint: "do it",
  });

  test.each<[name: string, status: DatabaseStatus, problems: string[]]>([
    ["a failure", failingWith("storage"), ["storage degraded app"]],
    ["a stop", { ...failingWith("foreign-writer"), state: "stopped" }, ["foreign-writer unhealthy app"]],
    [
      "a condition",
      statusOf({ conditions: [wrong("not-shared", "unhealthy")] }),
      ["not-shared unhealthy app"],
    ],
    [
      "a failure that is a condition, too: once",
      failingWith("foreign-wal", { conditions: [wrong("foreign-wal", "unhealthy")] }),
      ["foreign-wal unhealthy app"],
    ],
    ["a pause", statusOf({ state: "paused" }), ["paused degraded app"]],
    ["a start", statusOf({ state: "starting" }), ["starting degraded app"]],
    ["an open circuit", statusOf({ circuit: "open" }), ["circuit-open degraded app"]],
    ["a lag", statusOf({ lagMs: 12_000 }), ["lag degraded app"]],
    ["a lag that is not known", statusOf({ lagMs: null }), ["lag degraded app"]],
    ["a long lag", statusOf({ lagMs: 61_000 }), ["lag unhealthy app"]],
    [
      "a long lag beside a lesser condition: both, the worse one first",
      statusOf({ lagMs: 61_000, conditions: [wrong("falling-behind", "degraded")] }),
      ["lag unhealthy app", "falling-behind degraded app"],
    ],
  ])("%s", (_name, status, problems) => {
    const document = documentOf([statusOf({ database: "b" }), status]);
    expect(problemsOf(document).filter((problem) => !problem.endsWith("null"))).toEqual(problems);
    for (const { message, hint } of document.problems) expect([message, hint]).not.toContain("");
  });

  test("a hint of its own goes before the general one", () => {
    const failure = { code: "storage", message: "no", hint: "do this" };
    const [own] = documentOf([statusOf({ state: "failing", failure })]).problems.slice(-1);
    expect(own!.hint).toBe("do this");
    const [general] = documentOf([failingWith("auth")]).problems.slice(-1);
    expect(general!.hint).toContain("credentials");
  });

  test("conditions of the store, and a store out of reach, as problems of no database", () => {
    const document = documentOf([failingWith("storage")], [wrong("weak-writes", "degraded")]);
    expect(document.store.connected).toBe(false);
    expect(problemsOf(document)).toEqual([
      "weak-writes degraded null",
      "store degraded null",
      "storage degraded app",
    ]);
    const silent = documentOf([failingWith("storage")]).problems[0]!;
    expect(silent.message).toBe("Nothing reaches the store: storage is the matter");
  });

  test("conditions of the machine as problems of no database", () => {
    const { problems } = documentOf([statusOf()], [wrong("disk-full", "unhealthy")]);
    expect(problems.map(({ code, health, database }) => [code, health, database])).toEqual([
      ["disk-full", "unhealthy", null],
    ]);
  });

  test("the store with the reason and the remedy of its own failure, that of most databases", () => {
    const denied = "Cannot put a.ltx: the store answered 403 AccessDenied in /srv/tenants/";
    const auth = { code: "auth", message: denied, hint: "check the policies of /srv/tenants/app.db" };
    const failing = (database: string, failure: DatabaseStatus["failure"]): DatabaseStatus =>
      statusOf({ database, state: "failing", failure });
    const { problems } = documentOf([
      failing("silent", { code: "storage", message: "no answer", hint: "check the network" }),
      failing("one", auth),
      failing("two", auth),
      failing("busy", { code: "database-busy", message: "busy", hint: "wait" }),
    ]);
    expect(problems.find(({ code }) => code === "store")).toEqual({
      code: "store",
      health: "degraded",
      database: null,
      message: "Nothing reaches the store: Cannot put a.ltx: the store answered 403 AccessDenied in ",
      hint: "check the policies of app.db",
    });
    const [general] = documentOf([failingWith("missing-bucket")]).problems;
    expect([general!.code, general!.hint]).toEqual(["store", expect.stringContaining("name of the bucket")]);
  });
});
