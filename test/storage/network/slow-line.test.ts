/**
 * Uploads over a slow, shared line: every upload succeeds, and no bytes are sent in vain. The line is a proxy
 * in this process, before a server that checks each request. Times are those of a slow uplink divided by
 * thirty. The stall limit is one second; eight bodies of 240 KB take one and a half seconds.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { SlowLine } from "../../../scripts/bench/processes/slow-line.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { openStore } from "../../../src/index.ts";
import { NO_RETRY, type RetryPolicy } from "../../../src/storage/contract/retry.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { AdaptiveLimit } from "../../../src/storage/guard/adaptive-limit.ts";
import { PutLimiter } from "../../../src/storage/guard/put-limiter.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { patternBytes } from "../contract/store-helpers.ts";

const STALL_MS = 1_000;
const BODY_SIZE = 240_000;
const RATE = 1_200_000;
let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());
beforeEach(() => server.reset());

function lineOf(bytesPerSecond: number): SlowLine {
  return new SlowLine({ port: Number(new URL(server.url).port), roundTripMs: 4, bytesPerSecond });
}

function storeOver(line: SlowLine, retry: RetryPolicy, putLimit?: PutLimiter): ObjectStore {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret" };
  const limits = { stallMs: STALL_MS, retry, ...(putLimit === undefined ? {} : { putLimit }) };
  const options = { url: "s3://bucket/p", endpoint: line.url, ...keys, ...limits };
  return openStore(options, systemEnv(SILENT_LOG), {});
}

async function putAll(store: ObjectStore, count: number, sizeBytes: number): Promise<void> {
  const puts = Array.from({ length: count }, (_, index) => {
    const bytes = patternBytes(sizeBytes + index);
    return store.put(`object-${index}`, { kind: "bytes", bytes });
  });
  await Promise.all(puts);
}

test("eight uploads at once, each longer than a stall limit, succeed at the first attempt", async () => {
  const line = lineOf(RATE);
  await putAll(storeOver(line, NO_RETRY), 8, BODY_SIZE);
  expect(server.objects.size).toBe(8);
  expect(line.receivedBytes).toBeLessThan(8 * (BODY_SIZE + 2_000));
  line.stop();
});

test("a lone upload longer than a stall limit succeeds at the first attempt", async () => {
  const line = lineOf(RATE / 4);
  await putAll(storeOver(line, NO_RETRY), 1, 2 * BODY_SIZE);
  expect(server.objects.size).toBe(1);
  line.stop();
});

test("thirty uploads behind a gate succeed, with any number in flight", async () => {
  const line = lineOf(4 * RATE);
  const gate = new PutLimiter(new AdaptiveLimit(128), systemEnv(SILENT_LOG));
  await putAll(storeOver(line, NO_RETRY, gate), 30, BODY_SIZE);
  expect(server.objects.size).toBe(30);
  line.stop();
});

test("uploads on a dead line are cut off, and fewer run at once afterwards", async () => {
  const line = lineOf(RATE);
  const gate = new PutLimiter(new AdaptiveLimit(128), systemEnv(SILENT_LOG));
  const store = storeOver(line, NO_RETRY, gate);
  line.isCut = true;
  const results = await Promise.allSettled([putAll(store, 1, 1_000), store.put("other", textOf(1_000))]);
  expect(results.map(({ status }) => status)).toEqual(["rejected", "rejected"]);
  expect([gate.facts.limit, gate.facts.reason]).toEqual([1, "stalled"]);
  line.stop();
});

function textOf(sizeBytes: number): { kind: "bytes"; bytes: Uint8Array } {
  return { kind: "bytes", bytes: patternBytes(sizeBytes) };
}
