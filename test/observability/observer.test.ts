/**
 * Observability as a whole, as watch uses it: from events and statuses to metrics, health, webhooks and
 * heartbeat, and the graceful end.
 */

import { afterEach, describe, expect, test } from "bun:test";
import { hostname } from "node:os";
import {
  type ObservabilityConfig,
  type ObservedSource,
  type Observer,
  startObservability,
} from "../../src/observability/observer.ts";
import type { DatabaseStatus } from "../../src/replication/watch/watch-status.ts";
import { DEFAULT_CONFIG } from "../support/config.ts";
import { HookServer } from "./hook-server.ts";
import { ManualTime } from "./manual-time.ts";
import { readOpenMetricsText, readPrometheusText } from "./prometheus-parser.ts";
import { failed, failingWith, recovered, statusOf, uploaded } from "./samples.ts";

const ends: (() => Promise<void>)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

function hookServer(): HookServer {
  const server = new HookServer();
  ends.push(() => server.close());
  return server;
}

/** A configuration with every part disabled. */
const NONE: ObservabilityConfig = {
  ...DEFAULT_CONFIG,
  metrics: { ...DEFAULT_CONFIG.metrics, enabled: false },
};

function start(
  time: ManualTime,
  source: Partial<ObservedSource>,
  config: Partial<ObservabilityConfig>,
): Observer {
  const nothing: ObservedSource = { statuses: () => [], storeConditions: () => [], writerOf: () => null };
  const observer = startObservability({ ...NONE, ...config }, { ...nothing, ...source }, time.env, "0.4.0");
  ends.push(() => observer.close());
  return observer;
}

const LOCAL = { enabled: true, port: 0, address: "127.0.0.1", perDatabase: true };

describe("startObservability", () => {
  test("shows an outage and its end in metrics, health, webhook and heartbeat", async () => {
    const time = new ManualTime();
    const hook = hookServer();
    const heart = hookServer();
    const state: { status: DatabaseStatus } = { status: statusOf() };
    const source = { statuses: () => [state.status], writerOf: () => "w1" };
    const observer = start(time, source, {
      metrics: LOCAL,
      heartbeat: { url: heart.secretUrl, intervalMs: 20_000, maxLagMs: 30_000 },
      webhooks: [{ url: hook.secretUrl, events: ["sync_failed"], secret: "k" }],
    });
    const health = async (): Promise<[number, string]> => {
      const response = await fetch(`${observer.metricsUrl}/health`);
      return [response.status, ((await response.json()) as { status: string }).status];
    };
    observer.observe(uploaded());
    time.pass(5_000);
    await heart.received(1);
    expect(await health()).toEqual([200, "healthy"]);

    state.status = failingWith("storage", { lagMs: 59_000 });
    observer.observe(failed("storage"));
    await hook.received(1);
    expect(await health()).toEqual([200, "degraded"]);
    await time.sleeping(20_000);
    time.pass(60_001);
    await time.sleeping(5_000);
    expect(await health()).toEqual([503, "unhealthy"]);
    expect(heart.requests.length).toBe(1);
    const text = await (await fetch(`${observer.metricsUrl}/metrics`)).text();
    const series = JSON.stringify({ db: "app", type: "transient", code: "storage" });
    expect(readPrometheusText(text).get("walrust_errors_total")!.samples.get(series)).toBe(1);

    state.status = statusOf();
    observer.observe(recovered());
    await hook.received(2);
    expect(hook.events).toEqual(["sync_failed", "recovered"]);
    expect(hook.requests[0]!.json).toMatchObject({ writer: "w1", hostname: hostname() });
    expect(await health()).toEqual([200, "healthy"]);
    time.pass(5_000);
    await heart.received(2);
    await observer.close();
    expect(time.sleepsMs).toEqual([]);
    for (const { text: line } of time.lines) expect(line).not.toContain("S3CRET");
  });

  test("serves OpenMetrics to a reader that accepts it; without per_database, one series", async () => {
    const source = { statuses: () => [statusOf(), statusOf({ database: "b" })] };
    const observer = start(new ManualTime(), source, { metrics: { ...LOCAL, perDatabase: false } });
    observer.observe(uploaded());
    observer.observe(uploaded("increment", "b"));
    const headers = { accept: "application/openmetrics-text; version=1.0.0, */*" };
    const open = await fetch(`${observer.metricsUrl}/metrics`, { headers });
    expect(open.headers.get("content-type")).toStartWith("application/openmetrics-text");
    const { samples } = readOpenMetricsText(await open.text()).get("walrust_uploads")!;
    expect(samples.get('{"kind":"increment"}')).toBe(2);
    const plain = await fetch(`${observer.metricsUrl}/metrics`);
    expect(plain.headers.get("content-type")).toStartWith("text/plain");
    expect(readPrometheusText(await plain.text()).get("walrust_uploads_total")!.samples.size).toBe(2);
  });

  test("forgets the counts of a database that is gone", async () => {
    const source = { statuses: () => [statusOf({ database: "other" })] };
    const observer = start(new ManualTime(), source, { metrics: LOCAL });
    observer.observe(failed("storage", "gone"));
    const text = await (await fetch(`${observer.metricsUrl}/metrics`)).text();
    expect(text).not.toContain("gone");
  });

  test("runs the other parts if the port is taken", async () => {
    const time = new ManualTime();
    const hook = hookServer();
    const port = Number(hook.host.split(":")[1]);
    const observer = start(
      time,
      { statuses: () => [] },
      {
        metrics: { ...LOCAL, port },
        webhooks: [{ url: hook.secretUrl, events: ["sync_failed"], secret: undefined }],
      },
    );
    expect(observer.metricsUrl).toBeNull();
    expect(time.said("warn").length).toBe(1);
    observer.observe(failed("storage"));
    await hook.received(1);
  });

  test("never throws from observe", () => {
    const time = new ManualTime();
    const source = {
      statuses: () => [],
      writerOf: () => {
        throw new Error("not now");
      },
    };
    const hook = hookServer();
    const webhooks = [{ url: hook.secretUrl, events: ["sync_failed"], secret: undefined }];
    const observer = start(time, source, { webhooks });
    observer.observe(failed("storage"));
    expect(time.said("error")[0]).toContain('cannot observe "failed": not now');
  });

  test("runs nothing if nothing is enabled", async () => {
    const time = new ManualTime();
    const observer = start(time, { statuses: () => [] }, {});
    observer.observe(failed("storage"));
    expect(time.sleepsMs).toEqual([]);
    await observer.close();
    expect(time.lines).toEqual([]);
  });

  test("rejects an invalid webhook URL as a configuration error", () => {
    const time = new ManualTime();
    const webhooks = [{ url: "S3CRET", events: [], secret: undefined }];
    expect(() => start(time, { statuses: () => [] }, { metrics: LOCAL, webhooks })).toThrow("[[webhooks]]");
    expect(time.lines).toEqual([]);
  });
});

describe("Observer.close", () => {
  test("waits for notices in flight", async () => {
    const time = new ManualTime();
    const hook = hookServer();
    const webhooks = [{ url: hook.secretUrl, events: ["sync_failed"], secret: undefined }];
    const observer = start(time, { statuses: () => [] }, { webhooks });
    for (let index = 0; index < 20; index++) observer.observe(failed("storage", `db${index}`));
    await observer.close();
    expect(hook.requests.length).toBe(20);
    expect(time.lines).toEqual([]);
  });

  test("ends after two seconds while a webhook hangs, logs that, and leaves nothing running", async () => {
    const time = new ManualTime();
    const hook = hookServer();
    hook.reply = "hang";
    const heart = hookServer();
    heart.reply = "hang";
    const observer = start(
      time,
      { statuses: () => [] },
      {
        metrics: LOCAL,
        heartbeat: { url: heart.secretUrl, intervalMs: 1_000, maxLagMs: 1_000 },
        webhooks: [{ url: hook.secretUrl, events: ["sync_failed"], secret: undefined }],
      },
    );
    const url = observer.metricsUrl!;
    observer.observe(failed("storage", "a"));
    observer.observe(failed("storage", "b"));
    time.pass(1_000);
    await hook.received(1);
    await heart.received(1);
    const closing = observer.close();
    expect(observer.close()).toBe(closing);
    await time.sleeping(2_000);
    expect(time.said("warn")).toEqual([]);
    time.pass(2_000);
    await closing;
    expect(time.said("warn").length).toBe(1);
    expect(time.said("warn")[0]).toContain("2 notices were not delivered");
    expect(time.sleepsMs).toEqual([]);
    await expect(fetch(url)).rejects.toThrow();
    observer.observe(failed("auth", "a"));
    expect(hook.requests.length).toBe(1);
  });
});
