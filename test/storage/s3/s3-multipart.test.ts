/** Multipart uploads against a failing server: S3Store repeats single parts, and leaves no upload behind. */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Log, SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { type OpenStoreOptions, openStore } from "../../../src/index.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";
import { expectCode, patternBytes, quickEnv, textBody } from "../contract/store-helpers.ts";

let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});

afterAll(() => server.stop());

beforeEach(() => server.reset());

function open(options: Partial<OpenStoreOptions> = {}, env = quickEnv(SILENT_LOG).env): ObjectStore {
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret", stallMs: 600_000 };
  return openStore({ url: "s3://bucket/p", endpoint: server.url, ...keys, ...options }, env, {});
}

describe("putMultipart", () => {
  const sizeBytes = 25 * 1024 * 1024 + 7;
  const path = join(tempFolder("multipart"), "big");
  const bytes = patternBytes(sizeBytes);
  const body = { kind: "file", path, offset: 0, sizeBytes } as const;
  const options = { createOnly: true, metadata: { writer: "me" } };
  beforeAll(() => writeFileSync(path, bytes));

  function stored(): Buffer | undefined {
    return server.objects.get("bucket/p/big")?.bytes;
  }

  test("putMultipart repeats single parts, not the whole object", async () => {
    server.inject({ kind: "putPart", when: "before", answer: { status: 503, code: "SlowDown" }, count: 2 });
    server.inject({ kind: "putPart", when: "after", answer: "reset" });
    server.inject({ kind: "createUpload", when: "before", answer: { status: 500, code: "InternalError" } });
    await open().put("big", body, options);
    expect(Buffer.compare(stored()!, bytes)).toBe(0);
    expect([server.count("putPart"), server.count("createUpload"), server.uploads.size]).toEqual([
      4 + 3,
      2,
      0,
    ]);
    expect(server.lastHeaders.get("createUpload")).toMatchObject({ "x-amz-meta-writer": "me" });
    expect(server.lastHeaders.get("completeUpload")!["if-none-match"]).toBe("*");
  });

  test("putMultipart succeeds if the completion's answer was lost, or an error in a 200", async () => {
    server.inject({ kind: "completeUpload", when: "after", answer: "reset" });
    await open().put("big", body, options);
    expect([Buffer.compare(stored()!, bytes), server.count("createUpload")]).toEqual([0, 1]);
    server.reset();
    server.inject({ kind: "completeUpload", when: "before", answer: { errorIn200: "InternalError" } });
    await open().put("big", body, options);
    expect([Buffer.compare(stored()!, bytes), server.count("completeUpload")]).toEqual([0, 2]);
  });

  test("putMultipart with isSingleAttempt retries none of its requests", async () => {
    server.inject({ kind: "putPart", when: "before", answer: { status: 503, code: "SlowDown" } });
    await expectCode(open().put("big", body, { ...options, isSingleAttempt: true }), "storage");
    expect([server.count("createUpload"), server.count("abortUpload")]).toEqual([1, 1]);
  });

  test("putMultipart aborts the upload on a failure or an abort", async () => {
    server.inject({ kind: "putPart", when: "before", answer: { status: 403, code: "AccessDenied" } });
    await expectCode(open().put("big", body, options), "auth");
    expect([server.uploads.size, server.count("abortUpload"), stored()]).toEqual([0, 1, undefined]);
    server.reset();
    server.inject({ kind: "putPart", when: "before", answer: "hang", count: 10 });
    const controller = new AbortController();
    const env = systemEnv(SILENT_LOG);
    const putting = open({}, env).put("big", body, { ...options, signal: controller.signal });
    while (server.count("putPart") === 0) await env.turn();
    controller.abort(new Error("stopped"));
    await expect(putting).rejects.toThrow("stopped");
    expect([server.uploads.size, stored()]).toEqual([0, undefined]);
  });

  test("putMultipart that is aborted waits only a moment for an abort request that hangs", async () => {
    server.inject({ kind: "putPart", when: "before", answer: "hang", count: 10 });
    server.inject({ kind: "abortUpload", when: "before", answer: "hang", count: 10 });
    const controller = new AbortController();
    const system = systemEnv(SILENT_LOG);
    const sleepsMs: number[] = [];
    const sleep: typeof system.sleep = async (durationMs, signal) => {
      sleepsMs.push(durationMs);
      if (durationMs === 2_000) while (server.count("abortUpload") === 0) await system.turn();
      else await system.sleep(durationMs, signal);
    };
    const putting = open({}, { ...system, sleep }).put("big", body, {
      ...options,
      signal: controller.signal,
    });
    while (server.count("putPart") === 0) await system.turn();
    controller.abort(new Error("stopped"));
    await expect(putting).rejects.toThrow("stopped");
    expect([server.count("abortUpload"), sleepsMs.includes(2_000)]).toEqual([1, true]);
  });

  test("putMultipart reports left-over parts once, until an upload succeeds", async () => {
    const warnings: string[] = [];
    const log: Log = { ...SILENT_LOG, warn: (message) => warnings.push(message) };
    const store = open({}, quickEnv(log).env);
    for (let outage = 1; outage <= 2; outage++) {
      for (let round = 0; round < 3; round++) {
        server.inject({ kind: "putPart", when: "before", answer: { status: 403, code: "AccessDenied" } });
        server.inject({ kind: "abortUpload", when: "before", answer: { status: 403, code: "AccessDenied" } });
        await expectCode(store.put(`big-${outage}`, body, options), "auth");
      }
      expect(warnings.length).toBe(outage);
      server.reset();
      await store.put(`big-${outage}`, body, options);
    }
  });

  test("putMultipart holds one slot for its three requests, and none while it waits", async () => {
    const putLimit = new Semaphore(1);
    const { env } = quickEnv(SILENT_LOG);
    let freeWaits = 0;
    const sleep: typeof env.sleep = async (durationMs, signal) => {
      if (durationMs >= 60_000) return await env.sleep(durationMs, signal);
      // Other works get slots while this upload waits: if it held its slot, this would never happen.
      await putLimit.run(async () => {
        freeWaits++;
      });
    };
    const overloaded = { status: 503, code: "SlowDown" };
    server.inject({ kind: "createUpload", when: "before", answer: overloaded });
    server.inject({ kind: "putPart", when: "before", answer: overloaded, count: 6 });
    server.inject({ kind: "completeUpload", when: "before", answer: overloaded });
    await open({ putLimit }, { ...env, sleep }).put("big", body, options);
    expect([Buffer.compare(stored()!, bytes), freeWaits, putLimit.isContended]).toEqual([0, 8, false]);
    expect(await putLimit.run(async () => "free")).toBe("free");
  });

  test("putMultipart that loses the race at the completion is refused and cleans up", async () => {
    server.inject({ kind: "head", when: "before", answer: { status: 404, code: "NoSuchKey" } });
    await open().put("big", textBody("theirs"));
    await expectCode(open().put("big", body, options), "precondition");
    expect([server.uploads.size, stored()?.toString()]).toEqual([0, "theirs"]);
  });

  test("putMultipart of a key that exists sends no parts", async () => {
    await open().put("big", textBody("theirs"));
    await expectCode(open().put("big", body, options), "precondition");
    expect(server.count("createUpload")).toBe(0);
  });
});
