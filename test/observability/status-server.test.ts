/** The HTTP server: pages, methods, and every way to fail to get its port. */
import { afterEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import type { DashboardDocument } from "../../src/observability/dashboard/dashboard-document.ts";
import { DASHBOARD_HEADERS, DASHBOARD_PAGE } from "../../src/observability/dashboard/dashboard-page.ts";
import { type HealthReport, healthReport } from "../../src/observability/health.ts";
import { acceptedFormat } from "../../src/observability/prometheus.ts";
import {
  LastingStatusServer,
  type StatusPages,
  type StatusServer,
  startStatusServer,
} from "../../src/observability/status-server.ts";
import { eventually } from "../support/eventually.ts";
import { ManualTime } from "./manual-time.ts";

const servers: StatusServer[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) await server.close();
});

function report(status: HealthReport["status"]): HealthReport {
  const facts = {
    version: "0.4.0",
    uptimeMs: 1_000,
    lastUploadTimeMs: null,
    sinceUploadMs: Number.POSITIVE_INFINITY,
    failingMs: () => 0,
    errorsLastHour: () => 0,
    storeConditions: [],
  };
  return { ...healthReport([], facts), status };
}

const PAGES: StatusPages = {
  metrics: (accept) => ({ body: "# nothing\n", contentType: acceptedFormat(accept).contentType }),
  health: () => report("healthy"),
  dashboard: async () => ({}) as DashboardDocument,
};

function start(
  time: ManualTime,
  { address = "127.0.0.1", port = 0, pages = PAGES } = {},
): { server: StatusServer | null; url: string } {
  const server = startStatusServer({ address, port }, pages, time.env);
  if (server !== null) servers.push(server);
  return { server, url: server?.url ?? "" };
}

describe("startStatusServer answers", () => {
  test("/metrics as Prometheus text", async () => {
    const { url } = start(new ManualTime());
    const response = await fetch(`${url}/metrics?x=1`);
    expect(response.status).toBe(200);
    expect(response.headers.get("content-type")).toBe("text/plain; version=0.0.4; charset=utf-8");
    expect(await response.text()).toBe("# nothing\n");
  });

  test.each([
    ["healthy", 200],
    ["degraded", 200],
    ["unhealthy", 503],
  ] as const)("/health when %s: %d", async (status, code) => {
    const pages = { ...PAGES, health: () => report(status) };
    const { url } = start(new ManualTime(), { pages });
    const response = await fetch(`${url}/health`);
    expect(response.status).toBe(code);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(await response.json()).toEqual(JSON.parse(JSON.stringify(report(status))));
  });

  test("/ with the dashboard, under a policy that allows nothing but its own script and style", async () => {
    const { url } = start(new ManualTime());
    const response = await fetch(url);
    expect(response.status).toBe(200);
    expect(await response.text()).toBe(DASHBOARD_PAGE);
    for (const [name, value] of Object.entries({
      ...DASHBOARD_HEADERS,
      "cache-control": "no-store",
      "x-content-type-options": "nosniff",
      "referrer-policy": "no-referrer",
      "cross-origin-resource-policy": "same-origin",
    })) {
      expect([name, response.headers.get(name)]).toEqual([name, value]);
    }
  });

  test("/dashboard.json with the document, which nobody makes before it is asked for", async () => {
    let madeCount = 0;
    const dashboard = async (): Promise<DashboardDocument> => {
      madeCount++;
      return { version: "0.4.0", hostname: "\u202e\u2028" } as DashboardDocument;
    };
    const { url } = start(new ManualTime(), { pages: { ...PAGES, dashboard } });
    for (const path of ["/metrics", "/health", "/"]) await fetch(`${url}${path}`);
    expect(madeCount).toBe(0);
    const response = await fetch(`${url}/dashboard.json`);
    expect(response.headers.get("content-type")).toBe("application/json");
    expect(response.headers.get("access-control-allow-origin")).toBeNull();
    expect(await response.text()).toBe('{"version":"0.4.0","hostname":"\\u202e\\u2028"}\n');
    expect(madeCount).toBe(1);
  });

  test("/dashboard.json with 500 while the document cannot be made, logged once", async () => {
    const time = new ManualTime();
    const dashboard = async (): Promise<DashboardDocument> => {
      throw new Error("inner trouble");
    };
    const { url } = start(time, { pages: { ...PAGES, dashboard } });
    for (let round = 0; round < 3; round++) expect((await fetch(`${url}/dashboard.json`)).status).toBe(500);
    expect(time.said("error")).toEqual(["cannot answer /dashboard.json: inner trouble {}"]);
  });

  test.each(["/metric", "/metrics/", "/health/app", "/__proto__", "/constructor", "/toString", "/..%2f"])(
    "%s with 404",
    async (path) => {
      const { url } = start(new ManualTime());
      expect((await fetch(`${url}${path}`)).status).toBe(404);
    },
  );

  test.each(["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])("%s with 405", async (method) => {
    const { url } = start(new ManualTime());
    const response = await fetch(`${url}/metrics`, { method });
    expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
    expect((await fetch(`${url}/none`, { method })).status).toBe(404);
  });

  test("HEAD with the head alone", async () => {
    const { url } = start(new ManualTime());
    const response = await fetch(`${url}/metrics`, { method: "HEAD" });
    expect([response.status, await response.text()]).toEqual([200, ""]);
    expect(response.headers.get("content-type")).toContain("version=0.0.4");
  });

  test("500 if a page fails: the log has the reason, the answer does not", async () => {
    const time = new ManualTime();
    const failing = (): never => {
      throw new Error("/srv/inner trouble");
    };
    const { url } = start(time, { pages: { metrics: failing, health: failing, dashboard: failing } });
    for (const path of ["/metrics", "/health", "/dashboard.json"]) {
      const response = await fetch(`${url}${path}`);
      expect([response.status, await response.text()]).toEqual([500, "internal error\n"]);
    }
    expect(time.said("error").length).toBe(3);
    expect(time.said("error")[0]).toContain("/srv/inner trouble");
    expect((await fetch(url)).status).toBe(200);
  });

  test("no whole body if a part of it fails: the log has the reason once", async () => {
    const time = new ManualTime();
    function* parts(): Generator<string> {
      yield "# begun\n";
      throw new Error("the rest is not to be had");
    }
    const metrics = () => ({ body: parts(), contentType: "text/plain" });
    const { url } = start(time, { pages: { ...PAGES, metrics } });
    for (let round = 0; round < 2; round++) {
      const answered = fetch(`${url}/metrics`).then((response) => response.text());
      await expect(answered).rejects.toThrow();
    }
    expect(time.said("error")).toEqual(["cannot answer /metrics: the rest is not to be had {}"]);
  });
});

describe("startStatusServer listens", () => {
  test("and reports its address; on loopback without a warning", () => {
    for (const address of ["127.0.0.1", "127.9.9.9", "localhost", "::1", "[::1]"]) {
      const time = new ManualTime();
      const { url } = start(time, { address });
      expect(time.said("info")[0]).toContain(`${url}/metrics`);
      expect(time.said("warn")).toEqual([]);
    }
  });

  test.each(["::1", "[::1]"])("on %s, with a usable URL", async (address) => {
    const { url } = start(new ManualTime(), { address });
    expect(url).toStartWith("http://[::1]:");
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
  });

  test.each(["0.0.0.0", "::"])("on %s with a warning that other machines may connect", (address) => {
    const time = new ManualTime();
    expect(start(time, { address }).server).not.toBeNull();
    expect(time.said("warn").length).toBe(1);
    expect(time.said("warn")[0]).toContain("no authentication");
  });

  test("not on a port that is taken: one warning that names the flag", () => {
    const { url } = start(new ManualTime());
    const time = new ManualTime();
    const port = Number(new URL(url).port);
    expect(start(time, { port }).server).toBeNull();
    expect(time.lines.map(({ level }) => level)).toEqual(["warn"]);
    expect(time.said("warn")[0]).toContain(`port ${port} of 127.0.0.1 is taken`);
    expect(time.said("warn")[0]).toContain("--metrics-port");
  });

  test.each(["203.0.113.7", "nonsense.invalid"])(
    "not on %s, an address of another machine: one warning",
    (address) => {
      const time = new ManualTime();
      expect(start(time, { address }).server).toBeNull();
      expect(time.lines.map(({ level }) => level)).toEqual(["warn"]);
      expect(time.said("warn")[0]).toContain(`cannot listen on ${address}`);
    },
  );

  test("until close, which does not wait for a connection that stays open", async () => {
    const { server, url } = start(new ManualTime());
    const socket = connect(Number(new URL(url).port), "127.0.0.1");
    const closed = new Promise<void>((resolve) => socket.on("close", () => resolve()));
    socket.on("error", () => {});
    await new Promise<void>((resolve) => socket.on("connect", () => resolve()));
    socket.write("GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    await new Promise<void>((resolve) => socket.once("data", () => resolve()));
    // Half a request; it has arrived once a later request is answered.
    socket.write("GET /metrics HTTP/1.1\r\nhos");
    await fetch(`${url}/health`);
    await server!.close();
    await closed;
    await expect(fetch(url)).rejects.toThrow();
  });
});

describe("LastingStatusServer", () => {
  test("gets a taken port once the port is free, and logs that once", async () => {
    const { server, url } = start(new ManualTime());
    const port = Number(new URL(url).port);
    const time = new ManualTime();
    const lasting = new LastingStatusServer({ address: "127.0.0.1", port }, PAGES, time.env);
    for (let round = 0; round < 3; round++) {
      await time.sleeping(30_000);
      expect([lasting.url, time.lines.length]).toEqual([null, 1]);
      time.pass(30_000);
    }
    await time.sleeping(30_000);
    await server!.close();
    time.pass(30_000);
    await eventually("its server", async () => lasting.url !== null, 5_000);
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
    expect(time.lines.map(({ level }) => level)).toEqual(["warn", "info"]);
    expect([time.said("info")[0]!.includes(`${url}/metrics`), time.sleepsMs]).toEqual([true, []]);
    await lasting.close();
    await expect(fetch(url)).rejects.toThrow();
  });

  test("without a port ends at once", async () => {
    const { url } = start(new ManualTime());
    const time = new ManualTime();
    const port = Number(new URL(url).port);
    const lasting = new LastingStatusServer({ address: "127.0.0.1", port }, PAGES, time.env);
    await lasting.close();
    expect([lasting.url, time.sleepsMs]).toEqual([null, []]);
  });
});
