/** Verdicts of /health: one row per rule, at the rule's boundary. */
import { describe, expect, test } from "bun:test";
import { type Health, type HealthFacts, healthReport } from "../../src/observability/health.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { failingWith, statusOf } from "./samples.ts";

/** Facts of a healthy process, with `overrides`. */
function factsOf(overrides: Partial<HealthFacts> = {}): HealthFacts {
  return {
    version: "0.4.0",
    uptimeMs: 86_400_000,
    lastUploadTimeMs: Date.UTC(2026, 0, 15, 10, 30),
    sinceUploadMs: 500,
    failingMs: () => 1_000,
    errorsLastHour: () => 0,
    storeConditions: [],
    ...overrides,
  };
}

const failingForMs = (durationMs: number, sinceUploadMs = 500): Partial<HealthFacts> => ({
  failingMs: () => durationMs,
  sinceUploadMs,
});

/** A fault, the verdict on the database, and a part of its reasons. */
const ROWS: readonly (readonly [
  what: string,
  status: DatabaseStatus,
  facts: Partial<HealthFacts>,
  health: Health,
  reason: string,
])[] = [
  ["nothing", statusOf(), {}, "healthy", ""],
  ["a lag of ten intervals", statusOf({ lagMs: 10_000 }), {}, "healthy", ""],
  ["a lag above that", statusOf({ lagMs: 10_001 }), {}, "degraded", "10 sync intervals (10 s)"],
  ["short intervals", statusOf({ lagMs: 1_001, walSyncIntervalMs: 100 }), {}, "degraded", "(1 s)"],
  ["long ones", statusOf({ lagMs: 59_000, walSyncIntervalMs: 30_000 }), {}, "healthy", ""],
  ["a lag of 60 s", statusOf({ lagMs: 60_000 }), {}, "degraded", "10 sync intervals"],
  ["a lag above 60 s", statusOf({ lagMs: 60_001 }), {}, "unhealthy", "60 s"],
  [
    "that at any interval",
    statusOf({ lagMs: 61_000, walSyncIntervalMs: 1e6 }),
    {},
    "unhealthy",
    "61 s behind",
  ],
  ["a lag that is not known", statusOf({ lagMs: null }), {}, "degraded", "not known how far"],
  ["that and a failure", failingWith("not-wal", { lagMs: null }), {}, "degraded", "failing: not-wal is"],
  ["an open breaker", statusOf({ circuit: "open" }), {}, "degraded", "breaker is open"],
  ["a half-open breaker", statusOf({ circuit: "half-open" }), {}, "degraded", "half-open"],
  ["not attached yet", statusOf({ state: "starting", walFrames: null }), {}, "degraded", "not attached"],
  ["no room for captures", statusOf({ state: "paused" }), {}, "degraded", "limit on disk"],
  ["a failing store", failingWith("storage"), {}, "degraded", "failing: storage is the matter"],
  ["a failing capture", failingWith("database"), {}, "degraded", "database is the matter"],
  ["a file of a glob in rollback mode", failingWith("not-wal"), failingForMs(1e9), "degraded", "not-wal is"],
  ["that for long", failingWith("database", { lagMs: 61_000 }), {}, "unhealthy", "61 s behind"],
  [
    "another writer",
    statusOf({ state: "stopped", failure: { code: "foreign-writer", message: "writer x", hint: null } }),
    {},
    "unhealthy",
    "stopped: writer x",
  ],
];

describe("healthReport of one database", () => {
  test.each(ROWS)("%s", (_, status, facts, health, reason) => {
    const { databases, status: whole } = healthReport([status], factsOf(facts));
    const { health: own, reasons } = databases["app"]!;
    expect([own, whole]).toEqual([health, health]);
    expect(reasons.join("; ")).toContain(reason);
    expect(reasons.length === 0).toBe(health === "healthy");
  });

  test("its shape is the documented one", () => {
    const status = statusOf({ lagMs: 12_000, txid: 14, pendingCount: 2, pendingBytes: 99 });
    const report = healthReport([status], factsOf({ errorsLastHour: () => 3 }));
    expect(report).toEqual({
      status: "degraded",
      reasons: ["1 of 1 databases degraded"],
      databases: {
        app: {
          status: "syncing",
          health: "degraded",
          reasons: ["the store is up to 12 s behind, more than 10 sync intervals (10 s)"],
          last_sync: "2026-01-15T10:29:58.000Z",
          lag_seconds: 12,
          errors_last_hour: 3,
          txid: 14,
          uploaded_txid: 12,
          pending_files: 2,
          pending_bytes: 99,
          circuit: "closed",
          conditions: [],
        },
      },
      s3: { connected: true, last_successful_upload: "2026-01-15T10:30:00.000Z", conditions: [] },
      machine: { conditions: [] },
      uptime_seconds: 86_400,
      version: "0.4.0",
    });
  });

  test("a condition gives its database the condition's health, and is listed without the folder", () => {
    const hint = "Look at /srv/tenants/app.db-wal";
    const degraded = { code: "falling-behind", health: "degraded", message: "the store is slow" } as const;
    const unhealthy = {
      code: "foreign-wal",
      health: "unhealthy",
      message: "/srv/tenants/app.db moved",
      hint,
    } as const;
    const one = healthReport([statusOf({ conditions: [degraded] })], factsOf());
    expect([one.status, one.databases["app"]!.reasons]).toEqual(["degraded", ["the store is slow"]]);
    const two = healthReport([statusOf({ conditions: [degraded, unhealthy] })], factsOf());
    expect([two.status, two.databases["app"]!.reasons]).toEqual([
      "unhealthy",
      ["app.db moved", "the store is slow"],
    ]);
    expect(two.databases["app"]!.conditions[1]).toEqual({
      ...unhealthy,
      message: "app.db moved",
      hint: "Look at app.db-wal",
    });
  });

  test("a condition of the store gives the whole report the condition's health", () => {
    const weak = { code: "weak-writes", health: "degraded", message: "creates are not enforced" } as const;
    const report = healthReport([statusOf()], factsOf({ storeConditions: [weak] }));
    expect(report).toMatchObject({ status: "degraded", reasons: [weak.message], s3: { conditions: [weak] } });
    expect(report.databases["app"]!.health).toBe("healthy");
  });

  test("a condition of the machine stands apart from the store's, and counts for the whole report", () => {
    const full = { code: "disk-full", health: "unhealthy", message: "the disk is full" } as const;
    const report = healthReport([statusOf()], factsOf({ storeConditions: [full] }));
    expect(report).toMatchObject({
      status: "unhealthy",
      reasons: [full.message],
      s3: { conditions: [] },
      machine: { conditions: [full] },
    });
  });

  test("reasons omit the folder of the database", () => {
    const message = "Cannot read /srv/tenants/app.db: /srv/tenants/.app.db-walrust/state.json is gone";
    const failure = { code: "database", message, hint: null };
    const shown = healthReport([statusOf({ state: "failing", failure })], factsOf()).databases["app"];
    expect(shown!.reasons).toEqual(["failing: Cannot read app.db: .app.db-walrust/state.json is gone"]);
    const atRoot = statusOf({
      state: "failing",
      failure: { code: "database", message: "/a.db", hint: null },
      path: "/a.db",
    });
    expect(healthReport([atRoot], factsOf()).databases["app"]!.reasons).toEqual(["failing: /a.db"]);
  });
});

describe("healthReport of a process", () => {
  test("is healthy without databases", () => {
    const { status, reasons } = healthReport(
      [],
      factsOf({ sinceUploadMs: Infinity, lastUploadTimeMs: null }),
    );
    expect([status, reasons]).toEqual(["healthy", []]);
  });

  test("is as bad as its worst database, and counts them", () => {
    const all = [
      statusOf({ database: "a" }),
      statusOf({ database: "b", circuit: "open" }),
      statusOf({ database: "c", state: "stopped" }),
    ];
    const { status, reasons } = healthReport(all, factsOf());
    expect(status).toBe("unhealthy");
    expect(reasons).toEqual(["1 of 3 databases unhealthy", "1 of 3 databases degraded"]);
  });

  /** Time failing at the store, time since the last upload, verdict, connected. */
  const STORES: readonly (readonly [number, number, Health, boolean])[] = [
    [59_000, 59_500, "degraded", false],
    [60_000, 90_000, "degraded", false],
    [60_001, 90_000, "unhealthy", false],
    [60_001, Number.POSITIVE_INFINITY, "unhealthy", false],
    // Other databases uploaded after this one began to fail.
    [90_000, 1_000, "degraded", true],
    [90_000, 60_001, "unhealthy", false],
  ];
  test.each(STORES)(
    "a store that fails for %d ms, last upload %d ms ago: %s",
    (failingMs, sinceUploadMs, health, ok) => {
      const statuses = [statusOf({ database: "idle" }), failingWith("storage")];
      const { status, s3, reasons } = healthReport(statuses, factsOf(failingForMs(failingMs, sinceUploadMs)));
      expect([status, s3.connected]).toEqual([health, ok]);
      expect(reasons.some((reason) => reason.includes("the store"))).toBe(health === "unhealthy");
    },
  );

  test("no upload for a long time is healthy while no database fails", () => {
    const { status, s3 } = healthReport([statusOf()], factsOf({ sinceUploadMs: 1e9 }));
    expect([status, s3.connected]).toEqual(["healthy", true]);
  });

  test("a failure elsewhere leaves the store connected", () => {
    const { s3 } = healthReport([failingWith("database")], factsOf(failingForMs(1e9, Infinity)));
    expect(s3.connected).toBe(true);
  });
});
