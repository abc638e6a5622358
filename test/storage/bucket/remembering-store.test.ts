/** RememberingStore passes the contract, and answers remembered listings without a request. */
import { describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import type { Txid } from "../../../src/format/types.ts";
import { ObjectIndex } from "../../../src/local/object-index.ts";
import { keyOf, listLevel, listObjects, rememberedObjects } from "../../../src/storage/bucket/catalog.ts";
import { RememberingStore } from "../../../src/storage/bucket/remembering-store.ts";
import { failureOf } from "../../support/failure-of.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";
import { storeContract } from "../contract/contract.ts";
import { textBody } from "../contract/store-helpers.ts";

const NOW_MS = 1_800_000_000_000;
/** Turns that a remembered listing gave to other work. */
let turns = 0;
const CLOCK = { nowMs: () => NOW_MS, turn: async () => void turns++ };

function remembering(inner: FaultyStore | MemoryStore, name = "app"): RememberingStore {
  const index = new ObjectIndex({ folder: tempFolder("remembering") });
  return new RememberingStore(inner, name, index, CLOCK);
}

storeContract("RememberingStore", {
  open: () => remembering(new MemoryStore(), "db"),
  openMissing: () => remembering(new MemoryStore({ bucketExists: false }), "db"),
});

/** A store over a memory store, whose calls are recorded; `known`: all levels are listed already. */
async function subject(known: "known" | "new" = "known") {
  const inner = new FaultyStore(new MemoryStore({ env: { nowMs: () => NOW_MS } }));
  const store = remembering(inner);
  const key = (txid: number, level = 0, maxTxid = txid): string =>
    keyOf(store, "app", { level, minTxid: txid as Txid, maxTxid: maxTxid as Txid });
  const put = (txid: number, level = 0, maxTxid = txid): Promise<void> =>
    store.put(key(txid, level, maxTxid), textBody("x".repeat(txid)), { createOnly: true });
  if (known === "known") await listObjects(store, "app");
  const lists = (): string[] => inner.calls.splice(0).filter((call) => call.startsWith("list "));
  lists();
  return { inner, store, key, put, lists };
}

async function sameAsListed({ store, inner }: Awaited<ReturnType<typeof subject>>): Promise<void> {
  const facts = (objects: Awaited<ReturnType<typeof listObjects>>): unknown =>
    objects.map(({ key, sizeBytes, modifiedMs, storedMs = modifiedMs }) => ({ key, sizeBytes, storedMs }));
  expect(facts(await rememberedObjects(store, "app"))).toEqual(
    facts(await listObjects(inner.inner, "app")) as unknown[],
  );
}

describe("a remembered listing", () => {
  test("shows our own puts and deletes without a request", async () => {
    const all = await subject();
    const { store, put, key, lists } = all;
    for (let txid = 1; txid <= 40; txid++) await put(txid);
    await put(1, 9);
    await put(2, 1, 5);
    await store.put("app/manifest.json", textBody("{}"));
    await store.put(key(3).replace("app/", "app/b/"), textBody("of another database"));
    await store.delete([key(7), key(1, 9), "app/manifest.json"]);
    expect(lists()).toEqual([]);
    await sameAsListed(all);
    const startAfter = key(20);
    const tail = await listLevel(store, "app", 0, { startAfter, isRemembered: true });
    expect(tail.map(({ minTxid }) => Number(minTxid))).toEqual(Array.from({ length: 20 }, (_, i) => i + 21));
    expect(lists()).toEqual([]);
  });

  test("of a level that is not known asks the store once, for the whole level", async () => {
    const { inner, store, key, lists } = await subject("new");
    for (const txid of [2, 3, 4]) await inner.inner.put(key(txid), textBody("x"));
    const tail = async (): Promise<number[]> =>
      (await listLevel(store, "app", 0, { startAfter: key(2), isRemembered: true })).map(
        ({ minTxid }) => minTxid,
      );
    expect(await tail()).toEqual([3, 4]);
    expect(lists()).toEqual(["list app/0000/"]);
    expect(await tail()).toEqual([3, 4]);
    expect((await listLevel(store, "app", 0, { isRemembered: true })).length).toBe(3);
    expect(lists()).toEqual([]);
  });

  test("holds what others did only after the next listing of the store", async () => {
    const all = await subject();
    const { inner, store, key, put } = all;
    await put(2);
    await inner.inner.put(key(3), textBody("another writer's"));
    await inner.inner.delete([key(2)]);
    expect((await rememberedObjects(store, "app")).map(({ key }) => key)).toEqual([key(2)]);
    expect((await listObjects(store, "app")).map(({ key }) => key)).toEqual([key(3)]);
    await sameAsListed(all);
  });

  test("of thousands of objects gives other work its turn", async () => {
    const { store, inner, key } = await subject("new");
    for (let txid = 1; txid <= 2_100; txid++) await inner.inner.put(key(txid), textBody("x"));
    await listObjects(store, "app");
    turns = 0;
    expect((await listLevel(store, "app", 0, { isRemembered: true })).length).toBe(2_100);
    expect(turns).toBe(4);
  });

  test("of another database, another prefix or with a limit asks the store", async () => {
    const { store, put, lists } = await subject();
    await put(2);
    await listLevel(store, "other", 0, { isRemembered: true });
    await Array.fromAsync(store.list("app/", { isRemembered: true }));
    await Array.fromAsync(store.list("app/0000/", { isRemembered: true, limit: 1 }));
    expect(lists()).toEqual(["list other/0000/", "list app/", "list app/0000/"]);
  });
});

/** Events after which one level is not known any more. */
const DOUBTS: readonly (readonly [
  what: string,
  act: (all: Awaited<ReturnType<typeof subject>>) => unknown,
])[] = [
  [
    "a put that failed and took effect",
    async ({ inner, put }) => {
      inner.after = (operation) => {
        if (operation === "put") throw new WalrustError("storage", "the answer was lost");
      };
      await put(3);
    },
  ],
  [
    "a create-only put that was refused",
    async ({ inner, key, put }) => {
      await inner.inner.put(key(3), textBody("another writer's"));
      await put(3);
    },
  ],
  [
    "a delete that failed and took effect",
    async ({ inner, store, key }) => {
      inner.after = (operation) => {
        if (operation === "delete") throw new WalrustError("storage", "the answer was lost");
      };
      await store.delete([key(2)]);
    },
  ],
  [
    "an object that is missing",
    async ({ inner, store, key }) => {
      await inner.inner.delete([key(2)]);
      await store.head(key(2));
    },
  ],
  [
    "an object that cannot be got",
    async ({ inner, store, key }) => {
      await inner.inner.delete([key(2)]);
      await store.get(key(2));
    },
  ],
];

describe("RememberingStore lists a level again", () => {
  test.each(DOUBTS)("after %s", async (_, act) => {
    const all = await subject();
    await all.put(2);
    await failureOf(Promise.resolve(act(all)));
    all.lists();
    await sameAsListed(all);
    expect(all.lists()).toEqual(["list app/0000/"]);
    await rememberedObjects(all.store, "app");
    expect(all.lists()).toEqual([]);
  });

  test("keeps puts and deletes that end while the listing runs", async () => {
    const all = await subject("new");
    const { store, put, key } = all;
    for (const txid of [2, 3, 4]) await put(txid);
    // The entries are taken from the store before the changes.
    const listing = store.list("app/0000/")[Symbol.asyncIterator]();
    await listing.next();
    await put(5);
    await store.delete([key(3)]);
    while (!(await listing.next()).done);
    all.lists();
    await sameAsListed(all);
    expect(all.lists()).not.toContain("list app/0000/");
  });

  test("remembers no listing that breaks off, or during which a put failed", async () => {
    const { inner, store, put, lists } = await subject("new");
    for (const txid of [2, 3, 4]) await put(txid);
    for await (const _ of store.list("app/0000/")) break;
    const listing = store.list("app/0000/")[Symbol.asyncIterator]();
    await listing.next();
    inner.after = (operation) => {
      if (operation === "put") throw new WalrustError("storage", "the answer was lost");
    };
    await failureOf(put(5));
    while (!(await listing.next()).done);
    lists();
    await listLevel(store, "app", 0, { isRemembered: true });
    expect(lists()).toEqual(["list app/0000/"]);
  });
});
