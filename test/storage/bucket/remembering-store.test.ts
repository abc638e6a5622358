/** RememberingStore passes the contract, and answers remembered listings without a request. */
import { describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import type { Txid } from "../../../src/format/types.ts";
import { ObjectIndex } from "../../../src/local/object-index.ts";
import { keyOf, listLevel, listObjects, rememberedObjects } from "../../../src/storage/bucket/catalog.ts";
import { RememberingStore } from "../../../src/storage/bucket/remembering-store.ts";
import { failureOf } from "../../support/failure-of.ts";
import { seededRandom } from "../../support/seeded-random.ts";
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

async function sameAsListed({
  store,
  inner,
}: Pick<Awaited<ReturnType<typeof subject>>, "store" | "inner">): Promise<void> {
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

/** Puts, deletes and listings at the same time; some fail before or after they take effect, or halfway. */
class BusyBucket {
  readonly random: () => number;
  readonly inner = new MemoryStore({ env: { nowMs: () => NOW_MS } });
  readonly faulty = new FaultyStore(this.inner);
  readonly store = remembering(this.faulty);
  faults = 0;
  isQuiet = false;
  #txid = 1;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const hook = async (): Promise<void> => {
      await this.#turns();
      if (this.isQuiet || this.random() > 0.05) return;
      this.faults++;
      throw new WalrustError("storage", "the connection broke");
    };
    this.faulty.before = hook;
    this.faulty.after = hook;
    const whole = this.inner.delete.bind(this.inner);
    // Keys go one by one, and a failure leaves some.
    this.inner.delete = async (keys) => {
      const kept: { key: string; reason: string }[] = [];
      for (const key of keys) {
        await this.#turns();
        if (!this.isQuiet && this.random() < 0.02) throw new WalrustError("storage", "the connection broke");
        if (this.random() < 0.1) kept.push({ key, reason: "locked" });
        else await whole([key]);
      }
      return kept;
    };
  }

  /** Lets others work for a random while. */
  async #turns(): Promise<void> {
    for (let count = this.#below(6); count > 0; count--) await Promise.resolve();
  }

  #below(count: number): number {
    return Math.floor(this.random() * count);
  }

  #key(level: number, minTxid: number, maxTxid: number): string {
    return keyOf(this.store, "app", { level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid });
  }

  /** Increments, each until it is there. */
  async upload(): Promise<void> {
    for (let count = this.#below(30); count > 0; count--) {
      const txid = ++this.#txid;
      const attempt = (): Promise<boolean> =>
        this.store.put(this.#key(0, txid, txid), textBody("x".repeat(txid)), { createOnly: true }).then(
          () => true,
          ({ code }) => code === "precondition",
        );
      while (!(await attempt()));
    }
  }

  /** Merges and snapshots, each tried once, and deletions. */
  async maintain(): Promise<void> {
    for (let count = this.#below(8); count > 0; count--) {
      const level = [1, 2, 9][this.#below(3)]!;
      const minTxid = level === 9 ? 1 : 1 + this.#below(this.#txid);
      const key = this.#key(level, minTxid, minTxid + this.#below(this.#txid));
      const options = { createOnly: this.random() < 0.9 };
      await this.store.put(key, textBody("y".repeat(this.#below(50))), options).catch(() => {});
      const objects = await rememberedObjects(this.store, "app").catch(() => []);
      // No put of a process races with a delete of the same key: the newest increment may be on its way.
      const old = objects.filter(({ level, maxTxid }) => level > 0 || maxTxid < this.#txid);
      const keys = old.filter(() => this.random() < 0.2).map((object) => object.key);
      if (keys.length > 0) await this.store.delete(keys).catch(() => {});
    }
  }

  /** Listings of the store and of the memory, some of a part, and some broken off. */
  async list(): Promise<void> {
    for (let count = this.#below(20); count > 0; count--) {
      const level = [0, 0, 1, 2, 9][this.#below(5)]!;
      const from = { startAfter: this.#key(level, 1 + this.#below(this.#txid), this.#txid) };
      const options = { isRemembered: this.random() < 0.5, ...(this.random() < 0.3 ? from : {}) };
      const prefix = this.#key(level, 1, 1).slice(0, "app/0000/".length);
      try {
        for await (const _ of this.store.list(prefix, options)) {
          await this.#turns();
          if (this.random() < 0.01) break;
        }
      } catch (error) {
        if (!(error instanceof WalrustError)) throw error;
      }
    }
  }
}

test("RememberingStore holds what the store lists, after random work at the same time", async () => {
  let faults = 0;
  for (let seed = 1; seed <= 15; seed++) {
    const bucket = new BusyBucket(seed);
    for (let round = 0; round < 6; round++) {
      await Promise.all([bucket.upload(), bucket.maintain(), bucket.list(), bucket.list()]);
      bucket.isQuiet = true;
      await sameAsListed({ store: bucket.store, inner: bucket.faulty });
      bucket.isQuiet = false;
    }
    faults += bucket.faults;
  }
  expect(faults).toBeGreaterThan(50);
});
