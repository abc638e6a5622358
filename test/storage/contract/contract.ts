/**
 * The contract of every ObjectStore as one suite: the same tests run against memory, file, S3 on the
 * in-process server, and S3 on a real gateway. This suite alone checks the promises of
 * src/storage/contract/store.ts.
 */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hasCode } from "../../../src/errors.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { tempFolder } from "../../support/temp.ts";
import {
  expectCode,
  inBatches,
  infosOf,
  keysOf,
  patternBytes,
  sha256Of,
  sortedByBytes,
  text,
  textBody,
} from "./store-helpers.ts";

/** A kind of store under test. */
export interface ContractSubject {
  /** Opens a store over an empty root; the suite calls it once per test. */
  open(): Promise<ObjectStore> | ObjectStore;
  /** Opens a store whose bucket or root folder does not exist. */
  openMissing(): Promise<ObjectStore> | ObjectStore;
  /** Whether a put into a missing bucket creates the bucket (file) instead of failing. */
  putCreatesBucket?: boolean;
  /** versitygw keeps the old metadata when an object without metadata replaces an object. */
  keepsStaleMetadata?: boolean;
  /** Whether a head states a checksum of each object of one request; "no" by default. */
  checksums?: "yes" | "no";
  /** Number of objects in the paging tests; above 1,000 where that is fast. */
  manyCount?: number;
  /** `test`, or a variant that skips. */
  test?: typeof test;
}

/** Runs the suite. */
export function storeContract(name: string, subject: ContractSubject): void {
  describe(`${name}: puts and gets`, () => putAndGetContract(subject));
  describe(`${name}: create-only`, () => createOnlyContract(subject));
  describe(`${name}: listings`, () => listingContract(subject));
  describe(`${name}: deletion`, () => deletionContract(subject));
  describe(`${name}: missing objects and buckets`, () => missingContract(subject));
}

/** Keys with every kind of character that any layer has to escape. */
export const SPECIAL_KEYS = [
  "a b/c+d/e=f&g.ltx",
  "naïve/ключ/数据库/🦭.ltx",
  "quotes'\"/(paren)/[b]{c}/star*!~;:@,$.ltx",
  "percent%41/%2F/100%.ltx",
  "angle<b>&amp;/back\\slash/ha#sh?query",
  ".hidden/..dots/...",
];

function putAndGetContract(subject: ContractSubject): void {
  const { open, test: it = test, keepsStaleMetadata, checksums = "no" } = subject;
  it("head states the checksum of the bytes, or none", async () => {
    const store = await open();
    const path = join(tempFolder("checksum"), "file");
    writeFileSync(path, patternBytes(300_000));
    await store.put("a", textBody("hello"), { createOnly: true });
    await store.put("b", { kind: "file", path, offset: 1_000, sizeBytes: 200_000 });
    const bytes = [new TextEncoder().encode("hello"), patternBytes(300_000).subarray(1_000, 201_000)];
    for (const [index, key] of ["a", "b"].entries()) {
      const { checksum } = await store.head(key);
      expect([key, checksum !== undefined]).toEqual([key, checksums === "yes"]);
      if (checksum === undefined) continue;
      const hex = new Bun.CryptoHasher(checksum.algorithm).update(bytes[index]!).digest("hex");
      expect(checksum.hex).toBe(hex);
    }
  });

  it("put then get returns the bytes, size and metadata", async () => {
    const store = await open();
    const metadata = { "litestream-timestamp": "2026-01-02T03:04:05.678Z", chain: "ab".repeat(32), x: "a b" };
    await store.put("db/0000/1.ltx", textBody("hello"), {
      metadata,
      contentType: "application/octet-stream",
    });
    const body = await store.get("db/0000/1.ltx");
    expect(await text(body)).toBe("hello");
    expect(body.key).toBe("db/0000/1.ltx");
    expect(body.sizeBytes).toBe(5);
    expect(body.metadata).toEqual(metadata);
    const head = await store.head("db/0000/1.ltx");
    expect(head).toMatchObject({ key: head.key, sizeBytes: 5, modifiedMs: body.modifiedMs });
    expect(head.metadata).toEqual(metadata);
    expect(Math.abs(head.modifiedMs - Date.now())).toBeLessThan(120_000);
  });

  it("put replaces an object and its metadata", async () => {
    const store = await open();
    await store.put("manifest.json", textBody("first, longer"), { metadata: { n: "1", gone: "yes" } });
    await store.put("manifest.json", textBody("second"), { metadata: { n: "2" } });
    const body = await store.get("manifest.json");
    expect([await text(body), body.metadata]).toEqual(["second", { n: "2" }]);
    await store.put("manifest.json", textBody("third!"));
    const { metadata } = await store.head("manifest.json");
    expect(metadata).toEqual(keepsStaleMetadata ? { n: "2" } : {});
    expect(await keysOf(store, "")).toEqual(["manifest.json"]);
  });

  it("put reports the bytes that the store has taken", async () => {
    const store = await open();
    const path = join(tempFolder("sent"), "file");
    writeFileSync(path, patternBytes(20 << 20));
    for (const sizeBytes of [0, 10, 300_000, 20 << 20]) {
      let sentBytes = 0;
      const onSent = (byteCount: number): void => {
        sentBytes += byteCount;
      };
      await store.put(`sent/${sizeBytes}`, { kind: "file", path, offset: 0, sizeBytes }, { onSent });
      expect([sizeBytes, sentBytes]).toEqual([sizeBytes, sizeBytes]);
    }
  });

  it("put stores an empty object", async () => {
    const store = await open();
    await store.put("empty", textBody(""), { createOnly: true, metadata: { a: "b" } });
    const body = await store.get("empty");
    expect([body.sizeBytes, body.metadata, await text(body)]).toEqual([0, { a: "b" }, ""]);
    expect(await text(await store.get("empty", { range: { offset: 0, length: 10 } }))).toBe("");
  });

  it("put sends a region of a file", async () => {
    const store = await open();
    const path = join(tempFolder("region"), "source");
    writeFileSync(path, "0123456789");
    await store.put("part", { kind: "file", path, offset: 3, sizeBytes: 4 });
    expect(await text(await store.get("part"))).toBe("3456");
    await store.put("none", { kind: "file", path, offset: 10, sizeBytes: 0 });
    expect((await store.head("none")).sizeBytes).toBe(0);
  });

  it("put of a region past the end of the file fails and creates nothing", async () => {
    const store = await open();
    const path = join(tempFolder("short"), "source");
    writeFileSync(path, "0123456789");
    await expectCode(store.put("part", { kind: "file", path, offset: 5, sizeBytes: 6 }), "storage");
    await expectCode(
      store.put("part", { kind: "file", path: `${path}-none`, offset: 0, sizeBytes: 1 }),
      "storage",
    );
    expect(await keysOf(store, "")).toEqual([]);
  });

  it("get returns ranges, without bytes past the end", async () => {
    const store = await open();
    await store.put("r", textBody("0123456789"), { metadata: { a: "b" } });
    const ranges: [number, number, string][] = [
      [0, 1, "0"],
      [2, 3, "234"],
      [5, 5, "56789"],
      [8, 100, "89"],
      [0, 10, "0123456789"],
      [10, 5, ""],
      [400, 5, ""],
      [4, 0, ""],
    ];
    for (const [offset, length, expected] of ranges) {
      const body = await store.get("r", { range: { offset, length } });
      expect([offset, length, await text(body)]).toEqual([offset, length, expected]);
      expect([body.sizeBytes, body.metadata]).toEqual([10, { a: "b" }]);
    }
  });

  it("put and get carry an object of 20 MB", async () => {
    const store = await open();
    const path = join(tempFolder("large"), "source");
    const bytes = patternBytes(20 * 1024 * 1024 + 13);
    writeFileSync(path, bytes);
    const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
    const sizeBytes = bytes.byteLength - 13;
    const options = { metadata: { a: "large" }, createOnly: true };
    await store.put("big/from-file", { kind: "file", path, offset: 13, sizeBytes }, options);
    await store.put("big/from-bytes", { kind: "bytes", bytes }, { ...options, sha256 });
    expect(await sha256Of(await store.get("big/from-bytes"))).toBe(sha256);
    const body = await store.get("big/from-file");
    expect([body.sizeBytes, body.metadata]).toEqual([sizeBytes, { a: "large" }]);
    // The ETag of parts is no checksum of the whole.
    const { checksum } = await store.head("big/from-file");
    const md5 = new Bun.CryptoHasher("md5").update(bytes.subarray(13)).digest("hex");
    expect(checksum?.hex ?? md5).toBe(md5);
    expect(await sha256Of(body)).toBe(
      new Bun.CryptoHasher("sha256").update(bytes.subarray(13)).digest("hex"),
    );
    await expectCode(
      store.put("big/from-file", { kind: "file", path, offset: 0, sizeBytes }, options),
      "precondition",
    );
    const tail = await store.get("big/from-file", { range: { offset: sizeBytes - 3, length: 3 } });
    expect(await tail.bytes()).toEqual(bytes.slice(-3));
    const partlyRead = await store.get("big/from-file");
    for await (const chunk of partlyRead.chunks) {
      expect(chunk.byteLength).toBeGreaterThan(0);
      break;
    }
  });

  it("put and get take keys with special characters", async () => {
    const store = await open();
    for (const key of SPECIAL_KEYS) await store.put(key, textBody(key), { createOnly: true });
    for (const key of SPECIAL_KEYS) expect(await text(await store.get(key))).toBe(key);
    expect(await keysOf(store, "")).toEqual(sortedByBytes(SPECIAL_KEYS));
    for (const key of SPECIAL_KEYS) expect(await keysOf(store, key)).toEqual([key]);
    await store.delete(SPECIAL_KEYS);
    expect(await keysOf(store, "")).toEqual([]);
  });

  it("put refuses keys that leave the root, and metadata that no header can carry", async () => {
    const store = await open();
    for (const key of ["", "/a", "a/", "a//b", "../a", "a/../../b", "a/./b", "..", ".", "a\nb", "\ud800"]) {
      await expectCode(store.put(key, textBody("x")), "storage");
      await expectCode(store.get(key), "storage");
      await expectCode(store.delete([key]), "storage");
    }
    for (const metadata of [{ Upper: "a" }, { "a b": "c" }, { a: "ü" }, { a: "b\r\nc: d" }, { a: " b" }]) {
      await expectCode(store.put("k", textBody("x"), { metadata }), "storage");
    }
    await expectCode(store.put("k", textBody("x"), { metadata: { a: "x".repeat(3000) } }), "storage");
    expect(await keysOf(store, "")).toEqual([]);
  });
}

function createOnlyContract({ open, test: it = test }: ContractSubject): void {
  it("put with createOnly does not change an existing object", async () => {
    const store = await open();
    await store.put("once", textBody("first"), { createOnly: true, metadata: { n: "1" } });
    const again = store.put("once", textBody("second"), { createOnly: true, metadata: { n: "2" } });
    await expectCode(again, "precondition");
    const body = await store.get("once");
    expect([await text(body), body.metadata]).toEqual(["first", { n: "1" }]);
  });

  it("put with createOnly works again after a deletion", async () => {
    const store = await open();
    await store.put("k", textBody("one"), { createOnly: true, metadata: { n: "1" } });
    await store.delete(["k"]);
    await store.put("k", textBody("two"), { createOnly: true, metadata: { n: "2" } });
    const body = await store.get("k");
    expect([await text(body), body.metadata]).toEqual(["two", { n: "2" }]);
  });

  it("put with createOnly by several callers at once has exactly one winner, whole", async () => {
    const store = await open();
    const contenders = Array.from({ length: 8 }, (_, index) => String(index));
    const results = await Promise.allSettled(
      contenders.map((n) =>
        store.put("race", textBody(n.repeat(5000)), { createOnly: true, metadata: { n } }),
      ),
    );
    const winners = contenders.filter((_, index) => results[index]?.status === "fulfilled");
    expect(winners.length).toBe(1);
    for (const result of results) {
      if (result.status === "rejected") expect(hasCode(result.reason, "precondition")).toBe(true);
    }
    const body = await store.get("race");
    const winner = winners[0]!;
    expect([body.metadata, await text(body)]).toEqual([{ n: winner }, winner.repeat(5000)]);
  });

  it("probe finds that create-only puts are enforced, and leaves no object behind", async () => {
    const store = await open();
    const { conditionalPut, conditionalComplete = "yes" } = await store.probe("db/.probe");
    expect([conditionalPut, conditionalComplete]).toEqual(["yes", "yes"]);
    expect(store.capabilities.conditionalPut).toBe("yes");
    expect(await keysOf(store, "")).toEqual([]);
  });
}

function listingContract(subject: ContractSubject): void {
  const { open, test: it = test } = subject;
  const manyCount = subject.manyCount ?? 1_005;

  it("list is sorted by bytes across folders and honours the prefix", async () => {
    const store = await open();
    const keys = [
      "b",
      "a/2",
      "a/10",
      "a-b/1",
      "a.b",
      "a/sub/x",
      "a0",
      "A",
      "á",
      "a/sub.x",
      "\u{1f9ad}",
      "\uff5e",
    ];
    for (const key of keys) await store.put(key, textBody(key));
    expect(await keysOf(store, "")).toEqual(sortedByBytes(keys));
    expect(await keysOf(store, "a/")).toEqual(["a/10", "a/2", "a/sub.x", "a/sub/x"]);
    expect(await keysOf(store, "a/s")).toEqual(["a/sub.x", "a/sub/x"]);
    expect(await keysOf(store, "a")).toEqual(sortedByBytes(keys.filter((key) => key.startsWith("a"))));
    expect(await keysOf(store, "none/")).toEqual([]);
    expect(await keysOf(store, "b/")).toEqual([]);
    const infos = await infosOf(store, "a/sub/");
    expect(infos.map((info) => info.sizeBytes)).toEqual([7]);
    expect(infos[0]!.modifiedMs).toBeGreaterThan(1_700_000_000_000);
  });

  it("list starts after a key, whether or not the key exists", async () => {
    const store = await open();
    const keys = ["a/1", "a/2", "a/sub/1", "a/sub/2", "b/1", "c"];
    for (const key of keys) await store.put(key, textBody("x"));
    for (const startAfter of ["", "a", "a/1", "a/15", "a/sub", "a/sub/1", "a/sub0", "b/1", "c", "d"]) {
      const expected = keys.filter((key) => key > startAfter);
      expect([startAfter, await keysOf(store, "", startAfter)]).toEqual([startAfter, expected]);
    }
    expect(await keysOf(store, "a/", "a/2")).toEqual(["a/sub/1", "a/sub/2"]);
    expect(await keysOf(store, "a/", "b")).toEqual([]);
    expect(await keysOf(store, "b/", "a")).toEqual(["b/1"]);
  });

  it("list and listFolders page through every key, and delete removes them all", async () => {
    const store = await open();
    const keys = Array.from({ length: manyCount }, (_, n) => `many/${String(n).padStart(5, "0")}/x`);
    await inBatches(keys, 32, (key) => store.put(key, textBody("x"), { createOnly: true }));
    await store.put("other", textBody("x"));
    expect(await keysOf(store, "many/")).toEqual(keys);
    const names = keys.map((key) => key.split("/")[1]!);
    expect((await store.listFolders("many/")).toSorted()).toEqual(names);
    await store.delete(keys);
    expect(await keysOf(store, "")).toEqual(["other"]);
  }, 30_000);

  it("list stops when its caller stops iterating", async () => {
    const store = await open();
    for (const key of ["a", "b", "c"]) await store.put(key, textBody("x"));
    for await (const info of store.list("")) {
      expect(info.key).toBe("a");
      break;
    }
  });

  it("listFolders names folders and no objects", async () => {
    const store = await open();
    for (const key of ["a/b/1", "a/b/2", "a/c d/1", "a/é/x/y", "a/file", "z/1", "top"]) {
      await store.put(key, textBody("x"));
    }
    expect((await store.listFolders("")).toSorted()).toEqual(["a", "z"]);
    expect((await store.listFolders("a/")).toSorted()).toEqual(["b", "c d", "é"]);
    expect(await store.listFolders("none/")).toEqual([]);
    expect(await store.listFolders("z/")).toEqual([]);
    await expectCode(store.listFolders("a"), "storage");
    await store.delete(["z/1"]);
    expect(await store.listFolders("")).toEqual(["a"]);
  });
}

function deletionContract({ open, test: it = test }: ContractSubject): void {
  it("delete removes objects; a missing key counts as deleted", async () => {
    const store = await open();
    await store.put("a/1", textBody("x"), { metadata: { a: "b" } });
    await store.put("a/2", textBody("x"), { metadata: { a: "b" } });
    await store.delete(["a/1", "a/none", "none/none"]);
    expect(await keysOf(store, "")).toEqual(["a/2"]);
    await store.delete([]);
    await store.delete(["a/1", "a/2"]);
    expect(await keysOf(store, "")).toEqual([]);
    await expectCode(store.head("a/1"), "not-found");
  });
}

function missingContract(subject: ContractSubject): void {
  const { open, openMissing, test: it = test } = subject;
  it("get and head of a missing key are not-found", async () => {
    const store = await open();
    await store.put("a/b", textBody("x"));
    for (const key of ["none", "a", "a/b/c", "a/none"]) {
      await expectCode(store.get(key), "not-found");
      await expectCode(store.head(key), "not-found");
      await expectCode(store.get(key, { range: { offset: 0, length: 4 } }), "not-found");
      await expectCode(store.get(key, { range: { offset: 0, length: 0 } }), "not-found");
    }
  });

  it("a missing bucket is an error and never an empty list", async () => {
    const store = await openMissing();
    await expectCode(keysOf(store, ""), "missing-bucket");
    await expectCode(keysOf(store, "some/prefix"), "missing-bucket");
    await expectCode(store.listFolders(""), "missing-bucket");
    await expectCode(store.head("key"), "missing-bucket");
    await expectCode(store.get("key"), "missing-bucket");
    if (subject.putCreatesBucket) await store.put("key", textBody("x"));
    else await expectCode(store.put("key", textBody("x")), "missing-bucket");
  });

  it("an aborted signal rejects", async () => {
    const store = await open();
    const signal = AbortSignal.abort(new Error("stopped"));
    await expect(store.put("k", textBody("x"), { signal })).rejects.toThrow("stopped");
    await expect(store.get("k", { signal })).rejects.toThrow("stopped");
    await expect(store.head("k", { signal })).rejects.toThrow("stopped");
    await expect(store.delete(["k"], { signal })).rejects.toThrow("stopped");
    await expect(store.list("", { signal })[Symbol.asyncIterator]().next()).rejects.toThrow("stopped");
    await store.close();
  });
}
