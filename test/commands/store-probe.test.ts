/** Trying a store for create-only puts when a watch starts: what is said, and what is not. */
import { expect, test } from "bun:test";
import { warnIfUnguarded } from "../../src/commands/store-probe.ts";
import { WalrustError } from "../../src/errors.ts";
import { MemoryStore } from "../../src/storage/memory-store.ts";
import { probeConditionalPut } from "../../src/storage/probe.ts";
import type { ObjectStore, PutBody, PutOptions } from "../../src/storage/store.ts";
import { recordingEnv } from "../support/recording-log.ts";

/** A store in memory, with a put of its own. */
function storeWith(
  put: (inner: MemoryStore, key: string, body: PutBody, options?: PutOptions) => Promise<void>,
): {
  store: ObjectStore;
  inner: MemoryStore;
} {
  const inner = new MemoryStore();
  const store: ObjectStore = Object.create(inner, {
    url: { value: inner.url },
    layout: { value: "s3" },
    put: { value: (key: string, body: PutBody, options?: PutOptions) => put(inner, key, body, options) },
    delete: { value: (keys: string[]) => inner.delete(keys) },
    probe: { value: async (key: string) => ({ conditionalPut: await probeConditionalPut(store, key) }) },
  });
  return { store, inner };
}

async function keysOf(store: MemoryStore): Promise<string[]> {
  return (await Array.fromAsync(store.list(""))).map(({ key }) => key);
}

test("a store that enforces create-only puts is not worth a word, and is left as it was", async () => {
  const { env, lines } = recordingEnv();
  const { store, inner } = storeWith((inner, key, body, options) => inner.put(key, body, options));
  await warnIfUnguarded(store, env);
  expect(lines).toEqual([]);
  expect(await keysOf(inner)).toEqual([]);
});

test("a store that ignores the condition is warned of once, and is left as it was", async () => {
  const { env, lines } = recordingEnv();
  const { store, inner } = storeWith((inner, key, body) => inner.put(key, body));
  await warnIfUnguarded(store, env);
  expect(lines.map(({ level, message }) => [level, message])).toEqual([
    ["warn", "the store does not enforce create-only writes: a second writer is noticed late"],
  ]);
  expect(await keysOf(inner)).toEqual([]);
});

test("a store that cannot be tried is left to the uploads to speak of", async () => {
  const { env, lines } = recordingEnv();
  const { store } = storeWith(async () => {
    throw new WalrustError("storage", "it is away");
  });
  await warnIfUnguarded(store, env);
  expect(lines.map(({ level }) => level)).toEqual(["debug"]);
});

test("a folder enforces them always: nothing is written into it", async () => {
  const { env, lines } = recordingEnv();
  const folder = { layout: "file", url: "file:///b" } as ObjectStore;
  await warnIfUnguarded(folder, env);
  expect(lines).toEqual([]);
});
