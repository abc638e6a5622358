/** The facts of a watch that only its events show. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { Conditions } from "../../../src/replication/context/conditions.ts";
import { WatchReport } from "../../../src/replication/watch/watch-report.ts";
import type { DatabaseStatus } from "../../../src/replication/watch/watch-status.ts";
import {
  failed,
  failingWith,
  letGo,
  recovered,
  statusOf,
  stopped,
  uploaded,
  validated,
} from "../../observability/samples.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

/** A report over databases that the test changes, with a clock that it sets. */
function reported(databases: DatabaseStatus[]) {
  const clock = { nowMs: 5_000 };
  const nowMs = (): number => clock.nowMs;
  const env = { ...systemEnv(SILENT_LOG), nowMs, monotonicMs: nowMs };
  const store = new MemoryStore();
  const snapshot = { txid: 7, timeMs: 3_000 };
  const watchers = [{ name: "app", live: { state: { snapshot } } }];
  const storeConditions = new Conditions(null, env, () => {});
  const context = { env, version: "1.2.3", store, storeConditions };
  return {
    clock,
    storeConditions,
    report: new WatchReport({ statuses: () => databases, watchers }, context),
  };
}

test("WatchReport knows the last upload and its own age", () => {
  const { clock, report } = reported([]);
  expect(report.status()).toMatchObject({ uptimeMs: 0, lastUploadTimeMs: null, sinceUploadMs: null });
  clock.nowMs = 6_000;
  report.observe(uploaded());
  clock.nowMs = 8_000;
  expect(report.status()).toMatchObject({ uptimeMs: 3_000, lastUploadTimeMs: 6_000, sinceUploadMs: 2_000 });
});

test("WatchReport counts a failure from its first event until it is over", () => {
  const databases = [statusOf()];
  const { clock, report } = reported(databases);
  const failingMs = (): number | null => report.status().databases[0]!.failingMs;
  report.observe(failed("storage"));
  databases[0] = failingWith("storage");
  clock.nowMs += 1_000;
  report.observe(failed("auth"));
  clock.nowMs += 1_000;
  expect(failingMs()).toBe(2_000);
  report.observe(recovered());
  databases[0] = statusOf();
  expect(failingMs()).toBeNull();
  report.observe(stopped("foreign-writer"));
  databases[0] = statusOf({ state: "stopped", failure: { code: "foreign-writer", message: "x", hint: "y" } });
  clock.nowMs += 500;
  expect(failingMs()).toBe(500);
  report.observe(letGo());
  expect(failingMs()).toBeNull();
});

test("WatchReport has the last validation and the newest snapshot of each database", () => {
  const { clock, report } = reported([statusOf(), statusOf({ database: "other" })]);
  expect(report.status().databases).toMatchObject([
    { validation: null, snapshot: { txid: 7, timeMs: 3_000 } },
    { validation: null, snapshot: null },
  ]);
  report.observe(validated("errors", ["gone"]));
  clock.nowMs = 9_000;
  report.observe(validated("ok"));
  expect(report.status().databases[0]!.validation).toEqual({ status: "ok", timeMs: 9_000 });
});

test("WatchReport has the size of each WAL, and null where there is none", () => {
  const folder = tempFolder("report");
  const path = join(folder, "app.db");
  writeFileSync(`${path}-wal`, "12345");
  const beside = statusOf({ path: join(folder, "none.db") });
  const below = statusOf({ path: join(`${path}-wal`, "none.db") });
  const { report } = reported([statusOf({ path }), beside, below]);
  expect(report.status().databases.map(({ walBytes }) => walBytes)).toEqual([5, null, null]);
});

test("WatchReport has the conditions of the store", () => {
  const { storeConditions, report } = reported([]);
  storeConditions.raise({ code: "weak-writes", health: "degraded", message: "m", hint: "h" });
  expect(report.status().storeConditions).toMatchObject([{ code: "weak-writes", hint: "h" }]);
});
