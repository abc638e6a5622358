/**
 * The metrics of a running watch after commits, a truncating checkpoint, a merge, validations and repeated
 * uploads: each event shows in its metric, in both formats. promtool
 * checks both.
 */
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { readOpenMetricsText, readPrometheusText } from "../../observability/prometheus-parser.ts";
import { closeApplications, configured, serverSettings } from "../../support/runs/configured-watch.ts";
import { testWith } from "../../support/servers/peers.ts";
import { metricsMistakes, openMetricsMistakes } from "../../support/servers/promtool.ts";
import { S3Server } from "../../support/servers/s3-server.ts";

setDefaultTimeout(60_000);

const OPEN_METRICS = "application/openmetrics-text; version=1.0.0; q=0.9, text/plain; q=0.5";

/** The two texts of one run. */
let plain = "";
let open = "";
let versions = "";

// The tests below read what this one scraped. A test ends its processes even if it fails.
test("a watch meets every kind of event", async () => {
  const server = await S3Server.start();
  const { watch, commit, run } = await configured({
    ...serverSettings(server),
    "metrics.enabled": "true",
    "metrics.port": "0",
    "sync.wal_sync_interval": "0.02",
    "sync.min_checkpoint_page_count": "10",
    "sync.wal_truncate_threshold_pages": "1",
    "sync.validation_interval": "0.5",
    "compaction.threshold": "2",
    "retry.base_delay_ms": "1",
  });
  const running = await watch();
  const url = (): string => /metrics at (http:[^\s,]+)/.exec(running.stderr)?.[1] ?? "";
  await running.waitFor("the address of the metrics", () => url() !== "");
  await running.waitFor("the first snapshot", () => running.uploads("app").length > 0);
  const answer = { status: 503, code: "SlowDown" };
  server.inject({ kind: "put", when: "before", key: /\.ltx$/, answer, count: 2 });
  for (let txid = 2; txid < 8; txid++) {
    await commit("x".repeat(20_000));
    await running.waitForTxid(txid);
  }
  for (const event of ["checkpointed", "compacted", "validated"]) {
    await running.waitFor(event, () => running.eventsOf(event).length > 0);
  }
  const [merge] = running.eventsOf("compacted") as unknown as { sources: number; duration_ms: number }[];
  expect(merge!.sources).toBeGreaterThan(1);
  expect(merge!.duration_ms).toBeGreaterThan(0);
  plain = await (await fetch(url())).text();
  const answered = await fetch(url(), { headers: { accept: OPEN_METRICS } });
  expect(answered.headers.get("content-type")).toBe(
    "application/openmetrics-text; version=1.0.0; charset=utf-8",
  );
  open = await answered.text();
  versions = (await run(["--version"])).stdout;
  expect(await running.stop()).toBe(0);
  server.stop();
});
afterAll(closeApplications);

test("each event shows in its metric", () => {
  const families = readPrometheusText(plain);
  const value = (name: string, labels: Record<string, string> = {}, ending = ""): number =>
    families.get(`walrust_${name}`)?.samples.get(ending + JSON.stringify({ db: "app", ...labels })) ?? -1;
  expect(value("uploads_total", { kind: "increment" })).toBe(6);
  expect(value("snapshot_count")).toBe(1);
  expect(value("sync_latency_seconds", {}, "_count")).toBe(6);
  expect(value("cache_upload_retries_total")).toBe(2);
  expect(value("checkpoint_total", { type: "truncate" })).toBeGreaterThan(0);
  expect(value("checkpoint_duration_seconds")).toBeGreaterThan(0);
  expect(value("compaction_total")).toBeGreaterThan(0);
  expect(value("incrementals_merged_total")).toBeGreaterThan(1);
  expect(value("compaction_duration_seconds")).toBeGreaterThan(0);
  expect(value("validation_success_total")).toBeGreaterThan(0);
  expect(value("last_validation_success")).toBe(1);
  expect(Math.abs(value("last_validation_timestamp") * 1000 - Date.now())).toBeLessThan(60_000);
  // The interval of an hour counts from the first snapshot, and commits followed it.
  const untilSnapshotMs = value("next_snapshot_timestamp") * 1000 - Date.now();
  expect(untilSnapshotMs).toBeGreaterThan(3_500_000);
  expect(untilSnapshotMs).toBeLessThanOrEqual(3_600_000);
  // Uploaded files stay in the cache.
  expect(value("cache_size_bytes")).toBeGreaterThan(6 * 200);
  expect(value("cache_pending_uploads")).toBe(0);
  expect(value("error_count")).toBe(0);
  expect(families.get("walrust_errors_total")).toBeUndefined();
  const [version] = families.get("walrust_build_info")!.samples.keys();
  expect(versions).toContain(`walrust ${(JSON.parse(version!) as { version: string }).version} `);
});

testWith("promtool")("promtool finds no mistake in either format", async () => {
  expect(await metricsMistakes(plain)).toBe("");
  expect(await openMetricsMistakes(open)).toBe("");
});

test("OpenMetrics has the same series", () => {
  const names = (families: ReturnType<typeof readPrometheusText>): string[] =>
    [...families].flatMap(([name, { type, samples }]) =>
      [...samples.keys()].map((key) => `${name} ${type} ${key}`),
    );
  const renamed = names(readOpenMetricsText(open)).map((line) =>
    line.replace(/^(\S+) counter/, "$1_total counter").replace(" unknown ", " untyped "),
  );
  expect(renamed).toEqual(names(readPrometheusText(plain)));
});
