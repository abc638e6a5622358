/** The proxy that an error names, by the rules of fetch. fetch itself is the oracle of these rules. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { proxyOrNull } from "../../../src/storage/network/proxy.ts";

const VARIABLES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
const kept = new Map<string, string | undefined>();
let proxyServer: Server;
let proxied = 0;

beforeAll(async () => {
  for (const name of VARIABLES.flatMap((variable) => [variable, variable.toUpperCase()])) {
    kept.set(name, process.env[name]);
    delete process.env[name];
  }
  proxyServer = createServer((_, response) => {
    proxied++;
    response.end("by the proxy");
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  proxyServer.listen(0, "127.0.0.1", resolve);
  await promise;
});

afterAll(() => {
  for (const [name, value] of kept) {
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  proxyServer.close();
});

describe("proxyOrNull", () => {
  // "P" stands for the proxy's URL. Nothing listens at the destination URLs.
  const table: [url: string, environment: Record<string, string>, variable: string | null][] = [
    ["http://127.0.0.1:1/", {}, null],
    ["http://127.0.0.1:1/", { HTTP_PROXY: "P" }, "HTTP_PROXY"],
    ["http://127.0.0.1:1/", { http_proxy: "P", HTTP_PROXY: "http://127.0.0.1:2" }, "http_proxy"],
    ["http://127.0.0.1:1/", { HTTPS_PROXY: "P" }, null],
    ["http://127.0.0.1:1/", { ALL_PROXY: "P" }, "ALL_PROXY"],
    ["http://127.0.0.1:1/", { HTTP_PROXY: "P", NO_PROXY: "*" }, null],
    ["http://127.0.0.1:1/", { HTTP_PROXY: "P", NO_PROXY: "10.0.0.0/8, 127.0.0.0/8" }, null],
    ["http://127.0.0.1:1/", { HTTP_PROXY: "P", NO_PROXY: "10.0.0.0/8" }, "HTTP_PROXY"],
    ["http://127.0.0.1:1/", { HTTP_PROXY: "P", NO_PROXY: "127.0.0.1:2" }, "HTTP_PROXY"],
    ["http://127.0.0.1:1/", { HTTP_PROXY: "P", NO_PROXY: "127.0.0.1:1" }, null],
    ["http://store.localhost:1/", { HTTP_PROXY: "P", NO_PROXY: ".localhost" }, null],
    ["http://store.localhost:1/", { HTTP_PROXY: "P", NO_PROXY: "*.localhost" }, null],
    ["http://store.localhost:1/", { HTTP_PROXY: "P", NO_PROXY: "ore.localhost" }, "HTTP_PROXY"],
    ["http://store.localhost:1/", { HTTP_PROXY: "P", no_proxy: "", NO_PROXY: "localhost" }, null],
    ["http://store.localhost:1/", { HTTP_PROXY: "P", no_proxy: "x", NO_PROXY: "localhost" }, "HTTP_PROXY"],
    ["http://[::1]:1/", { HTTP_PROXY: "P", NO_PROXY: "::1" }, null],
    ["http://[::1]:1/", { HTTP_PROXY: "P", NO_PROXY: "[::1]" }, null],
  ];
  for (const [url, given, variable] of table) {
    const way = variable === null ? "directly" : "by the proxy";
    test(`${url} with ${JSON.stringify(given)} goes ${way}`, async () => {
      const address = `http://127.0.0.1:${(proxyServer.address() as AddressInfo).port}`;
      const environment = Object.fromEntries(
        Object.entries(given).map(([name, value]) => [name, value === "P" ? address : value]),
      );
      const expected = variable === null ? null : { shown: address, variable };
      expect(proxyOrNull(new URL(url), environment)).toEqual(expected);
      proxied = 0;
      Object.assign(process.env, environment);
      try {
        await fetch(url, { keepalive: false }).catch(() => {});
      } finally {
        for (const name of Object.keys(environment)) delete process.env[name];
      }
      expect(proxied).toBe(variable === null ? 0 : 1);
    });
  }

  test("proxyOrNull hides credentials, and ignores a kind of proxy unknown to fetch", () => {
    const url = new URL("https://store.example/");
    expect(proxyOrNull(url, { https_proxy: "http://me:SECRET@proxy.example:3128/x" })).toEqual({
      shown: "http://proxy.example:3128",
      variable: "https_proxy",
    });
    expect(proxyOrNull(url, { HTTPS_PROXY: "socks5://proxy.example:1080" })).toBeNull();
    expect(proxyOrNull(url, { HTTPS_PROXY: "proxy.example:3128" })).toBeNull();
  });
});
