/**
 * Detects backups of other programs, and takes neither walrust's own objects, nor an empty bucket, nor other
 * files for one.
 */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import {
  detectForeignLayoutOrNull,
  ForeignLayoutError,
  findForeignDatabases,
  foreignErrorOr,
  isDoubtful,
} from "../../../src/storage/bucket/foreign-layout.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import {
  FOREIGN_BUCKETS,
  FOREIGN_FORMATS,
  HADBP,
  LZ4_FRAME,
  putForeign,
  RUST_INCREMENT,
  RUST_SNAPSHOT,
} from "../../support/histories/foreign-buckets.ts";
import { putTiny, TinyHistory } from "../../support/histories/tiny-history.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const LAYOUTS = ["s3", "file"] as const;
const VECTORS = join(import.meta.dir, "../../format/vectors/litestream");

async function storeWith(
  layout: "s3" | "file",
  objects: Readonly<Record<string, Uint8Array>>,
): Promise<MemoryStore> {
  const store = new MemoryStore({ layout });
  await putForeign(store, "app", objects);
  return store;
}

/** Objects that Litestream 0.5.18 wrote, with the level names of `layout`. */
function litestreamObjects(layout: "s3" | "file"): Record<string, Uint8Array> {
  const objects: Record<string, Uint8Array> = {};
  for (const name of readdirSync(VECTORS).filter((file) => file.endsWith(".ltx"))) {
    const level = name[0]!;
    const folder = layout === "s3" ? `000${level}` : `ltx/${level}`;
    objects[`${folder}/${name.slice(2)}`] = readFileSync(join(VECTORS, name));
  }
  return objects;
}

async function ownStore(layout: "s3" | "file"): Promise<MemoryStore> {
  const store = new MemoryStore({ layout });
  const history = new TinyHistory(seededRandom(7));
  for (let timeMs = 1; timeMs <= 3; timeMs++) await putTiny(store, "app", history.commit(timeMs * 1000));
  return store;
}

/** A store that counts its calls by operation. */
function counting(store: ObjectStore): { store: ObjectStore; counts: Record<string, number> } {
  const counts: Record<string, number> = {};
  const proxy = new Proxy(store, {
    get(target, name: keyof ObjectStore) {
      const value = target[name];
      if (typeof value !== "function") return value;
      return (...words: never[]) => {
        counts[name] = (counts[name] ?? 0) + 1;
        return (value as (...words: never[]) => unknown).apply(target, words);
      };
    },
  });
  return { store: proxy, counts };
}

describe.each(LAYOUTS)("detectForeignLayoutOrNull in layout %s", (layout) => {
  test.each(FOREIGN_FORMATS)("detects %s", async (format) => {
    const store = await storeWith(layout, FOREIGN_BUCKETS[format]);
    const found = await detectForeignLayoutOrNull(store, "app");
    expect(found).toMatchObject({ format, database: "app" });
    expect(Object.keys(FOREIGN_BUCKETS[format])).toContain(found!.key.slice("app/".length));
    expect(await detectForeignLayoutOrNull(store, "ap")).toBeNull();
    expect(await detectForeignLayoutOrNull(store, "")).toBeNull();
  });

  test.each(FOREIGN_FORMATS)(
    "detects each object of %s alone, or none if the format takes two objects",
    async (format) => {
      for (const [key, bytes] of Object.entries(FOREIGN_BUCKETS[format])) {
        const found = await detectForeignLayoutOrNull(await storeWith(layout, { [key]: bytes }), "app");
        const isWitness = !key.endsWith(".json") && !key.startsWith("snapshots/");
        expect([key, found?.format ?? null]).toEqual([key, isWitness ? format : null]);
      }
    },
  );

  test("accepts walrust's and Litestream's own objects", async () => {
    const own = await ownStore(layout);
    expect((await listObjects(own, "app")).length).toBe(3);
    expect(await detectForeignLayoutOrNull(own, "app")).toBeNull();
    const litestream = await storeWith(layout, litestreamObjects(layout));
    expect((await listObjects(litestream, "app")).length).toBe(5);
    expect(await detectForeignLayoutOrNull(litestream, "app")).toBeNull();
  });

  test("reports levels with the names of the other layout", async () => {
    const other = layout === "s3" ? "file" : "s3";
    const store = await storeWith(layout, litestreamObjects(other));
    expect(await detectForeignLayoutOrNull(store, "app")).toMatchObject({ format: "other-layout" });
  });

  test("one damaged bit does not make an object foreign", async () => {
    const store = new MemoryStore({ layout });
    for (const [key, bytes] of Object.entries(litestreamObjects(layout))) {
      const damaged = new Uint8Array(bytes);
      damaged[7]! ^= 1;
      await putForeign(store, "app", { [key]: damaged });
    }
    expect(await detectForeignLayoutOrNull(store, "app")).toBeNull();
  });

  test("is null for a folder with other files", async () => {
    const text = Buffer.from("HADBP is a format, LTX1 too; this is a text about them. ".repeat(3));
    const store = await storeWith(layout, {
      "0000/0000000000000009.hadbp": Buffer.from("something else"),
      "0000/0000000000000001-0000000000000001.ltx": new Uint8Array(),
      "0001/0000000000000001-0000000000000002.ltx": Buffer.from("LTX1"),
      "00000001-00000024.ltx": Buffer.from("no LTX"),
      "20240110.ltx": text,
      "generations/0123456789abcdef/snapshots/00000000.snapshot.lz4": Buffer.from("no LZ4"),
      "generations/one/snapshots/00000000.snapshot.lz4": LZ4_FRAME,
      "levels/L1/notes.hadbp": HADBP,
      "snapshots/20240110120000.db": Buffer.from("SQLite format 3\0"),
      "wal/00000001.wal": text,
      "README.hadbp": HADBP,
      "00000001-00000024.ltx.gz": RUST_SNAPSHOT,
    });
    expect(await detectForeignLayoutOrNull(store, "app")).toBeNull();
    expect(await findForeignDatabases(store)).toEqual([]);
  });

  test("takes one listing and a bounded number of reads, for any number of objects", async () => {
    const objects: Record<string, Uint8Array> = {};
    for (let txid = 1; txid <= 1100; txid++) {
      const digits = txid.toString(16).padStart(16, "0");
      objects[`0000/${digits}-${digits}.ltx`] = new Uint8Array(120);
      objects[`0000/${digits}.hadbp`] = new Uint8Array(120);
    }
    const { store, counts } = counting(await storeWith(layout, objects));
    expect(await detectForeignLayoutOrNull(store, "app")).toBeNull();
    expect(counts).toEqual({ list: 1, get: 6 });
  });

  test("is null for a missing bucket", async () => {
    const store = new MemoryStore({ layout, bucketExists: false });
    expect(await detectForeignLayoutOrNull(store, "app")).toBeNull();
  });
});

test("findForeignDatabases names each database once, nested ones included", async () => {
  const store = new MemoryStore();
  await putForeign(store, "a", FOREIGN_BUCKETS.hadbp);
  await putForeign(store, "shop/b", FOREIGN_BUCKETS["ltx-flat"]);
  await putForeign(store, "shop/c", { "0000/0000000000000019-0000000000000019.ltx": RUST_INCREMENT });
  await putForeign(store, "notes", { "a.txt": new Uint8Array(3) });
  const found = await findForeignDatabases(store);
  expect(found.map(({ database, format }) => [database, format])).toEqual([
    ["a", "hadbp"],
    ["shop/b", "ltx-flat"],
    ["shop/c", "ltx-generations"],
  ]);
});

test("isDoubtful is true for a listing without a snapshot, an empty one included", async () => {
  expect(isDoubtful([])).toBe(true);
  expect(isDoubtful(await listObjects(await ownStore("s3"), "app"))).toBe(false);
  const rust = await storeWith("s3", FOREIGN_BUCKETS["ltx-generations"]);
  expect(isDoubtful(await listObjects(rust, "app"))).toBe(true);
});

describe("foreignErrorOr", () => {
  const corrupt = new WalrustError("corrupt", "flags are 1");

  test("explains a corrupt object by the foreign backup around it", async () => {
    const store = await storeWith("s3", FOREIGN_BUCKETS["ltx-generations"]);
    const error = await foreignErrorOr(corrupt, store, "app");
    expect(error).toBeInstanceOf(ForeignLayoutError);
    const { code, exitCode, message, hint, context } = error as ForeignLayoutError;
    expect([code, exitCode]).toEqual(["restore", 6]);
    expect(message).toContain('"app" in s3://memory is a backup of the Rust walrust (LTX by generation)');
    expect(hint).toContain("Restore it with the version that wrote it");
    expect(context).toMatchObject({ database: "app", format: "ltx-generations" });
  });

  test("returns an error about walrust's objects, and a storage error without a request", async () => {
    expect(await foreignErrorOr(corrupt, await ownStore("s3"), "app")).toBe(corrupt);
    const storage = new WalrustError("storage", "no answer");
    const { store, counts } = counting(await storeWith("s3", FOREIGN_BUCKETS.hadbp));
    expect(await foreignErrorOr(storage, store, "app")).toBe(storage);
    expect(counts).toEqual({});
  });

  test("returns the first error if the detection fails too", async () => {
    const store = new MemoryStore();
    store.list = () => {
      throw new WalrustError("auth", "access denied");
    };
    expect(await foreignErrorOr(corrupt, store, "app")).toBe(corrupt);
  });
});
