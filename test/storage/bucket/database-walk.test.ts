/** walkDatabases finds the names of databases in both layouts: any name, beside any other keys. */
import { describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { manifestKey, objectKey } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import {
  listDatabases,
  type WalkedDatabase,
  walkDatabases,
} from "../../../src/storage/bucket/database-walk.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

type Layout = "s3" | "file";

async function storeOf(layout: Layout, names: readonly string[]): Promise<MemoryStore> {
  const store = new MemoryStore({ layout });
  for (const name of names) {
    for (const [level, txid] of [
      [9, 1],
      [0, 2],
      [1, 2],
    ] as const) {
      const key = objectKey(layout, name, level, txid as Txid, txid as Txid);
      await store.put(key, { kind: "bytes", bytes: new Uint8Array(name.length) });
    }
    await put(store, manifestKey(name));
  }
  return store;
}

async function put(store: MemoryStore, key: string): Promise<void> {
  await store.put(key, { kind: "bytes", bytes: new Uint8Array(1) });
}

async function walk(store: MemoryStore | FaultyStore): Promise<Map<string, WalkedDatabase>> {
  const found = new Map<string, WalkedDatabase>();
  for await (const walked of walkDatabases(store)) {
    expect(found.has(walked.name)).toBe(false);
    found.set(walked.name, walked);
  }
  return found;
}

const LEVEL_LIKE = ["0000", "0001", "0009", "ltx", "ltx/9", "manifest.json", "0001/0001", "ltx/ltx"];

describe.each(["s3", "file"] as const)("walkDatabases in layout %s", (layout) => {
  test.each(["", "tenants/", "tenants/vm 1/"])(
    "finds names that look like levels below %j",
    async (prefix) => {
      const names = LEVEL_LIKE.map((name) => `${prefix}${name}`).sort();
      const store = await storeOf(layout, names);
      expect(await listDatabases(store)).toEqual(names);
    },
  );

  test("finds databases below a database, with any names", async () => {
    const names = ["a", ...LEVEL_LIKE.map((name) => `a/${name}`), "a/0001/app", "a/ltx/app", "a/b/0009/c"];
    const store = await storeOf(layout, names);
    expect(await listDatabases(store)).toEqual(names.toSorted());
    const walked = await walk(store);
    for (const name of names) {
      expect(walked.get(name)!.objects).toEqual(await listObjects(store, name));
      expect(walked.get(name)!.objects.map(({ level }) => level)).toEqual([0, 1, 9]);
    }
  });

  test("ignores a level folder without LTX keys of that level", async () => {
    const store = await storeOf(layout, ["ok"]);
    const [zero, ltx] = ["0000000000000001-0000000000000001.ltx", layout === "s3" ? "" : "ltx/"];
    for (const key of [
      "x/0001/readme",
      "x/ltx/9/readme",
      `y/00010/${zero}`,
      `z/0001/${zero}x`,
      `w/ltx/10/${zero}`,
    ])
      await put(store, key);
    await put(store, `v/${ltx}${layout === "s3" ? "0009" : "9"}/deeper/${zero}`);
    expect(await listDatabases(store)).toEqual(["ok"]);
    const others = [...(await walk(store))].filter(([, { hasOthers }]) => hasOthers).map(([name]) => name);
    expect(others.sort()).toEqual(layout === "s3" ? ["x", "z"] : ["w", "x"]);
  });

  test("finds names at the maximal depth of a key", async () => {
    const deep = Array.from({ length: 60 }, (_, index) => `d${index}`).join("/");
    expect(await listDatabases(await storeOf(layout, [deep]))).toEqual([deep]);
  });

  test("continues beside a folder that cannot be listed, and reports the folder", async () => {
    const names = ["a/app", "b/app", "c/app"];
    const store = new FaultyStore(await storeOf(layout, names));
    const denied = new WalrustError("auth", "Cannot list: 403");
    store.before = (operation, key) => {
      if (operation === "listFolders" && key === "b/") throw denied;
    };
    const walked = await walk(store);
    expect([...walked].filter(([, { objects }]) => objects.length > 0).map(([name]) => name)).toEqual([
      "a/app",
      "c/app",
    ]);
    expect(walked.get("b")!.problem).toBe(denied);
  });

  test("fails if the destination itself cannot be read, or the store is unreachable", async () => {
    const store = new FaultyStore(await storeOf(layout, ["a/app"]));
    const away = new WalrustError("storage", "timed out", { retryable: true });
    for (const [at, error] of [
      ["", new WalrustError("auth", "403")],
      ["a/", away],
    ] as const) {
      store.before = (operation, key) => {
        if (operation === "listFolders" && key === at) throw error;
      };
      await expect(walk(store)).rejects.toBe(error);
    }
  });

  test("reports a name that the listing gives twice, and no other", async () => {
    const inner = await storeOf(layout, ["a b", "c"]);
    const store = new FaultyStore(inner);
    store.listFolders = async (prefix) => {
      const folders = await inner.listFolders(prefix);
      return prefix === "" ? [...folders, "a b"] : folders;
    };
    const walked = await walk(store);
    expect(walked.get("a b")!.problem).toMatchObject({ code: "integrity" });
    expect(walked.get("c")!.problem).toBeNull();
  });
});
