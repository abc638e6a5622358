/**
 * The effect of the keys of [retry], [metrics], [heartbeat] and [[webhooks]], each set alone in walrust.toml.
 * A failing store counts requests, and HTTP servers record the notifications.
 */
import { afterEach, beforeEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { HookServer } from "../../observability/hook-server.ts";
import { eventually } from "../../support/eventually.ts";
import type { WatchProcess } from "../../support/processes/watch-process.ts";
import {
  closeApplications,
  configured,
  folderSettings,
  type Settings,
  serverSettings,
} from "../../support/runs/configured-watch.ts";
import { S3Server } from "../../support/servers/s3-server.ts";

setDefaultTimeout(30_000);

let server: S3Server;
beforeEach(async () => {
  server = await S3Server.start();
});
afterEach(async () => {
  server.stop();
  await closeApplications();
});

const UNAVAILABLE = { status: 503, code: "ServiceUnavailable" };
const DENIED = { status: 403, code: "AccessDenied" };

/** Makes all later puts fail. */
function refusePuts(answer: { status: number; code: string }, count = 100_000): void {
  // The watch probes the store with puts of its own, at times that the test does not control.
  server.inject({ kind: "put", when: "before", key: /\.ltx$/, answer, count });
}

/** Waits for the first snapshot and its manifest, so that the next put is an increment. */
function begun(): Promise<void> {
  return eventually("the manifest", async () => server.objects.has("bucket/vm/app/manifest.json"));
}

/** The number of `walrust list` requests to an unavailable store, and their duration. */
async function listRequests(settings: Settings): Promise<{ count: number; durationMs: number }> {
  server.inject({ kind: "list", when: "before", answer: UNAVAILABLE, count: 1_000 });
  const { run } = await configured({ ...serverSettings(server), ...settings }, { stems: [] });
  const startMs = performance.now();
  expect((await run(["list"])).exitCode).toBe(4);
  return { count: server.count("list"), durationMs: performance.now() - startMs };
}

describe("[retry]", () => {
  test.each([
    ["0", 1],
    ["2", 3],
  ])("retry.max_retries = %s makes %d requests", async (value, count) => {
    expect((await listRequests({ "retry.max_retries": value })).count).toBe(count);
  });

  // With the defaults nine retries wait 25 s on average. They wait less than 3 s in about 1 of 500 runs.
  test.each([
    ["retry.base_delay_ms", "1"],
    ["retry.max_delay_ms", "100"],
  ])("%s = %s bounds the waits between them", async (key, value) => {
    const { count, durationMs } = await listRequests({ "retry.max_retries": "9", [key]: value });
    expect(count).toBe(10);
    expect(durationMs).toBeLessThan(3_000);
  });

  /** A watch whose puts fail from its second TXID on. */
  async function failingWatch(settings: Settings, failureCount?: number): Promise<WatchProcess> {
    const quick = { "retry.max_retries": "0", "sync.shutdown_timeout": "0.2" };
    const { watch, commit } = await configured({ ...serverSettings(server), ...quick, ...settings });
    const running = await watch();
    await begun();
    refusePuts(UNAVAILABLE, failureCount);
    await commit();
    return running;
  }

  test.each([1, 2])(
    "retry.circuit_breaker_threshold = %d suspends after that many failed calls",
    async (threshold) => {
      const running = await failingWatch({ "retry.circuit_breaker_threshold": String(threshold) });
      await running.waitFor("an open circuit", () => running.eventsOf("circuit-open").length > 0);
      expect(running.eventsOf("circuit-open")[0]).toMatchObject({ failures: threshold });
      expect(await running.stop()).toBe(0);
    },
  );

  test("retry.circuit_breaker_enabled = false suspends nothing", async () => {
    const keys = { "retry.circuit_breaker_enabled": "false", "retry.circuit_breaker_threshold": "1" };
    const running = await failingWatch(keys);
    const puts = server.count("put");
    await eventually("calls that fail", async () => server.count("put") >= puts + 2);
    expect(running.eventsOf("circuit-open")).toEqual([]);
    expect(await running.stop()).toBe(0);
  });

  test("retry.circuit_breaker_cooldown_ms is the length of the suspension", async () => {
    const keys = { "retry.circuit_breaker_threshold": "1", "retry.circuit_breaker_cooldown_ms": "200" };
    const running = await failingWatch(keys, 1);
    await running.waitFor("an open circuit", () => running.eventsOf("circuit-open").length > 0);
    // The default cooldown is a minute.
    await running.waitForTxid(2);
    const [open] = running.eventsOf("circuit-open") as unknown as { at: string; until: string }[];
    expect(Date.parse(open!.until) - Date.parse(open!.at)).toBeLessThanOrEqual(210);
    expect(await running.stop()).toBe(0);
  });
});

function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}

describe("[metrics]", () => {
  test("metrics.port and metrics.address are the address of the status server", async () => {
    const port = freePort();
    const keys = {
      "metrics.enabled": "true",
      "metrics.port": String(port),
      "metrics.address": '"127.0.0.2"',
    };
    const { watch } = await configured({ ...folderSettings().settings, ...keys });
    const running = await watch();
    const answer = await fetch(`http://127.0.0.2:${port}/metrics`);
    expect([answer.status, (await answer.text()).includes("walrust_")]).toEqual([200, true]);
    await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow();
    expect(await running.stop()).toBe(0);
  });

  test.each([true, false])(
    "metrics.per_database = %p decides about series for each database",
    async (isOn) => {
      const port = freePort();
      const keys = {
        "metrics.enabled": "true",
        "metrics.port": String(port),
        "metrics.per_database": String(isOn),
      };
      const { watch } = await configured(
        { ...folderSettings().settings, ...keys },
        { stems: ["app", "shop"] },
      );
      const running = await watch();
      await running.waitFor("snapshots", () => running.uploads().length >= 2);
      const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
      const series = [...text.matchAll(/^walrust_uploads_total(\{.*\}) (\d+)$/gm)];
      const snapshots = series.filter(([line]) => line.includes('"snapshot"')).map(([, , count]) => count);
      expect([text.includes('db="shop"'), snapshots]).toEqual(isOn ? [true, ["1", "1"]] : [false, ["2"]]);
      expect(await running.stop()).toBe(0);
    },
  );

  test("metrics.enabled = false starts no status server", async () => {
    const port = freePort();
    const keys = { "metrics.enabled": "false", "metrics.port": String(port) };
    const { watch } = await configured({ ...folderSettings().settings, ...keys });
    const running = await watch();
    await expect(fetch(`http://127.0.0.1:${port}/metrics`)).rejects.toThrow();
    expect(running.stderr).not.toContain("metrics at");
    expect(await running.stop()).toBe(0);
  });
});

describe("notifications", () => {
  let hook: HookServer;
  beforeEach(() => {
    hook = new HookServer();
  });
  afterEach(() => hook.close());

  test("heartbeat.url is called, each heartbeat.interval", async () => {
    const keys = { "heartbeat.url": `"http://${hook.host}/ping"`, "heartbeat.interval": "1" };
    const { watch } = await configured({ ...folderSettings().settings, ...keys });
    const running = await watch();
    // With the default the first call comes after 5 s, and the second a minute later.
    await hook.received(2);
    expect(hook.requests.map(({ method, path }) => `${method} ${path}`)).toEqual(["GET /ping", "GET /ping"]);
    expect(await running.stop()).toBe(0);
  });

  test("heartbeat.max_lag suppresses the call beyond that lag", async () => {
    const url = { "heartbeat.url": `"http://${hook.host}/ping"`, "heartbeat.interval": "1" };
    const keys = { ...url, "heartbeat.max_lag": "1", "sync.shutdown_timeout": "0.2" };
    const { watch, commit } = await configured({ ...serverSettings(server), ...keys });
    const running = await watch(1, ["--log-level", "debug"]);
    await hook.received(1);
    server.inject({ kind: "put", when: "before", answer: "hang", count: 1_000 });
    await commit();
    await running.waitFor("it to be held back", ({ stderr }) => stderr.includes("heartbeat: held back"));
    expect(await running.stop()).toBe(0);
  });

  test("webhooks.url receives failures, signed with webhooks.secret", async () => {
    const receiver = `[[webhooks]]\nurl = "http://${hook.host}/hook"\nsecret = "hunter2"\n`;
    const entries = `${receiver}[[databases]]\npath = "app.db"\n`;
    const { watch, commit } = await configured(serverSettings(server), { entries });
    const running = await watch();
    await begun();
    refusePuts(DENIED, 3);
    await commit();
    await hook.received(1);
    const [{ method, path, headers, body, json }] = hook.requests as [HookServer["requests"][number]];
    expect([method, path, json["event"], json["database"]]).toEqual(["POST", "/hook", "auth_failure", "app"]);
    const hmac = new Bun.CryptoHasher("sha256", "hunter2").update(body).digest("hex");
    expect(headers.get("x-walrust-signature")).toBe(`sha256=${hmac}`);
    await running.waitForTxid(2);
    expect(await running.stop()).toBe(0);
    expect(running.stderr).not.toContain("hunter2");
  });

  test("webhooks.events selects the events", async () => {
    const receivers = ["auth_failure", "sync_failed"].map(
      (event) => `[[webhooks]]\nurl = "http://${hook.host}/${event}"\nevents = ["${event}"]\n`,
    );
    const entries = `${receivers.join("")}[[databases]]\npath = "app.db"\n`;
    const settings = { ...serverSettings(server), "retry.max_retries": "0" };
    const { watch, commit } = await configured(settings, { entries });
    const running = await watch();
    await begun();
    refusePuts(DENIED, 1);
    await commit();
    await running.waitForTxid(2);
    await hook.received(2);
    refusePuts(UNAVAILABLE, 1);
    await commit();
    await running.waitForTxid(3);
    await hook.received(4);
    const told = hook.requests.map(({ path, json }) => `${path} ${json["event"]}`).toSorted();
    expect(told).toEqual([
      "/auth_failure auth_failure",
      "/auth_failure recovered",
      "/sync_failed recovered",
      "/sync_failed sync_failed",
    ]);
    expect(await running.stop()).toBe(0);
  });
});
