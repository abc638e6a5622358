/**
 * The examples for Prometheus and Grafana against the metrics that walrust has: every name and every label in
 * an expression exists. `promtool` also checks the alerts, where it is installed.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { metricFamilies } from "../../src/observability/metrics.ts";
import { Tally } from "../../src/observability/tally.ts";
import { ManualTime } from "../observability/manual-time.ts";
import {
  checkpointed,
  circuitOpen,
  compacted,
  failed,
  statusOf,
  uploaded,
  validated,
} from "../observability/samples.ts";
import { testWith } from "../support/servers/peers.ts";
import { promtool } from "../support/servers/promtool.ts";
import { tempFolder } from "../support/temp.ts";

const FOLDER = join(import.meta.dir, "../../scripts/examples");
/** Labels that Prometheus adds, and those of a histogram. */
const OTHER_LABELS = ["instance", "job", "le"];
/** Metrics of Prometheus itself. */
const OTHER_METRICS = ["up"];

interface Alert {
  readonly alert: string;
  readonly expr: string;
  readonly labels: { readonly severity: string };
  readonly annotations: { readonly summary: string; readonly description: string };
}

interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description?: string;
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly targets?: readonly { readonly expr: string }[];
}

/** The labels of each metric that walrust has, by the names of its samples. */
function knownLabels(): Map<string, Set<string>> {
  const tally = new Tally(new ManualTime().env);
  const events = [uploaded(), failed("auth"), checkpointed(), compacted(), validated("ok"), circuitOpen()];
  for (const event of events) tally.observe(event);
  const condition = { code: "falling-behind", health: "degraded", message: "m" } as const;
  const path = join(tempFolder("examples"), "app.db");
  writeFileSync(`${path}-wal`, "a WAL");
  const statuses = [statusOf({ path, nextSnapshotTimeMs: 1, conditions: [condition] })];
  const known = new Map<string, Set<string>>();
  for (const family of metricFamilies(statuses, { tally, version: "0.4.0", storeConditions: [] })) {
    const endings = family.kind === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    const samples = [...family.samples];
    for (const ending of endings) {
      const labels = samples.flatMap(({ labels = "" }) =>
        [...labels.matchAll(/(\w+)="/g)].map(([, name]) => name!),
      );
      known.set(family.name + ending, new Set(labels));
    }
  }
  return known;
}

const KNOWN = knownLabels();

/** The mistakes of an expression of PromQL: unknown metrics, and labels that a metric does not have. */
function mistakesOf(expr: string): string[] {
  const mistakes: string[] = [];
  const all = new Set<string>(OTHER_LABELS);
  const names = [...expr.matchAll(/\b(walrust_\w+|up)(?:\{([^}]*)\})?/g)];
  if (names.length === 0) mistakes.push(`no metric in ${expr}`);
  for (const [, name = "", matchers = ""] of names) {
    if (OTHER_METRICS.includes(name)) continue;
    const labels = KNOWN.get(name);
    if (labels === undefined) mistakes.push(`unknown metric ${name}`);
    for (const label of labels ?? []) all.add(label);
    for (const [, label = ""] of matchers.matchAll(/(\w+)\s*(?:=~|!~|!=|=)/g)) {
      const isKnown = OTHER_LABELS.includes(label) || labels?.has(label) === true;
      if (!isKnown) mistakes.push(`${name} has no label ${label}`);
    }
  }
  for (const [, list = ""] of expr.matchAll(/\bby \(([^)]*)\)/g)) {
    for (const label of list.split(",").map((one) => one.trim())) {
      if (!all.has(label)) mistakes.push(`by ${label}`);
    }
  }
  return mistakes;
}

test("mistakesOf finds wrong metrics and labels", () => {
  expect(mistakesOf("max by (instance, db) (walrust_lag_seconds) > 60")).toEqual([]);
  expect(mistakesOf("walrust_lag")).toEqual(["unknown metric walrust_lag"]);
  expect(mistakesOf('walrust_lag_seconds{state="x"}')).toEqual(["walrust_lag_seconds has no label state"]);
  expect(mistakesOf("sum by (kind) (walrust_lag_seconds)")).toEqual(["by kind"]);
  expect(mistakesOf("walrust_sync_latency_seconds")).toHaveLength(1);
  expect(mistakesOf("walrust_sync_latency_seconds_bucket")).toEqual([]);
  expect(mistakesOf("1")).toHaveLength(1);
});

describe("prometheus-alerts.yml", () => {
  const text = readFileSync(join(FOLDER, "prometheus-alerts.yml"), "utf8");
  const { groups } = Bun.YAML.parse(text) as { groups: { name: string; rules: Alert[] }[] };
  const alerts = groups.flatMap(({ rules }) => rules);

  test.each(alerts.map((one) => [one.alert, one] as const))("%s", (name, alert) => {
    expect(mistakesOf(alert.expr)).toEqual([]);
    expect(name).toMatch(/^Walrust[A-Z][A-Za-z]+$/);
    expect(["page", "ticket"]).toContain(alert.labels.severity);
    expect(alert.annotations.summary.length).toBeGreaterThan(0);
    expect(alert.annotations.description).toEndWith(".");
    // A label in a text has to survive an aggregation.
    const texts = Object.values(alert.annotations).join(" ");
    const kept = /\bby \(([^)]*)\)/.exec(alert.expr)?.[1] ?? "db";
    for (const [, label = ""] of texts.matchAll(/\$labels\.(\w+)/g)) expect(kept).toContain(label);
  });

  test("has each name once", () => {
    const names = alerts.map(({ alert }) => alert);
    expect(new Set(names).size).toBe(names.length);
    expect(names.length).toBeGreaterThan(5);
  });
});

/** A healthy instance with one database, as series over an hour. */
const HEALTHY: Readonly<Record<string, string>> = {
  "walrust_up{}": "1x60",
  'walrust_lag_seconds{db="app"}': "0x60",
  'walrust_databases{state="watching"}': "1x60",
  'walrust_databases{state="failing"}': "0x60",
  'walrust_databases{state="paused"}': "0x60",
  'walrust_databases{state="stopped"}': "0x60",
  'walrust_cache_pending_bytes{db="app"}': "1000x60",
  'walrust_cache_upload_retries_total{db="app"}': "0x60",
  'walrust_error_count{db="app"}': "1x60",
  'walrust_re_anchor_total{db="app"}': "0x60",
  'walrust_last_validation_timestamp{db="app"}': "0x60",
  'walrust_last_snapshot_timestamp{db="app"}': "0x60",
  'walrust_next_snapshot_timestamp{db="app"}': "0x60",
  // Of 60 uploads a minute, 59 take less than a second.
  'walrust_sync_latency_seconds_bucket{db="app",le="1.0"}': "0+59x60",
  'walrust_sync_latency_seconds_bucket{db="app",le="60.0"}': "0+60x60",
  'walrust_sync_latency_seconds_bucket{db="app",le="+Inf"}': "0+60x60",
};

/** Series that raise one alert alone. */
const RAISING: readonly (readonly [alert: string, series: string, values: string])[] = [
  ["WalrustDown", "walrust_up{}", "0x60"],
  ["WalrustBehind", 'walrust_lag_seconds{db="app"}', "0+10x60"],
  ["WalrustBehind", "walrust_lag_seconds{}", "0+10x60"],
  ["WalrustStopped", 'walrust_databases{state="stopped"}', "1x60"],
  ["WalrustFailing", 'walrust_databases{state="failing"}', "2x60"],
  ["WalrustFailing", 'walrust_databases{state="paused"}', "2x60"],
  ["WalrustNotRestorable", 'walrust_conditions{code="validation-failed",health="unhealthy"}', "1x60"],
  ["WalrustCondition", 'walrust_conditions{code="weak-writes",health="degraded"}', "1x60"],
  ["WalrustSnapshotOverdue", 'walrust_last_snapshot_timestamp{db="app"}', "-200000x60"],
  ["WalrustNotValidated", 'walrust_last_validation_timestamp{db="app"}', "-300000x60"],
  ["WalrustCacheGrows", 'walrust_cache_pending_bytes{db="app"}', "5000000000x60"],
  ["WalrustSlowUploads", 'walrust_sync_latency_seconds_bucket{db="app",le="1.0"}', "0+30x60"],
  ["WalrustRetries", 'walrust_cache_upload_retries_total{db="app"}', "0+30x60"],
  ["WalrustErrors", 'walrust_error_count{db="app"}', "0+1x60"],
  ["WalrustReAnchored", 'walrust_re_anchor_total{db="app"}', "0+1x60"],
];

describe("promtool", () => {
  const rules = join(FOLDER, "prometheus-alerts.yml");

  testWith("promtool")("finds no mistake in the alerts", async () => {
    expect(await promtool(["check", "rules", rules])).toBe("");
  });

  testWith("promtool")("a healthy instance raises no alert, and each alert is raised alone", async () => {
    expect(new Set(RAISING.map(([alert]) => alert)).size).toBe(13);
    const runs = [[null, "walrust_up{}", "1x60"] as const, ...RAISING];
    const tests = runs.map(([alert, series, values]) => ({
      name: `${alert ?? "healthy"}: ${series}`,
      interval: "1m",
      input_series: Object.entries({ ...HEALTHY, [series]: values }).map(([name, text]) => ({
        series: name.replace("{", '{instance="vm1",').replace(",}", "}"),
        values: text,
      })),
      promql_expr_test: [
        {
          expr: 'count by (alertname) (ALERTS{alertstate="firing"})',
          eval_time: "50m",
          exp_samples: alert === null ? [] : [{ labels: `{alertname="${alert}"}`, value: 1 }],
        },
      ],
    }));
    const path = join(tempFolder("alerts"), "tests.yml");
    writeFileSync(path, JSON.stringify({ rule_files: [rules], evaluation_interval: "1m", tests }));
    expect(await promtool(["test", "rules", path])).toBe("");
  });
});

describe("grafana-dashboard.json", () => {
  const dashboard = JSON.parse(readFileSync(join(FOLDER, "grafana-dashboard.json"), "utf8")) as {
    panels: Panel[];
    templating: { list: { name: string; query: string }[] };
  };
  const panels = dashboard.panels.filter(({ type }) => type !== "row");

  test.each(panels.map((one) => [one.title, one] as const))("%s", (_, { targets = [], description = "" }) => {
    expect(targets.length).toBeGreaterThan(0);
    expect(description).toEndWith(".");
    for (const { expr } of targets) expect([expr, mistakesOf(expr)]).toEqual([expr, []]);
  });

  test("asks for values of labels that exist", () => {
    for (const { query } of dashboard.templating.list) {
      const [, expr, label = ""] = /^label_values\((.*), (\w+)\)$/.exec(query) ?? [];
      if (expr === undefined) expect(query).toBe("prometheus");
      else expect([query, mistakesOf(`sum by (${label}) (${expr})`)]).toEqual([query, []]);
    }
  });

  test("has a place and a number of its own for each panel", () => {
    const ids = dashboard.panels.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    const taken = new Set<string>();
    for (const { title, gridPos } of dashboard.panels) {
      for (let x = gridPos.x; x < gridPos.x + gridPos.w; x++) {
        for (let y = gridPos.y; y < gridPos.y + gridPos.h; y++) {
          expect([title, x < 24, taken.has(`${x} ${y}`)]).toEqual([title, true, false]);
          taken.add(`${x} ${y}`);
        }
      }
    }
  });
});
