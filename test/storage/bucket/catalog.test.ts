/**
 * The catalog of a bucket in both layouts: listings by database and level, names of databases, and the newest
 * object.
 */
import { describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { objectKey } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { takeListing } from "../../../src/recovery/verify/verify-listing.ts";
import {
  keyOf,
  listLevel,
  listObjects,
  newestObjectOrNull,
  readHeader,
  readTrailer,
} from "../../../src/storage/bucket/catalog.ts";
import { listDatabases } from "../../../src/storage/bucket/database-walk.ts";
import { recordBucket } from "../../support/histories/recorded-bucket.ts";
import { keysAt, readObject } from "../../support/oracles/history-oracle.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const LAYOUTS = ["s3", "file"] as const;

/** A store with empty objects, each given as "database level min max". */
async function storeOf(layout: "s3" | "file", ...objects: string[]): Promise<MemoryStore> {
  const store = new MemoryStore({ layout });
  for (const object of objects) {
    const [database, level, min, max] = object.split(" ") as [string, string, string, string];
    const key = objectKey(layout, database, Number(level), Number(min) as Txid, Number(max) as Txid);
    await store.put(key, { kind: "bytes", bytes: new Uint8Array(Number(max)) });
  }
  return store;
}

async function put(store: MemoryStore, key: string): Promise<void> {
  await store.put(key, { kind: "bytes", bytes: new Uint8Array(1) });
}

describe.each(LAYOUTS)("catalog of layout %s", (layout) => {
  test("listLevel gives the objects of one level of one database in order, and no other key", async () => {
    const store = await storeOf(
      layout,
      "app 0 10 10",
      "app 0 2 2",
      "app 9 1 1",
      "app/sub 0 3 3",
      "apple 0 4 4",
    );
    const folder = layout === "s3" ? "app/0000" : "app/ltx/0";
    await put(store, `${folder}/0000000000000003-0000000000000003.ltx.tmp`);
    await put(store, `${folder}/notes.txt`);
    await put(store, `${folder}/0000000000000009-0000000000000003.ltx`);
    const found = await listLevel(store, "app", 0);
    expect(found.map(({ minTxid, maxTxid, sizeBytes }) => [minTxid, maxTxid, sizeBytes] as number[])).toEqual(
      [
        [2, 2, 2],
        [10, 10, 10],
      ],
    );
    for (const one of found) expect([one.level, keyOf(store, "app", one)]).toEqual([0, one.key]);
  });

  test("listLevel starts after a key", async () => {
    const store = await storeOf(layout, "app 0 2 2", "app 0 3 3", "app 0 4 4");
    const [first] = await listLevel(store, "app", 0);
    const rest = await listLevel(store, "app", 0, { startAfter: first!.key });
    expect(rest.map(({ minTxid }) => minTxid as number)).toEqual([3, 4]);
  });

  test("listLevel and takeListing refuse a key that the store names twice", async () => {
    const inner = await storeOf(layout, "app 0 2 2", "app 9 1 1", "other 0 2 2");
    const store = new FaultyStore(inner);
    store.list = async function* (prefix, options) {
      for await (const info of inner.list(prefix, options)) {
        yield info;
        if (info.key.startsWith("app/")) yield info;
      }
    };
    const refused = { code: "integrity", message: expect.stringContaining("twice") };
    await expect(listLevel(store, "app", 0)).rejects.toMatchObject(refused);
    await expect(takeListing(store, "app", undefined)).rejects.toMatchObject(refused);
    expect((await listLevel(store, "other", 0)).length).toBe(1);
  });

  test("listObjects gives all levels of a database, and nothing for an absent database", async () => {
    const store = await storeOf(layout, "app 0 2 2", "app 1 2 5", "app 2 2 9", "app 3 2 20", "app 9 1 1");
    expect((await listObjects(store, "app")).map(({ level }) => level)).toEqual([0, 1, 2, 3, 9]);
    expect(await listObjects(store, "none")).toEqual([]);
  });

  test("listDatabases finds databases below prefixes, sorted, among any other keys", async () => {
    const store = await storeOf(layout, "b 0 2 2", "a/x 9 1 1", "a/y/z 9 1 1", "a 9 1 1");
    await put(store, "other/file.txt");
    await put(store, "b/manifest.json");
    expect(await listDatabases(store)).toEqual(["a", "a/x", "a/y/z", "b"]);
    expect(await listDatabases(new MemoryStore({ layout }))).toEqual([]);
  });

  test("listDatabases finds every database that can be stored, with any file name", async () => {
    const names = ["ltx", "0001", "0000", "0"];
    for (const name of names) {
      const store = await storeOf(layout, `${name} 9 1 1`);
      expect([name, await listDatabases(store)]).toEqual([name, [name]]);
    }
  });

  test("a missing bucket is an error and never an empty catalog", async () => {
    const store = new MemoryStore({ layout, bucketExists: false });
    await expect(listObjects(store, "app")).rejects.toMatchObject({ code: "missing-bucket" });
    await expect(listDatabases(store)).rejects.toMatchObject({ code: "missing-bucket" });
  });

  test("readHeader and readTrailer read both ends of an object", async () => {
    const { store, times } = await recordBucket(["INSERT INTO t(v) VALUES (randomblob(9000))"], layout);
    const newest = newestObjectOrNull(await listObjects(store, "app"))!;
    const header = await readHeader(store, newest.key);
    expect([header.minTxid, header.timestampMs] as number[]).toEqual([2, times.get(2)!]);
    const { bytes } = await readObject(store, newest.key);
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const trailer = await readTrailer(store, newest, header);
    expect(trailer.postApplyChecksum as bigint).toBe(view.getBigUint64(bytes.length - 16));
    expect(trailer.fileChecksum as bigint).toBe(view.getBigUint64(bytes.length - 8));
    expect((await keysAt(store, "app", 0)).length).toBe(1);
  });

  test("readHeader rejects a key that is no LTX object as corrupt, and names the key", async () => {
    const store = await storeOf(layout, "app 0 300 300");
    const [object] = await listObjects(store, "app");
    try {
      await readHeader(store, object!.key);
      expect.unreachable();
    } catch (error) {
      expect(error instanceof WalrustError && error.code).toBe("corrupt");
      expect(String(error)).toContain(object!.key);
    }
  });
});

describe("newestObjectOrNull", () => {
  test("newestObjectOrNull is the highest TXID, and prefers an increment to coarser objects", async () => {
    expect(newestObjectOrNull([])).toBeNull();
    const store = await storeOf("s3", "app 9 1 7", "app 1 2 7", "app 0 7 7", "app 0 6 6");
    const objects = await listObjects(store, "app");
    for (const order of [objects, objects.toReversed()]) expect(newestObjectOrNull(order)!.level).toBe(0);
    const without = objects.filter(({ level }) => level !== 0);
    for (const order of [without, without.toReversed()]) expect(newestObjectOrNull(order)!.level).toBe(1);
  });
});
