/**
 * One replica server as a watch sees it: answers, refusals, waits while it is away, and secrets that stay.
 */
import { describe, expect, test } from "bun:test";
import type { Txid } from "../../../src/format/types.ts";
import { PushPeer, parsePushUrl } from "../../../src/replication/push/push-peer.ts";
import { DEFAULT_TLS_TRUST } from "../../../src/storage/network/tls-trust.ts";
import { failureOf } from "../../support/failure-of.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const TOKEN = "0123456789abcdef-SECRET";
const POSITION = '{"name":"app","txid":3,"state":"ready"}';
const OBJECT = { level: 0, minTxid: 4 as Txid, maxTxid: 4 as Txid };

/**
 * A server that answers each request by a function, and a peer for it.
 * @param isHasty waits and probes take no time
 */
function start(answer: (request: Request) => Response | Promise<Response>, isHasty = false) {
  const server = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: answer });
  const { env: real, lines } = recordingEnv();
  const env = {
    ...{ sleepCount: 0 },
    ...real,
    sleep: (durationMs: number, signal?: AbortSignal) => {
      env.sleepCount++;
      // The time of a stall stays.
      return real.sleep(isHasty && durationMs < 20_000 ? 1 : durationMs, signal);
    },
  };
  const end = new AbortController();
  const url = new URL(`http://127.0.0.1:${server.port}`);
  const peer = new PushPeer({ url, token: TOKEN, trust: DEFAULT_TLS_TRUST }, env, end.signal);
  const stop = async (): Promise<void> => {
    end.abort();
    peer.close();
    await server.stop(true);
  };
  return { server, peer, lines, stop, env };
}

describe("PushPeer", () => {
  test("sends an object with its metadata, its length and the token", async () => {
    const seen: unknown[] = [];
    const { peer, stop } = start(async (request) => {
      const { pathname } = new URL(request.url);
      const { headers } = request;
      seen.push([request.method, pathname, headers.get("authorization"), headers.get("content-length")]);
      seen.push([
        headers.get("x-walrust-meta-chain"),
        headers.get("transfer-encoding"),
        await request.text(),
      ]);
      return new Response(POSITION);
    });
    async function* chunks(): AsyncGenerator<Uint8Array> {
      const shared = Buffer.from("hello");
      yield shared;
      shared.set(Buffer.from("world"));
      yield shared;
    }
    const content = { sizeBytes: 10, metadata: { chain: "c" }, body: chunks() };
    const reply = await peer.send("tenants/a b", OBJECT, content);
    expect(reply.position.txid).toBe(3);
    expect(seen).toEqual([
      ["PUT", "/v1/tenants/a%20b/0000/0000000000000004-0000000000000004.ltx", ...[`Bearer ${TOKEN}`, "10"]],
      ["c", null, "helloworld"],
    ]);
    await stop();
  });

  test("gives refusals back, and takes other answers for failures", async () => {
    let answer = new Response("");
    const { peer, lines, stop } = start(() => answer);
    const refused = '{"name":"app","txid":3,"state":"ready","refused":"gap","message":"m"}';
    for (const status of [409, 422, 503]) {
      answer = new Response(refused, { status });
      expect((await peer.position("app")).refused).toBe("gap");
    }
    const CASES = [
      [404, "no place", "database"],
      [507, "full", "database"],
      [401, "", "auth"],
      [200, "<html>", "storage"],
      [302, "", "storage"],
      [409, POSITION, "storage"],
    ] as const;
    for (const [status, body, code] of CASES) {
      answer = new Response(body, { status, headers: { location: "http://127.0.0.1:1/" } });
      const failure = await failureOf(peer.position("app"));
      expect([status, failure.code]).toEqual([status, code]);
      expect(failure.message + JSON.stringify(lines)).not.toContain("SECRET");
    }
    await stop();
  });

  test("lets all wait while the server is away, logs that once, and its return", async () => {
    let isAway = true;
    let requestCount = 0;
    const { peer, lines, stop } = start(() => {
      requestCount++;
      return isAway ? new Response("bad gateway", { status: 502 }) : new Response(POSITION);
    });
    for (let i = 0; i < 3; i++) await failureOf(peer.position("app"));
    expect(requestCount).toBe(3);
    expect(peer.failure).toContain("502");
    isAway = false;
    await Promise.all(Array.from({ length: 20 }, () => peer.position("app")));
    expect(peer.failure).toBeNull();
    expect(lines.filter(({ level }) => level === "warn").length).toBe(1);
    await stop();
  });

  test("takes no answer of something else for the return of the server", async () => {
    const { peer, lines, stop, env } = start(() => new Response("<html>", { status: 502 }), true);
    await failureOf(peer.position("app"));
    const probes = env.sleepCount;
    await waitUntil(() => env.sleepCount > probes + 20);
    expect(peer.failure).toContain("502");
    expect(lines.filter(({ level }) => level !== "debug").length).toBe(1);
    await stop();
  });

  test("reads the beginning of an endless answer alone", async () => {
    const endless = (): Response =>
      new Response(
        (async function* () {
          for (;;) yield Buffer.alloc(100_000, "x");
        })() as unknown as ReadableStream,
      );
    const { peer, stop } = start(endless);
    expect((await failureOf(peer.position("app"))).code).toBe("storage");
    await stop();
  });

  test("has at most eight requests under way", async () => {
    let openCount = 0;
    let mostCount = 0;
    const gate = Promise.withResolvers<void>();
    const { peer, stop } = start(async () => {
      mostCount = Math.max(mostCount, ++openCount);
      await gate.promise;
      openCount--;
      return new Response(POSITION);
    });
    const all = Promise.all(Array.from({ length: 30 }, () => peer.position("app")));
    await waitUntil(() => openCount === 8);
    gate.resolve();
    await all;
    expect(mostCount).toBe(8);
    await stop();
  });
});

describe("parsePushUrl", () => {
  test.each(["http://replica:8080", "https://replica.example", "http://[::1]:8080/"])("accepts %s", (text) =>
    expect(parsePushUrl(text).origin).toBe(text.replace(/\/$/, "")),
  );

  const REFUSED = ["replica:8080", "ftp://a", "http://a/path", "http://u:p@a", "http://a?x", "", "http://"];
  test.each(REFUSED)("refuses %p", (text) => expect(() => parsePushUrl(text)).toThrow("--push-to"));

  test("keeps a password out of the message", () => {
    expect(() => parsePushUrl("http://u:SECRET@a")).not.toThrow(/SECRET/);
  });
});
