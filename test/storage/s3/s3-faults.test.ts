/**
 * S3Store against a failing server: the errors that it retries and reports, without losing or doubling an
 * object.
 */

import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type Env, type Log, systemEnv } from "../../../src/env.ts";
import { type OpenStoreOptions, openStore } from "../../../src/index.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { DEFAULT_TLS_TRUST } from "../../../src/storage/network/tls-trust.ts";
import { s3Address } from "../../../src/storage/s3/s3-address.ts";
import { S3Client } from "../../../src/storage/s3/s3-client.ts";
import { SINGLE_PUT_SIZE_MAX } from "../../../src/storage/s3/s3-multipart.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import type { RequestKind } from "../../support/servers/s3-call.ts";
import { type Fault, S3Server } from "../../support/servers/s3-server.ts";
import { expectCode, keysOf, patternBytes, quickEnv, text, textBody } from "../contract/store-helpers.ts";

const SECRET = "testsecret";
const warnings: string[] = [];
const log: Log = { debug() {}, info() {}, warn: (message) => warnings.push(message), error() {} };
let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});

afterAll(() => server.stop());

beforeEach(() => {
  server.reset();
  warnings.length = 0;
  server.options.clockOffsetMs = 0;
  server.options.conditionalPut = "yes";
  server.options.listPageSize = 1000;
  server.options.undeletable = [];
  server.options.sessionToken = undefined;
});

function open(options: Partial<OpenStoreOptions> = {}, env = quickEnv(log).env): ObjectStore {
  const keys = { accessKeyId: "test", secretAccessKey: SECRET };
  return openStore(
    { url: "s3://bucket/p", endpoint: server.url, ...keys, stallMs: 600_000, ...options },
    env,
    {},
  );
}

function openOnce(options: Partial<OpenStoreOptions> = {}): ObjectStore {
  return open({ retry: NO_RETRY, ...options });
}

async function failureOf(promise: Promise<unknown>): Promise<Record<string, unknown>> {
  const error = await promise.then(
    () => ({ code: "resolved", message: "" }),
    (caught) => caught,
  );
  expect(JSON.stringify([error.message, error.hint, error.context])).not.toContain(SECRET);
  return error as Record<string, unknown>;
}

function status(kind: RequestKind, statusCode: number, code: string, more: Partial<Fault> = {}): Fault {
  return { kind, when: "before", answer: { status: statusCode, code }, ...more };
}

describe("S3Store errors", () => {
  const table: [number, string, string, boolean][] = [
    [500, "InternalError", "storage", true],
    [503, "SlowDown", "storage", true],
    [503, "ServiceUnavailable", "storage", true],
    [502, "", "storage", true],
    [429, "TooManyRequests", "storage", true],
    [408, "RequestTimeout", "storage", true],
    [400, "RequestTimeout", "storage", true],
    [409, "ConditionalRequestConflict", "storage", true],
    [400, "BadDigest", "storage", true],
    [400, "InvalidArgument", "storage", false],
    [403, "AccessDenied", "auth", false],
    [401, "Unauthorized", "auth", false],
    [403, "InvalidAccessKeyId", "auth", false],
    [403, "SignatureDoesNotMatch", "auth", false],
    [412, "PreconditionFailed", "precondition", false],
    [404, "NoSuchBucket", "missing-bucket", false],
    [501, "NotImplemented", "storage", false],
  ];
  for (const [statusCode, s3Code, code, retryable] of table) {
    test(`put answered ${statusCode} ${s3Code} is "${code}"${retryable ? ", retryable" : ""}`, async () => {
      server.inject(status("put", statusCode, s3Code));
      const error = await failureOf(openOnce().put("k", textBody("x")));
      expect([error["code"], error["retryable"]]).toEqual([code, retryable]);
      expect(String(error["message"])).toContain("put k in s3://bucket/p");
    });
  }

  test("a redirect is not followed and names the region the bucket is in", async () => {
    const headers = { "x-amz-bucket-region": "eu-west-3", location: "http://127.0.0.1:1/" };
    for (const kind of ["get", "head", "list"] as const) {
      server.inject({ kind, when: "before", answer: { status: 301, code: "PermanentRedirect", headers } });
      const store = openOnce();
      const call = kind === "get" ? store.get("k") : kind === "head" ? store.head("k") : keysOf(store, "");
      const error = await failureOf(call);
      expect([error["code"], error["retryable"]]).toEqual(["storage", false]);
      expect(String(error["hint"])).toContain("eu-west-3");
    }
  });

  test("a wrong region or secret is an auth error that names the mistake", async () => {
    const wrongRegion = await failureOf(openOnce({ region: "eu-north-1" }).head("k"));
    expect(wrongRegion["code"]).not.toBe("resolved");
    const listing = await failureOf(keysOf(openOnce({ region: "eu-north-1" }), ""));
    expect([listing["code"], listing["retryable"]]).toEqual(["auth", false]);
    const secret = await failureOf(openOnce({ secretAccessKey: "other" }).put("k", textBody("x")));
    expect([secret["code"], String(secret["hint"])]).toEqual([
      "auth",
      "The secret access key is wrong, or a proxy changes requests on the way.",
    ]);
  });

  test("an endpoint where nobody listens is a retryable storage error", async () => {
    const gone = await S3Server.start();
    const endpoint = gone.url;
    gone.stop();
    const error = await failureOf(openOnce({ endpoint }).head("k"));
    expect([error["code"], error["retryable"]]).toEqual(["storage", true]);
  });
});

describe("S3Store under faults", () => {
  test("put succeeds after 503, a reset and a lost answer, with one object", async () => {
    for (const when of ["before", "after"] as const) {
      server.reset();
      server.inject({ kind: "put", when, answer: { status: 503, code: "SlowDown" } });
      server.inject({ kind: "put", when, answer: "reset" });
      await open().put("k", textBody("mine"), { createOnly: true, metadata: { writer: "me" } });
      expect(server.objects.get("bucket/p/k")?.bytes.toString()).toBe("mine");
      expect(server.count("put")).toBe(3);
    }
  });

  test("put that fetch repeats by itself recognizes its own object", async () => {
    const store = openOnce();
    const options = { createOnly: true, metadata: { writer: "me" } };
    await store.put("first", textBody("x"), options);
    server.inject({ kind: "put", when: "after", answer: "reset" });
    await store.put("k", textBody("mine"), options);
    expect([server.count("put"), server.objects.get("bucket/p/k")?.bytes.toString()]).toEqual([3, "mine"]);
  });

  test("put waits as long as Retry-After of a 503 or 429 demands, in seconds or as a date", async () => {
    const date = "Wed, 21 Oct 2026 07:28:00 GMT";
    const until = "Wed, 21 Oct 2026 07:28:07 GMT";
    const answers: [number, Record<string, string>][] = [
      [503, { "retry-after": "3" }],
      [429, { "retry-after": until, date }],
      [503, { "retry-after": "86400" }],
      [500, { "retry-after": "3" }],
      [503, { "retry-after": "soon" }],
    ];
    for (const [code, headers] of answers) {
      server.inject({ kind: "put", when: "before", answer: { status: code, code: "", headers } });
    }
    const { env, sleepsMs } = quickEnv(log);
    await open({}, env).put("k", textBody("x"));
    expect(sleepsMs).toEqual([3_050, 7_100, 30_000, 400, 800]);
  });

  test("put waits for a slot, and holds none between its attempts", async () => {
    server.inject(status("put", 503, "SlowDown", { count: 3 }));
    const putLimit = new Semaphore(1);
    let freeWaits = 0;
    const { env } = quickEnv(log);
    const sleep: Env["sleep"] = async (durationMs, signal) => {
      if (durationMs >= 60_000) return await env.sleep(durationMs, signal);
      await putLimit.run(async () => {
        freeWaits++;
      });
    };
    await putLimit.acquire();
    const putting = open({ putLimit }, { ...env, sleep }).put("k", textBody("x"));
    // A HEAD takes no slot; by the time of its answer the put would have arrived too.
    await expectCode(open().head("none"), "not-found");
    expect(server.count("put")).toBe(0);
    putLimit.release();
    await putting;
    expect([freeWaits, server.count("put"), await putLimit.run(async () => "free")]).toEqual([3, 4, "free"]);
  });

  test("a request whose caller gives up while keys are fetched is not sent", async () => {
    const controller = new AbortController();
    const address = s3Address({ bucket: "bucket", region: "us-east-1", endpoint: server.url });
    const credentials = {
      get: async () => {
        controller.abort(new Error("stopped"));
        return { accessKeyId: "test", secretAccessKey: SECRET };
      },
      refresh: () => false,
    };
    const options = {
      address,
      region: "us-east-1",
      credentials,
      env: systemEnv(log),
      stallMs: 60_000,
      trust: DEFAULT_TLS_TRUST,
      reachability: undefined,
    };
    const sending = new S3Client(options).send({
      action: "read k",
      method: "GET",
      fullKey: "k",
      signal: controller.signal,
    });
    await expect(sending).rejects.toThrow("stopped");
    expect(server.count("get")).toBe(0);
  });

  test("put gives up after the last retry, with waits between 0 and the doubled base", async () => {
    server.inject(status("put", 503, "SlowDown", { count: 100 }));
    const { env, sleepsMs } = quickEnv(log);
    const error = await failureOf(open({}, env).put("k", textBody("x")));
    expect([error["code"], error["retryable"]]).toEqual(["storage", true]);
    expect(server.count("put")).toBe(1 + DEFAULT_CONFIG.retry.maxRetries);
    expect(sleepsMs).toEqual([50, 100, 200, 400, 800]);
  });

  test("auth failures are not retried", async () => {
    server.inject(status("put", 403, "AccessDenied", { count: 100 }));
    await expectCode(open().put("k", textBody("x")), "auth");
    expect(server.count("put")).toBe(1);
  });

  test("get resumes a body that breaks off with a range", async () => {
    const store = open();
    const bytes = patternBytes(3_000_000);
    await store.put("k", { kind: "bytes", bytes });
    server.inject({ kind: "get", when: "after", answer: "truncate", count: 2 });
    const body = await store.get("k");
    expect(Buffer.compare(await body.bytes(), bytes)).toBe(0);
    expect(server.count("get")).toBe(3);
  });

  test("list resumes at the page that failed", async () => {
    server.options.listPageSize = 3;
    const store = open();
    const keys = Array.from({ length: 10 }, (_, n) => `k${n}`);
    for (const key of keys) await store.put(key, textBody("x"));
    server.inject(status("list", 500, "InternalError", { count: 2, skip: 2 }));
    expect(await keysOf(store, "")).toEqual(keys);
    expect(server.count("list")).toBe(6);
  });

  test("a request that hangs is cut off after the stall limit", async () => {
    let monotonicMs = 0;
    const system = systemEnv(log);
    const { promise: arrived, resolve: arrive } = Promise.withResolvers<void>();
    const env: Env = {
      ...system,
      monotonicMs: () => monotonicMs,
      sleep: async (durationMs, signal) => {
        const { promise: aborted, resolve } = Promise.withResolvers<void>();
        signal?.addEventListener("abort", () => resolve(), { once: true });
        await Promise.race([arrived, aborted]);
        monotonicMs += durationMs;
      },
    };
    server.inject({ kind: "put", when: "before", answer: "hang" });
    const putting = failureOf(open({ retry: NO_RETRY, stallMs: 5_000 }, env).put("k", textBody("x")));
    while (server.count("put") === 0) await system.turn();
    arrive();
    const error = await putting;
    expect([error["code"], error["retryable"]]).toEqual(["storage", true]);
    expect(String(error["message"])).toContain("nothing moved for 5 s");
  });

  test("a request is cut off when its caller aborts", async () => {
    server.inject({ kind: "put", when: "before", answer: "hang" });
    const controller = new AbortController();
    const putting = open().put("k", textBody("x"), { signal: controller.signal });
    const env = systemEnv(log);
    while (server.count("put") === 0) await env.turn();
    controller.abort(new Error("stopped"));
    await expect(putting).rejects.toThrow("stopped");
  });

  test("a clock that is an hour off is corrected once, from the Date of an answer", async () => {
    server.options.clockOffsetMs = 3_600_000;
    const store = openOnce();
    await store.put("k", textBody("x"), { createOnly: true });
    await store.head("k");
    expect([server.count("put"), server.count("head"), server.refusals]).toEqual([
      2,
      1,
      ["RequestTimeTooSkewed"],
    ]);
    expect(warnings.length).toBe(1);
    server.reset();
    server.options.clockOffsetMs = -7_200_000;
    await expectCode(openOnce().head("none"), "not-found");
    expect(server.refusals).toEqual(["RequestTimeTooSkewed"]);
  });

  test("static keys that have expired are an auth error at once", async () => {
    server.options.sessionToken = "new";
    await expectCode(openOnce({ sessionToken: "old" }).put("k", textBody("x")), "auth");
    expect(server.count("put")).toBe(1);
    await openOnce({ sessionToken: "new" }).put("k", textBody("x"));
  });

  test("delete of more than 1,000 keys takes two requests", async () => {
    const store = openOnce();
    await store.delete(Array.from({ length: 1_001 }, (_, n) => `k${n}`));
    expect(server.count("deleteMany")).toBe(2);
  });
});

describe("S3Store without conditional writes", () => {
  test("501 on If-None-Match falls back to checking first, with a warning", async () => {
    server.options.conditionalPut = "refused";
    const store = openOnce();
    await store.put("k", textBody("first"), { createOnly: true });
    expect([store.capabilities.conditionalPut, warnings.length]).toEqual(["no", 1]);
    await expectCode(store.put("k", textBody("second"), { createOnly: true }), "precondition");
    expect(await text(await store.get("k"))).toBe("first");
    expect(await store.probe("probe")).toEqual({ conditionalPut: "no", conditionalComplete: "no" });
    expect(await keysOf(store, "")).toEqual(["k"]);
  });

  test("probe finds a store that ignores If-None-Match, and later puts check first", async () => {
    server.options.conditionalPut = "ignored";
    const store = openOnce();
    expect(store.capabilities.conditionalPut).toBe("unknown");
    expect(await store.probe("probe")).toEqual({ conditionalPut: "no", conditionalComplete: "no" });
    await store.put("k", textBody("first"), { createOnly: true });
    await expectCode(store.put("k", textBody("second"), { createOnly: true }), "precondition");
    expect(await keysOf(store, "")).toEqual(["k"]);
  });

  test("probe that meets a 501 finds create-only writes missing", async () => {
    server.options.conditionalPut = "refused";
    expect(await openOnce().probe("probe")).toEqual({ conditionalPut: "no", conditionalComplete: "no" });
  });
});

describe("S3Store headers", () => {
  test("put sends the requested headers and no extra checksum", async () => {
    const store = open({ storageClass: "STANDARD_IA", sse: "aws:kms", sseKmsKeyId: "key-1" });
    await store.put("k", textBody("x"), {
      createOnly: true,
      metadata: { chain: "c" },
      contentType: "text/plain",
    });
    const headers = server.lastHeaders.get("put")!;
    expect(headers).toMatchObject({
      "x-amz-storage-class": "STANDARD_IA",
      "x-amz-server-side-encryption": "aws:kms",
      "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
      "x-amz-meta-chain": "c",
      "content-type": "text/plain",
      "content-length": "1",
      "if-none-match": "*",
    });
    expect(Object.keys(headers).filter((name) => /checksum|trailer|transfer-encoding/.test(name))).toEqual(
      [],
    );
  });

  test("a KMS key alone implies aws:kms, for an object in one request and in parts", async () => {
    const store = open({ sseKmsKeyId: "key-1" });
    await store.put("small", textBody("x"));
    await store.put("big", { kind: "bytes", bytes: new Uint8Array(SINGLE_PUT_SIZE_MAX + 1) });
    for (const operation of ["put", "createUpload"] as const) {
      expect(server.lastHeaders.get(operation)).toMatchObject({
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-server-side-encryption-aws-kms-key-id": "key-1",
      });
    }
  });
});
