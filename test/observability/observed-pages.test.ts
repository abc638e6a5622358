/** The pages of a watch: made anew for each request, from the statuses and events of that moment. */
import { expect, test } from "bun:test";
import { DashboardSource } from "../../src/observability/dashboard-source.ts";
import { ObservedPages } from "../../src/observability/observed-pages.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { ManualTime } from "./manual-time.ts";
import { readOpenMetricsText, readPrometheusText } from "./prometheus-parser.ts";
import { failed, statusOf, uploaded } from "./samples.ts";

/** The pages of a watch whose statuses a test changes. */
function pagesOf(statuses: DatabaseStatus[], isPerDatabase = true) {
  const time = new ManualTime();
  const condition = { code: "not-the-store", health: "unhealthy", message: "a portal answers" } as const;
  const source = { statuses: () => statuses, storeConditions: () => [condition] };
  return { time, pages: new ObservedPages(source, time.env, "0.4.0", isPerDatabase) };
}

const ERRORS = "walrust_errors_total";

test("all pages show the statuses, the events and the conditions of the moment", () => {
  const statuses = [statusOf({ txid: 12 })];
  const { time, pages } = pagesOf(statuses);
  const dashboard = new DashboardSource(time.env);
  pages.observe(uploaded());
  expect(pages.document(dashboard)).toMatchObject({ totals: { uploads: 1 }, databases: [{ 4: 12 }] });
  statuses[0] = statusOf({ txid: 13 });
  pages.observe(uploaded());
  time.pass(60_000);
  expect(pages.document(dashboard)).toMatchObject({ totals: { uploads: 2 }, databases: [{ 4: 13 }] });
  expect(pages.health()).toMatchObject({
    ...{ status: "unhealthy", reasons: ["a portal answers"], uptime_seconds: 60, version: "0.4.0" },
    databases: { app: { txid: 13 } },
  });
  const families = readPrometheusText([...pages.metrics(null).body].join(""));
  expect(families.get("walrust_current_txid")!.samples.get('{"db":"app"}')).toBe(13);
  const condition = JSON.stringify({ code: "not-the-store", health: "unhealthy" });
  expect(families.get("walrust_conditions")!.samples.get(condition)).toBe(1);
});

test("the metrics come in the format that the reader accepts, by database or for all together", () => {
  const { pages } = pagesOf([statusOf(), statusOf({ database: "b" })], false);
  for (const name of ["app", "b"]) pages.observe(failed("storage", name));
  const { body, contentType } = pages.metrics("application/openmetrics-text");
  expect(contentType).toStartWith("application/openmetrics-text");
  const families = readOpenMetricsText([...body].join(""));
  const series = JSON.stringify({ type: "transient", code: "storage" });
  expect(families.get("walrust_errors")!.samples.get(series)).toBe(2);
});

test("the counts of a database go with the database", () => {
  const statuses = [statusOf()];
  const { pages } = pagesOf(statuses);
  pages.observe(failed("storage"));
  const read = () => readPrometheusText([...pages.metrics(null).body].join(""));
  expect(read().get(ERRORS)?.samples.size).toBe(1);
  statuses[0] = statusOf({ database: "other" });
  pages.health();
  statuses[0] = statusOf();
  expect(read().get(ERRORS)).toBeUndefined();
});
