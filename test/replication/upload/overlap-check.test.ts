/**
 * Another writer whose objects no create-only put detects, because one object of several TXIDs stands beside
 * single ones. The next writer to put finds it by a listing beside the uploads.
 */
import { describe, expect, test } from "bun:test";
import type { Txid } from "../../../src/format/types.ts";
import type { SpoolFile } from "../../../src/local/spool.ts";
import { OverlapCheck } from "../../../src/replication/upload/overlap-check.ts";
import { putTiny, spoolTiny, TINY_WRITER, TinyHistory } from "../../support/histories/tiny-history.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const MINUTE_MS = 60_000;
const OTHER_HASH = /^[0-9a-f]{64}$/;

/** A writer that puts its own links into a shared store. */
class Writer {
  nowMs = 0;
  look: OverlapCheck;
  readonly #history: TinyHistory;
  readonly #folder = tempFolder("overlap");
  readonly #signal = new AbortController().signal;

  constructor(
    readonly inner: MemoryStore,
    seed: number,
    readonly store: MemoryStore | FaultyStore = inner,
  ) {
    this.look = new OverlapCheck("app", store, { monotonicMs: () => this.nowMs });
    this.#history = new TinyHistory(seededRandom(seed));
    for (let txid = 1; txid <= 20; txid++) this.#history.commit(txid);
  }

  /** The database rests: only the history of its uploads is left. */
  rest(): void {
    expect(this.look.isAtRest).toBe(true);
    this.look = new OverlapCheck("app", this.store, this.look.env, this.look.history);
  }

  /** Puts one link. @returns the key of another writer's object, if one was found by then */
  async put(minTxid: number, maxTxid = minTxid): Promise<string | null> {
    const object = { ...this.#history.commit(100), minTxid: minTxid as Txid, maxTxid: maxTxid as Txid };
    const file: SpoolFile = spoolTiny(this.#folder, object);
    this.look.sending(file);
    await putTiny(this.inner, "app", object);
    this.look.acknowledged(file, this.#signal);
    await this.look.done();
    return this.look.found?.key.slice(-37, -4) ?? null;
  }
}

const range = (min: number, max: number): string =>
  [min, max].map((txid) => txid.toString(16).padStart(16, "0")).join("-");

describe("OverlapCheck", () => {
  test("links that a power cut brought back, and that the bucket has, are no other writer's", async () => {
    const store = new MemoryStore();
    const before = new Writer(store, 3);
    await before.put(2, 4);
    await before.put(5);
    const [first, second] = before.look.history.ownLinks;
    for (const [revived, found] of [
      [[first!, second!], null],
      [[], range(5, 5)],
    ] as const) {
      const { look } = new Writer(store, 3);
      look.history.revivedLinks = revived;
      look.sending(first as SpoolFile);
      look.acknowledged(first as SpoolFile, new AbortController().signal);
      await look.done();
      expect(look.found?.key.slice(-37, -4) ?? null).toBe(found);
    }
  });

  test("a single writer, with single and longer links, finds no other", async () => {
    const writer = new Writer(new MemoryStore(), 1);
    for (const [min, max] of [
      [2, 2],
      [3, 6],
      [7, 7],
      [8, 9],
      [10, 15],
    ] as const) {
      writer.nowMs += 20 * MINUTE_MS;
      expect(await writer.put(min, max)).toBeNull();
    }
  });

  test("runs from the acknowledgement that makes it due until its listing ends", async () => {
    const inner = new MemoryStore();
    const store = new FaultyStore(inner);
    const writer = new Writer(inner, 1, store);
    const seen: boolean[] = [];
    store.before = async () => {
      await Promise.resolve();
      seen.push(writer.look.isRunning);
    };
    expect(await writer.put(2)).toBeNull();
    expect([seen, writer.look.isRunning]).toEqual([[], false]);
    expect(await writer.put(3, 5)).toBeNull();
    expect([seen, writer.look.isRunning]).toEqual([[true], false]);
  });

  test("a long link beside another writer's single ones finds them", async () => {
    const store = new MemoryStore();
    const [one, two] = [new Writer(store, 1), new Writer(store, 2)];
    await one.put(4);
    await two.put(5);
    expect(await one.put(5, 7)).toBe(range(5, 5));
    expect(one.look.found).toMatchObject({ writer: TINY_WRITER, sha256: expect.stringMatching(OTHER_HASH) });
  });

  test("a single link after a pause finds an earlier long one", async () => {
    const store = new MemoryStore();
    const [one, two] = [new Writer(store, 1), new Writer(store, 2)];
    await one.put(4);
    await two.put(5, 7);
    one.nowMs += 20 * MINUTE_MS;
    expect(await one.put(5)).toBe(range(5, 7));
  });

  test("a check after a rest knows our links, the pause, and a check that is owed", async () => {
    const inner = new MemoryStore();
    const store = new FaultyStore(inner);
    const [one, two] = [new Writer(inner, 1, store), new Writer(inner, 2)];
    await one.put(4);
    await one.put(5);
    one.rest();
    one.nowMs += 20 * MINUTE_MS;
    store.before = (operation) => {
      if (operation === "list") throw unreachable();
    };
    expect(await one.put(6)).toBeNull();
    one.rest();
    store.before = () => {};
    await two.put(7, 9);
    expect(await one.put(7)).toBe(range(7, 9));
  });

  test("a long link finds objects beside the long link before it", async () => {
    const store = new MemoryStore();
    const [one, two] = [new Writer(store, 1), new Writer(store, 2)];
    await one.put(4);
    expect(await one.put(5, 7)).toBeNull();
    await two.put(5);
    expect(await one.put(8, 10)).toBe(range(5, 5));
  });

  test("short pauses cost no listing", async () => {
    const inner = new MemoryStore();
    const store = new FaultyStore(inner);
    let listCount = 0;
    store.before = (operation) => {
      if (operation === "list") listCount++;
    };
    const writer = new Writer(inner, 1, store);
    for (let txid = 2; txid < 12; txid++) {
      writer.nowMs += 9 * MINUTE_MS;
      await writer.put(txid);
    }
    expect(listCount).toBe(0);
  });

  test("an object whose head fails is found with the next link", async () => {
    const inner = new MemoryStore();
    const store = new FaultyStore(inner);
    const [one, two] = [new Writer(inner, 1, store), new Writer(inner, 2)];
    await two.put(5);
    let isAway = true;
    store.before = (operation) => {
      if (isAway && operation === "head") throw unreachable();
    };
    expect(await one.put(5, 7)).toBeNull();
    isAway = false;
    expect(await one.put(8)).toBe(range(5, 5));
  });

  test("a listing that fails stops nothing, and the next one covers the same range", async () => {
    const inner = new MemoryStore();
    const store = new FaultyStore(inner);
    const [one, two] = [new Writer(inner, 1, store), new Writer(inner, 2)];
    await two.put(5);
    let isAway = true;
    store.before = () => {
      if (isAway) throw unreachable();
    };
    expect(await one.put(5, 7)).toBeNull();
    for (const txid of [8, 9, 10]) expect(await one.put(txid)).toBeNull();
    isAway = false;
    expect(await one.put(11)).toBe(range(5, 5));
  });
});
