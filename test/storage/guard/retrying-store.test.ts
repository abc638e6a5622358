/**
 * RetryingStore: the calls that it retries, the listings and bodies that it resumes, and the meaning of a
 * lost answer.
 */
import { describe, expect, test } from "bun:test";
import { SILENT_LOG } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import type { ObjectBody, ObjectStore, PutBody, PutOptions } from "../../../src/storage/contract/store.ts";
import { RetryingStore } from "../../../src/storage/guard/retrying-store.ts";
import { Semaphore } from "../../../src/storage/guard/semaphore.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { expectCode, keysOf, patternBytes, quickEnv, text, textBody } from "../contract/store-helpers.ts";

const transient = new WalrustError("storage", "try again", { retryable: true });

/** A MemoryStore with injected failures, before or after a call takes effect. */
class FaultyStore extends MemoryStore {
  faults: ("before" | "after")[] = [];
  /** Numbers of bytes after which the next bodies break off. */
  breakAtBytes: number[] = [];
  callCount = 0;

  override async put(key: string, body: PutBody, options?: PutOptions): Promise<void> {
    const fault = this.#next();
    await super.put(key, body, options);
    if (fault === "after") throw transient;
  }

  override async get(key: string, options?: Parameters<ObjectStore["get"]>[1]): Promise<ObjectBody> {
    this.#next();
    const body = await super.get(key, options);
    const bytes = await body.bytes();
    const breakAt = this.breakAtBytes.shift();
    return { ...body, chunks: brokenChunks(bytes, breakAt), bytes: async () => bytes };
  }

  override async *list(prefix: string, options?: Parameters<ObjectStore["list"]>[1]) {
    let yieldedCount = 0;
    const breaks = this.#next() !== undefined;
    for await (const info of super.list(prefix, options)) {
      if (breaks && yieldedCount++ === 2) throw transient;
      yield info;
    }
  }

  #next(): "before" | "after" | undefined {
    this.callCount++;
    const fault = this.faults.shift();
    if (fault === "before") throw transient;
    return fault;
  }
}

async function* brokenChunks(bytes: Uint8Array, breakAt: number | undefined): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < bytes.byteLength; offset += 1000) {
    if (breakAt !== undefined && offset >= breakAt) throw transient;
    yield bytes.slice(offset, offset + 1000);
  }
}

function faulty(): { inner: FaultyStore; store: RetryingStore; sleepsMs: number[] } {
  const { env, sleepsMs } = quickEnv(SILENT_LOG);
  const inner = new FaultyStore();
  return { inner, store: new RetryingStore(inner, env, DEFAULT_CONFIG.retry), sleepsMs };
}

describe("RetryingStore", () => {
  test("put succeeds if it took effect although its answer was lost", async () => {
    const { inner, store } = faulty();
    inner.faults = ["before", "after"];
    await store.put("k", textBody("mine"), { createOnly: true, metadata: { writer: "me" } });
    expect(await text(await inner.get("k"))).toBe("mine");
  });

  test("put that is repeated and finds another writer's object is refused", async () => {
    const others: [string, Record<string, string>][] = [
      ["same", { writer: "other" }],
      ["else", { writer: "me" }],
      ["same", {}],
      ["same", { writer: "me", more: "1" }],
    ];
    for (const [content, metadata] of others) {
      const { inner, store } = faulty();
      await inner.put("k", textBody(content), { metadata });
      inner.faults = ["before"];
      const putting = store.put("k", textBody("same"), { createOnly: true, metadata: { writer: "me" } });
      await expectCode(putting, "precondition");
      expect(await text(await inner.get("k"))).toBe(content);
    }
  });

  test("put that finds its own object at the first attempt succeeds if the metadata proves it", async () => {
    const { inner, store } = faulty();
    const metadata = { writer: "me" };
    await inner.put("k", textBody("same"), { metadata });
    await store.put("k", textBody("same"), { createOnly: true, metadata });
    await expectCode(store.put("k", textBody("else"), { createOnly: true, metadata }), "precondition");
    await inner.put("anonymous", textBody("same"));
    await expectCode(store.put("anonymous", textBody("same"), { createOnly: true }), "precondition");
    inner.faults = ["after"];
    await store.put("new", textBody("same"), { createOnly: true });
  });

  test("get resumes a body that breaks off, and gives each byte once", async () => {
    const { inner, store, sleepsMs } = faulty();
    const bytes = patternBytes(10_000);
    await inner.put("k", { kind: "bytes", bytes }, { metadata: { a: "b" } });
    inner.breakAtBytes = [3000, 1000, 2000];
    const body = await store.get("k");
    expect([body.sizeBytes, body.metadata]).toEqual([10_000, { a: "b" }]);
    expect(await body.bytes()).toEqual(bytes);
    expect(sleepsMs.length).toBe(3);
    inner.breakAtBytes = [2000, 2000];
    const ranged = await store.get("k", { range: { offset: 1500, length: 6000 } });
    expect(await ranged.bytes()).toEqual(bytes.slice(1500, 7500));
  });

  test("get of an object that is replaced before it resumes fails instead of mixing two", async () => {
    const { inner, store } = faulty();
    await inner.put("k", { kind: "bytes", bytes: patternBytes(5000) });
    inner.breakAtBytes = [2000];
    const body = await store.get("k");
    await inner.put("k", { kind: "bytes", bytes: new Uint8Array(6000) });
    await expectCode(body.bytes(), "storage");
  });

  test("list that breaks off resumes after the last key", async () => {
    const { inner, store } = faulty();
    const keys = ["a", "b", "c", "d", "e", "f", "g"];
    for (const key of keys) await inner.put(key, textBody("x"));
    inner.faults = ["after", "before", "after"];
    expect(await keysOf(store, "")).toEqual(keys);
  });

  test("put holds a slot during an attempt, and none while it waits or checks", async () => {
    const putLimit = new Semaphore(1);
    const free: string[] = [];
    const look = async (when: string): Promise<void> => {
      if (await putLimit.run(async () => true)) free.push(when);
    };
    const { env } = quickEnv(SILENT_LOG);
    const inner = new FaultyStore();
    inner.head = async (key) => {
      await look("head");
      return await MemoryStore.prototype.head.call(inner, key);
    };
    inner.faults = ["before", "after"];
    const store = new RetryingStore(
      inner,
      { ...env, sleep: () => look("wait") },
      DEFAULT_CONFIG.retry,
      putLimit,
    );
    await store.put("k", textBody("mine"), { createOnly: true, metadata: { writer: "me" } });
    expect(free).toEqual(["wait", "wait", "head"]);
    expect(await putLimit.run(async () => "free")).toBe("free");
  });

  test("put that is aborted while it waits for a slot sends nothing", async () => {
    const putLimit = new Semaphore(1);
    await putLimit.acquire();
    const stopper = new AbortController();
    const inner = new FaultyStore();
    const store = new RetryingStore(inner, quickEnv(SILENT_LOG).env, DEFAULT_CONFIG.retry, putLimit);
    const putting = store.put("k", textBody("x"), { signal: stopper.signal });
    stopper.abort(new Error("stopped"));
    await expect(putting).rejects.toThrow("stopped");
    putLimit.release();
    expect([inner.callCount, await putLimit.run(async () => "free")]).toEqual([0, "free"]);
  });

  test("a call with isSingleAttempt is not retried", async () => {
    const { inner, store, sleepsMs } = faulty();
    const once = { isSingleAttempt: true };
    for (const call of [
      () => store.put("k", textBody("x"), once),
      () => store.get("k", once),
      () => Array.fromAsync(store.list("", once)),
    ]) {
      inner.faults = ["before", "before"];
      inner.callCount = 0;
      await expectCode(call(), "storage");
      expect([inner.callCount, sleepsMs]).toEqual([1, []]);
    }
  });

  test("RetryingStore passes on url, layout, capabilities and other calls", async () => {
    const inner = new MemoryStore({ url: "file:///x", layout: "file" });
    const store = new RetryingStore(inner, quickEnv(SILENT_LOG).env, NO_RETRY);
    expect([store.url, store.layout, store.capabilities]).toEqual([
      "file:///x",
      "file",
      { conditionalPut: "yes" },
    ]);
    await store.put("a/b", textBody("x"));
    expect(await store.listFolders("")).toEqual(["a"]);
    expect((await store.head("a/b")).sizeBytes).toBe(1);
    await store.delete(["a/b"]);
    await expectCode(store.head("a/b"), "not-found");
    expect(await store.probe("p")).toEqual({ conditionalPut: "yes" });
    await store.close();
  });
});

// Regression: versitygw answers 412 before the winner's object can be read, and the put ended with
// "not-found".
test("put keeps the refusal of a key whose object is not visible yet", async () => {
  const inner = new MemoryStore();
  await inner.put("k", textBody("theirs"));
  inner.head = () => Promise.reject(new WalrustError("not-found", "no such object"));
  const store = new RetryingStore(inner, quickEnv(SILENT_LOG).env, DEFAULT_CONFIG.retry);
  await expectCode(
    store.put("k", textBody("ours"), { createOnly: true, metadata: { n: "1" } }),
    "precondition",
  );
});
