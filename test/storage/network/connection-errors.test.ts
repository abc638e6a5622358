/**
 * Errors of an unreachable store: real connections to servers with a wrong certificate, without TLS, and
 * through failing proxies.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { WalrustError } from "../../../src/errors.ts";
import { openStore } from "../../../src/index.ts";
import { Authority } from "../../support/servers/certificates.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { TlsFront } from "../../support/servers/tls-front.ts";
import { keysOf } from "../contract/store-helpers.ts";

const PROXY_VARIABLES = ["http_proxy", "https_proxy", "all_proxy", "no_proxy"];
const env = systemEnv(SILENT_LOG);
let authority: Authority;
let server: S3Server;

beforeAll(async () => {
  authority = new Authority();
  server = await S3Server.start();
});

afterAll(() => server.stop());

/**
 * A server that writes `answer` to each connection and closes it.
 * @returns the server and its number of connections
 */
async function rawServer(answer: string): Promise<{ server: Server; url: string; count: () => number }> {
  let connections = 0;
  const raw = createServer((socket) => {
    connections++;
    socket.on("error", () => {});
    socket.once("data", () => socket.end(answer));
  });
  raw.listen(0, "127.0.0.1");
  await once(raw, "listening");
  const { port } = raw.address() as AddressInfo;
  return { server: raw, url: `http://127.0.0.1:${port}`, count: () => connections };
}

/** The error of listing a bucket. */
async function failure(endpoint: string, variables: Record<string, string> = {}): Promise<WalrustError> {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret", caFile: authority.path };
  const retry = { maxRetries: 2, baseDelayMs: 1, maxDelayMs: 1 };
  const before = new Map(
    PROXY_VARIABLES.flatMap((name) => [name, name.toUpperCase()]).map((name) => [name, process.env[name]]),
  );
  for (const name of before.keys()) delete process.env[name];
  Object.assign(process.env, variables);
  const store = openStore({ url: "s3://bucket", endpoint, ...keys, retry }, env, {});
  try {
    await keysOf(store, "");
  } catch (error) {
    return error as WalrustError;
  } finally {
    await store.close();
    for (const [name, value] of before) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
  throw new Error("it was listed");
}

describe("a certificate that cannot be verified", () => {
  const table = [
    ["of an unknown authority", {}, true, "ca_file in [s3], AWS_CA_BUNDLE"],
    ["that has ended", { days: -1 }, false, "the clock of this machine"],
    ["for another host", { names: ["store.example"] }, false, "the host name in the endpoint"],
  ] as const;
  for (const [label, options, isUnknown, hint] of table) {
    test(`${label} is not retried, and the hint names the remedy`, async () => {
      const issuer = isUnknown ? new Authority("unknown") : authority;
      const front = await TlsFront.to(server.url, issuer.server(options));
      let connections = 0;
      front.server.on("connection", () => connections++);
      try {
        const error = await failure(front.url);
        expect([error.code, error.retryable, connections]).toEqual(["storage", false, 1]);
        expect(error.message).toContain(`the certificate of ${new URL(front.url).host} cannot be verified`);
        expect(error.hint).toContain(hint);
      } finally {
        await front.stop();
      }
    });
  }
});

test("a port without TLS is named as the cause, and retried", async () => {
  const error = await failure(server.url.replace("http:", "https:"));
  expect([error.code, error.retryable]).toEqual(["storage", true]);
  expect(error.hint).toContain("the port may be for http://");
});

// The name server may answer that the name does not exist, or not at all.
test("a host whose name does not resolve is retried, and the hint is to check the network", async () => {
  const error = await failure("http://store.invalid:9");
  expect([error.code, error.retryable]).toEqual(["storage", true]);
  expect(`${error.message} ${error.hint}`).toMatch(/Check the network and the endpoint/);
});

describe("an endpoint that is not the store", () => {
  test("with a 404 and a text: the hint is to check the endpoint", async () => {
    const other = await rawServer(
      "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain\r\ncontent-length: 4\r\n\r\nnone",
    );
    const error = await failure(other.url);
    other.server.close();
    expect(error.message).toContain("the answer is not the store's: 404 without the document of an error");
    expect([error.code, error.hint]).toEqual(["storage", expect.stringContaining("check the endpoint")]);
  });

  test("with the bucket in its URL is named as the cause", async () => {
    const error = await failure(`${server.url}/bucket`);
    expect([error.code, error.retryable]).toEqual(["storage", false]);
    expect(error.hint).toBe(
      "Check the endpoint: it names the bucket bucket too. Give the endpoint without the bucket.",
    );
  });
});

describe("a proxy", () => {
  test("that is not there is named, with its variable and without its credentials", async () => {
    const error = await failure("http://store.example", { HTTP_PROXY: "http://me:SECRET@127.0.0.1:1" });
    expect([error.code, error.retryable]).toEqual(["storage", true]);
    expect(error.message).toEndWith("Unable to connect through the proxy http://127.0.0.1:1 (HTTP_PROXY)");
    expect(error.hint).toContain("NO_PROXY");
    expect(JSON.stringify([error.message, error.hint, error.context])).not.toContain("SECRET");
  });

  test("that demands credentials is named, and not asked again", async () => {
    const proxy = await rawServer("HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n");
    const error = await failure("https://store.example", { HTTPS_PROXY: proxy.url });
    proxy.server.close();
    expect([error.retryable, proxy.count()]).toEqual([false, 1]);
    expect(error.message).toContain(`the proxy ${proxy.url} (HTTPS_PROXY) refused`);
    expect(error.message).toContain("407");
    expect(error.hint).toContain("user and password in the URL in HTTPS_PROXY");
  });

  test("that cannot reach the store is named, and retried", async () => {
    const proxy = await rawServer("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n");
    const error = await failure("https://store.example", { HTTPS_PROXY: proxy.url });
    proxy.server.close();
    expect([error.retryable, proxy.count()]).toEqual([true, 3]);
    expect(error.message).toContain(
      `the proxy ${proxy.url} (HTTPS_PROXY) refused the connection with status 502`,
    );
  });

  for (const [label, answer] of [
    ["an error of its own", "HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n"],
    ["a page", "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"],
    ["a page with 403", "HTTP/1.1 403 No\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"],
  ]) {
    test(`that answers with ${label} in place of the store is named`, async () => {
      const proxy = await rawServer(answer as string);
      const error = await failure("http://store.example", { ALL_PROXY: proxy.url });
      proxy.server.close();
      expect([error.code, error.retryable]).toEqual(["storage", true]);
      expect(error.message).toContain(`through the proxy ${proxy.url} (ALL_PROXY)`);
    });
  }

  test("that is bypassed for the store is not named", async () => {
    const variables = { HTTP_PROXY: "http://127.0.0.1:1", NO_PROXY: "127.0.0.1" };
    const error = await failure("http://127.0.0.1:9", variables);
    expect(error.message).not.toContain("proxy");
    expect(error.hint).toBe("Check the network and the endpoint.");
  });
});
