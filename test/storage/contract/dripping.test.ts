/**
 * A store that answers one byte at a time. walrust gives up every kind of answer within a bound, but never a
 * body that keeps flowing, however long the whole body takes.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import type { WalrustError } from "../../../src/errors.ts";
import { openStore } from "../../../src/index.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { keysOf, textBody } from "./store-helpers.ts";

const STALL_MS = 500;
/**
 * An answer read into memory takes at most four times the stall limit; the last check comes one stall limit
 * later.
 */
const BOUND_MS = STALL_MS * 5;
/** Without a bound the answers here take hours; a busy machine needs some seconds more than the bound. */
const GIVEN_UP_MS = 20_000;
const env = systemEnv(SILENT_LOG);
const opened: { server: Server; sockets: Set<Socket> }[] = [];

afterEach(() => {
  for (const { server, sockets } of opened.splice(0)) {
    for (const socket of sockets) socket.destroy();
    server.close();
  }
});

/** A server that answers each request with `head`, then repeats a piece of `sizeBytes` every `everyMs`. */
async function dripping(head: string, sizeBytes: number, everyMs: number): Promise<ObjectStore> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", async () => {
      socket.write(head);
      while (!socket.destroyed) {
        await env.sleep(everyMs);
        socket.write(" ".repeat(sizeBytes));
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  opened.push({ server, sockets });
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const keys = { accessKeyId: "a", secretAccessKey: "b" };
  return openStore({ url: "s3://bucket", endpoint, ...keys, stallMs: STALL_MS, retry: NO_RETRY }, env, {});
}

const OBJECT = 'etag: "x"\r\nlast-modified: Wed, 21 Oct 2026 07:28:00 GMT\r\n';
const calls: Record<string, (store: ObjectStore) => Promise<unknown>> = {
  list: (store) => keysOf(store, ""),
  head: (store) => store.head("k"),
  get: async (store) => await (await store.get("k")).bytes(),
  put: (store) => store.put("k", textBody("x")),
  delete: (store) => store.delete(["k"]),
};

async function failureOf(promise: Promise<unknown>): Promise<{ error: WalrustError; tookMs: number }> {
  const beganMs = performance.now();
  const error = await promise.then(
    () => new Error("it succeeded"),
    (caught) => caught,
  );
  return { error, tookMs: performance.now() - beganMs };
}

describe("a dripping answer", () => {
  const heads: [string, string][] = [
    ["in its headers", "HTTP/1.1 200 OK\r\nx-slow: "],
    ["in its body", `HTTP/1.1 200 OK\r\n${OBJECT}content-length: 900000\r\n\r\n`],
    ["in its body of unknown length", `HTTP/1.1 200 OK\r\n${OBJECT}connection: close\r\n\r\n`],
    ["in the body of an error", "HTTP/1.1 503 Slow Down\r\ncontent-length: 60000\r\n\r\n"],
  ];
  for (const [label, head] of heads) {
    for (const [name, call] of Object.entries(calls)) {
      // A HEAD has no body, and walrust does not read the body of an object of unknown size.
      if (name === "head" && label !== "in its headers") continue;
      if (name === "get" && label.includes("unknown")) continue;
      test(`${label} ends ${name} within a bound, and is retried`, async () => {
        const { error, tookMs } = await failureOf(call(await dripping(head, 1, 10)));
        expect([error.code, error.retryable, error.message]).toEqual([
          "storage",
          true,
          expect.stringMatching(/moved for \d+(\.\d)? s/),
        ]);
        expect(tookMs).toBeLessThan(GIVEN_UP_MS);
      });
    }
  }

  test("at the slowest rate that counts as moving is given up if it is read into memory", async () => {
    const head = "HTTP/1.1 200 OK\r\ncontent-length: 16000000\r\n\r\n";
    const { error, tookMs } = await failureOf(keysOf(await dripping(head, 8192, 50), ""));
    expect([error.code, error.retryable]).toEqual(["storage", true]);
    expect(error.message).toMatch(/only \d+ bytes of the answer came in \d+(\.\d)? s/);
    expect(tookMs).toBeLessThan(GIVEN_UP_MS);
  });
});

test("S3Store reads a flowing body to its end, however long it takes", async () => {
  const sizeBytes = 16 * 1024 * 40;
  const head = `HTTP/1.1 200 OK\r\n${OBJECT}content-length: ${sizeBytes}\r\n\r\n`;
  const store = await dripping(head, 16 * 1024, 80);
  const beganMs = performance.now();
  expect((await (await store.get("k")).bytes()).byteLength).toBe(sizeBytes);
  expect(performance.now() - beganMs).toBeGreaterThan(BOUND_MS);
});
