/**
 * The continuation of a multipart upload: only parts that the store lacks are sent, and no part is completed
 * that was not compared with the file.
 */
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG } from "../../../src/env.ts";
import { type OpenStoreOptions, openStore } from "../../../src/index.ts";
import { UploadRecord } from "../../../src/replication/upload/upload-record.ts";
import type { ObjectStore, PutOptions } from "../../../src/storage/contract/store.ts";
import { planParts } from "../../../src/storage/s3/s3-parts.ts";
import { sharedGateway } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";
import { expectCode, patternBytes, quickEnv, sha256Of, textBody } from "../contract/store-helpers.ts";

const MiB = 1024 * 1024;
const sizeBytes = 28 * MiB + 7;
const bytes = patternBytes(sizeBytes);
const PART_COUNT = 4;
const keys = { accessKeyId: "test", secretAccessKey: "testsecret", stallMs: 600_000 };
const DOWN = { status: 503, code: "SlowDown" };

let server: S3Server;
let path: string;

beforeAll(async () => {
  server = await S3Server.start();
});

afterAll(() => server.stop());

beforeEach(() => {
  server.reset();
  Object.assign(server.options, { etags: "md5", listsUploads: true, listPageSize: 1_000 });
  path = join(tempFolder("parts"), "big");
  writeFileSync(path, bytes);
});

/** A store as a new process opens it. */
function open(options: Partial<OpenStoreOptions> = {}): ObjectStore {
  const { env } = quickEnv(SILENT_LOG);
  return openStore({ url: "s3://bucket/p", endpoint: server.url, ...keys, ...options }, env, {});
}

function put(options: Partial<PutOptions> = {}, store = open(), key = "big"): Promise<void> {
  const body = { kind: "file", path, offset: 0, sizeBytes } as const;
  const metadata = { writer: "me" };
  return store.put(key, body, {
    createOnly: true,
    metadata,
    uploadMemory: new UploadRecord(path),
    ...options,
  });
}

/** Puts until the store has failed for good after this many parts; then the process "dies". */
async function putUpTo(partCount: number): Promise<void> {
  server.inject({ kind: "putPart", when: "before", answer: DOWN, skip: partCount, count: 1_000 });
  await expectCode(put({ isSingleAttempt: true }), "storage");
  server.clearFaults();
  server.counts.clear();
}

function stored(key = "big"): Buffer {
  return server.objects.get(`bucket/p/${key}`)?.bytes ?? Buffer.alloc(0);
}

function counts(): number[] {
  return [server.count("createUpload"), server.count("putPart"), server.count("abortUpload")];
}

/** Expects that the object is whole, that no upload is left and that nothing is remembered. */
function expectDone(): void {
  expect(Buffer.compare(stored(), bytes)).toBe(0);
  expect([server.uploads.size, new UploadRecord(path).readOrNull()]).toEqual([0, null]);
}

describe("an upload that failed", () => {
  test.each([0, 1, 2, 3])("after %p parts is continued with the others", async (partCount) => {
    await putUpTo(partCount);
    const held = [...server.uploads.values()][0]!.parts.size;
    expect([server.uploads.size, held >= partCount]).toEqual([1, true]);
    await put();
    expect(counts()).toEqual([0, PART_COUNT - held, 0]);
    expect(server.lastHeaders.get("completeUpload")!["if-none-match"]).toBe("*");
    expectDone();
  });

  test("at its completion sends no part again", async () => {
    server.inject({ kind: "completeUpload", when: "before", answer: DOWN });
    await expectCode(put({ isSingleAttempt: true }), "storage");
    server.counts.clear();
    await put();
    expect(counts()).toEqual([0, 0, 0]);
    expectDone();
  });

  test("is continued by each retry of one put", async () => {
    server.inject({
      kind: "putPart",
      when: "before",
      answer: { status: 403, code: "AccessDenied" },
      skip: 3,
    });
    await expectCode(put(), "auth");
    await put();
    expect(counts()).toEqual([1, PART_COUNT + 1, 0]);
    expectDone();
  });

  test("because the key was taken is aborted and forgotten", async () => {
    server.inject({ kind: "head", when: "before", answer: { status: 404, code: "NoSuchKey" } });
    await open().put("big", textBody("theirs"));
    await expectCode(put(), "precondition");
    expect([server.uploads.size, new UploadRecord(path).readOrNull()]).toEqual([0, null]);
    expect(stored().toString()).toBe("theirs");
  });
});

describe("the parts of an earlier process", () => {
  test("count by their MD5 where the answer was lost", async () => {
    server.inject({ kind: "putPart", when: "after", answer: "reset", count: 1_000 });
    await expectCode(put({ isSingleAttempt: true }), "storage");
    server.clearFaults();
    server.counts.clear();
    const held = [...server.uploads.values()][0]!.parts.size;
    expect([held > 0, new UploadRecord(path).readOrNull()?.etags.size]).toEqual([true, 0]);
    await put();
    expect(counts()).toEqual([0, PART_COUNT - held, 0]);
    expectDone();
  });

  test("count by the remembered ETag where no ETag is an MD5", async () => {
    server.options.etags = "opaque";
    await putUpTo(3);
    await put();
    expect(counts()).toEqual([0, PART_COUNT - 3, 0]);
    expectDone();
  });

  test("are sent again where neither is known", async () => {
    server.options.etags = "opaque";
    await putUpTo(3);
    const upload = new UploadRecord(path).readOrNull()!;
    new UploadRecord(path).begin(upload);
    await put();
    expect(counts()).toEqual([0, PART_COUNT, 0]);
    expectDone();
  });

  test.each(["other bytes", "another size"])("with %p are sent again", async (damage) => {
    await putUpTo(3);
    const { parts } = [...server.uploads.values()][0]!;
    const { bytes: whole, etag } = parts.get(2)!;
    const changed = Buffer.from(whole);
    changed[5]! ^= 1;
    if (damage === "other bytes") parts.set(2, { bytes: changed, etag: `"${"0".repeat(32)}"` });
    else parts.set(2, { bytes: whole.subarray(1), etag });
    await put();
    expect(counts()).toEqual([0, PART_COUNT - 2, 0]);
    expectDone();
  });

  // Regression: the upload of a snapshot failed for ever, once it had been interrupted.
  test.each(["answers with a failure", "never ends"])(
    "are sent again where the listing %s",
    async (fault) => {
      await putUpTo(3);
      const answer = { status: 500, code: "InternalError" };
      if (fault === "never ends") server.options.listPageSize = 0;
      else server.inject({ kind: "listParts", when: "before", answer, count: 1_000 });
      await put();
      expect(counts()).toEqual([0, PART_COUNT, 0]);
      expectDone();
    },
  );

  test("wait for a store that wants fewer requests", async () => {
    await putUpTo(3);
    server.inject({ kind: "listParts", when: "before", answer: DOWN, count: 1_000 });
    await expectCode(put(), "storage");
    expect(counts()).toEqual([0, 0, 0]);
    server.clearFaults();
    await put();
    expect(counts()).toEqual([0, PART_COUNT - 3, 0]);
    expectDone();
  });

  test("are listed page by page", async () => {
    server.options.listPageSize = 1;
    await putUpTo(3);
    await put();
    expect([...counts(), server.count("listParts")]).toEqual([0, PART_COUNT - 3, 0, 3]);
    expectDone();
  });
});

describe("an upload begins anew", () => {
  test("when the store has dropped the earlier one", async () => {
    await putUpTo(3);
    server.uploads.clear();
    await put();
    expect(counts()).toEqual([1, PART_COUNT, 0]);
    expectDone();
  });

  test("when the store lists no parts: the earlier one is aborted", async () => {
    await putUpTo(3);
    server.options.listsUploads = false;
    await put();
    expect(counts()).toEqual([1, PART_COUNT, 1]);
    expectDone();
  });

  test("for a changed file: the earlier one is aborted", async () => {
    await putUpTo(3);
    const other = patternBytes(sizeBytes).reverse();
    writeFileSync(path, other);
    await put();
    expect(counts()).toEqual([1, PART_COUNT, 1]);
    expect([Buffer.compare(stored(), other), server.uploads.size]).toEqual([0, 0]);
  });

  test("at another key, as after a new name: the earlier one is aborted", async () => {
    await putUpTo(3);
    await put({}, open(), "renamed");
    expect([...counts(), server.uploads.size]).toEqual([1, PART_COUNT, 1, 0]);
    expect(Buffer.compare(stored("renamed"), bytes)).toBe(0);
  });

  // Regression: an upload that the store never completes was continued for ever.
  test("after a conflict at the completion", async () => {
    const answer = { status: 409, code: "ConditionalRequestConflict" };
    server.inject({ kind: "completeUpload", when: "before", answer });
    await expectCode(put({ isSingleAttempt: true }), "storage");
    server.counts.clear();
    await put();
    expect(counts()).toEqual([1, PART_COUNT, 0]);
    expectDone();
  });

  test.each([
    { status: 500, code: "InternalError" },
    { status: 409, code: "OperationAborted" },
  ])("when the store has all parts and fails to complete them twice with $status", async (answer) => {
    server.inject({ kind: "completeUpload", when: "before", answer, count: 2 });
    for (const abortCount of [0, 1]) {
      await expectCode(put({ isSingleAttempt: true }), "storage");
      expect(counts()).toEqual([1, PART_COUNT, abortCount]);
    }
    server.counts.clear();
    await put();
    expect(counts()).toEqual([1, PART_COUNT, 0]);
    expectDone();
  });

  test("for other metadata, which an upload has from its begin", async () => {
    await putUpTo(3);
    await put({ metadata: { writer: "me", version: "2" } });
    expect(counts()).toEqual([1, PART_COUNT, 1]);
    expectDone();
  });

  test("when its record is torn; the earlier one is left for the sweep of abandoned uploads", async () => {
    await putUpTo(3);
    writeFileSync(`${path}.upload`, '{"location":"s3:');
    await put();
    expect([...counts(), server.uploads.size]).toEqual([1, PART_COUNT, 0, 1]);
    expect(Buffer.compare(stored(), bytes)).toBe(0);
  });

  test("in another bucket, and nothing is asked of the first one", async () => {
    await putUpTo(3);
    await put({}, open({ url: "s3://bucket/other" }));
    expect([...counts(), server.count("listParts"), server.uploads.size]).toEqual([1, PART_COUNT, 0, 0, 1]);
  });
});

test("an upload of somebody else at the same key is neither continued nor aborted", async () => {
  await putUpTo(3);
  new UploadRecord(path).end();
  await put();
  expect([...counts(), server.uploads.size]).toEqual([1, PART_COUNT, 0, 1]);
  expect(Buffer.compare(stored(), bytes)).toBe(0);
});

testWith("versitygw")("versitygw: an upload of another process is continued", async () => {
  const gateway = await sharedGateway();
  gateway.createBucket("parts");
  const options = { ...keys, url: "s3://parts/p", endpoint: gateway.url };
  const store = (): ObjectStore => openStore(options, quickEnv(SILENT_LOG).env, {});
  const memory = new UploadRecord(path);
  const controller = new AbortController();
  const stopping = {
    readOrNull: () => memory.readOrNull(),
    begin: memory.begin.bind(memory),
    end: () => memory.end(),
    addPart: (number: number, etag: string): void => {
      memory.addPart(number, etag);
      controller.abort(new Error("killed"));
    },
  };
  await expect(put({ uploadMemory: stopping, signal: controller.signal }, store())).rejects.toThrow("killed");
  const before = memory.readOrNull()!;
  const sent: number[] = [];
  const counting = { ...stopping, addPart: (number: number): void => void sent.push(number) };
  await put({ uploadMemory: counting }, store());
  expect(sent.filter((number) => before.etags.has(number))).toEqual([]);
  expect(sent.length).toBeLessThan(PART_COUNT);
  expect(await sha256Of(await store().get("big"))).toBe(
    new Bun.CryptoHasher("sha256").update(bytes).digest("hex"),
  );
  // The gateway keeps a completed upload if a part of the killed process arrives late. The sweep aborts it.
  const left = await store().unfinishedUploads!("");
  expect(left.filter(({ uploadId }) => uploadId !== before.uploadId)).toEqual([]);
});

test("planParts tiles the object with 8 MB parts, or larger ones to stay within 10,000", () => {
  for (const size of [1, 8 * MiB, 8 * MiB + 1, 20 * MiB, 80_000 * MiB, 80_000 * MiB + 1, 5 * MiB * MiB]) {
    const parts = planParts(size);
    expect(parts.length).toBeLessThanOrEqual(10_000);
    let offset = 0;
    for (const [index, part] of parts.entries()) {
      expect([part.number, part.offset]).toEqual([index + 1, offset]);
      if (index < parts.length - 1) expect(part.sizeBytes).toBeGreaterThanOrEqual(8 * MiB);
      offset += part.sizeBytes;
    }
    expect(offset).toBe(size);
  }
});
