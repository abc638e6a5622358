/**
 * The pages of the executable for a database that it cannot capture: no page shows a lag of 0 for it, and
 * none shows it as healthy.
 */
import { Database } from "bun:sqlite";
import { expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import type { DashboardDocument } from "../../../src/observability/dashboard/dashboard-document.ts";
import type { HealthReport } from "../../../src/observability/health.ts";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { documentOf, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

/** A database that walrust refuses. */
function createRollbackDatabase(path: string): void {
  const connection = new Database(path);
  connection.run("CREATE TABLE t(v)");
  connection.close(true);
}

/** The samples of a metric by database. */
function samplesOf(metrics: string, name: string): Record<string, number> {
  const found = metrics.matchAll(new RegExp(`^${name}\\{db="(\\w+)"\\} (\\S+)$`, "gm"));
  return Object.fromEntries([...found].map(([, database, value]) => [database, Number(value)]));
}

test("a database in rollback mode has no lag, or one that grows, on every page", async () => {
  const folder = tempFolder("unknown-lag");
  const destination = fileDestination();
  mkdirSync(join(folder, "tenants"));
  const [sound, named, found] = [
    join(folder, "sound.db"),
    join(folder, "named.db"),
    join(folder, "tenants", "found.db"),
  ] as const;
  createAppDatabase(sound);
  for (const path of [named, found]) createRollbackDatabase(path);
  const paths = [sound, named, join(folder, "tenants", "*.db")];
  const watch = await WatchProcess.start([...paths, ...destination.words, "--metrics-port", "0"]);
  await watch.waitFor("the upload", () => watch.uploads("sound").length > 0);
  await watch.waitFor("both refusals", () => watch.stderr.split("is not in WAL mode").length > 2);
  const url = /dashboard at (http:\S+),/.exec(watch.stderr)![1]!;

  const lagOf = async (): Promise<number | null> =>
    ((await (await fetch(`${url}/health`)).json()) as HealthReport).databases["named"]!.lag_seconds;
  await eventually("a lag", async () => ((await lagOf()) ?? 0) > 0);
  const { databases, status } = (await (await fetch(`${url}/health`)).json()) as HealthReport;
  expect(status).not.toBe("healthy");
  expect(databases["sound"]).toMatchObject({ health: "healthy", lag_seconds: 0 });
  expect(databases["found"]).toMatchObject({ health: "degraded", status: "failing", lag_seconds: null });
  expect(databases["named"]).toMatchObject({ status: "failing" });
  expect(databases["named"]!.health).not.toBe("healthy");

  const metrics = await (await fetch(`${url}/metrics`)).text();
  const lags = samplesOf(metrics, "walrust_lag_seconds");
  expect([lags["sound"], lags["found"], lags["named"]! > 0]).toEqual([0, undefined, true]);
  const up = samplesOf(metrics, "walrust_database_up");
  expect(up).toEqual({ sound: 1, named: 0, found: 0 });
  expect(samplesOf(metrics, "walrust_uploaded_txid")).toEqual({ sound: 1 });

  const document = (await (await fetch(`${url}/dashboard.json`)).json()) as DashboardDocument;
  const rows = new Map(document.databases.map(([name, , health, lag]) => [name, [health, lag]]));
  expect([rows.get("sound"), rows.get("found")]).toEqual([
    ["healthy", 0],
    ["degraded", null],
  ]);
  expect(rows.get("named")![1]).toBeGreaterThan(0);

  const run = await runWalrust(["status", "found", ...destination.words, "--json"]);
  const [answer] = documentOf<{ watches: { databases: object[] }[] }>(run).watches;
  expect(answer!.databases).toMatchObject([{ name: "found", lag_seconds: null, uploaded_txid: null }]);
  expect(run.exitCode).toBe(1);
  expect(await watch.stop()).toBe(0);
});
