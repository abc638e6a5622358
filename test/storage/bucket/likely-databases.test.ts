/** likelyDatabases names databases from folders alone, below what is typed, and by a time limit. */
import { describe, expect, test } from "bun:test";
import { objectKey } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { likelyDatabases } from "../../../src/storage/bucket/likely-databases.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

type Layout = "s3" | "file";
type Folders = Parameters<typeof likelyDatabases>[0];

const NEVER = new AbortController().signal;

async function storeOf(layout: Layout, names: readonly string[]): Promise<MemoryStore> {
  const store = new MemoryStore({ layout });
  for (const name of names) {
    const key = objectKey(layout, name, 9, 1 as Txid, 1 as Txid);
    await store.put(key, { kind: "bytes", bytes: new Uint8Array(1) });
  }
  return store;
}

/** A store that records the folders it lists, and does not answer for some. */
function recorded(store: Folders, silent: readonly string[] = []): Folders & { readonly asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    layout: store.layout,
    listFolders: async (prefix, options) => {
      asked.push(prefix);
      if (!silent.includes(prefix)) return store.listFolders(prefix, options);
      const { promise, reject } = Promise.withResolvers<string[]>();
      options?.signal?.addEventListener("abort", () => reject(new Error("aborted")));
      return promise;
    },
  };
}

describe.each(["s3", "file"] as const)("likelyDatabases in layout %s", (layout) => {
  const NAMES = ["shop", "tenants/romneys/app", "tenants/smiths/app", "tenants/smiths/app/old", "ten"];

  test.each([
    ["", [...NAMES].sort()],
    ["s", ["shop"]],
    ["tenants/", NAMES.slice(1, 4)],
    ["tenants/s", NAMES.slice(2, 4)],
    ["ten", ["ten", ...NAMES.slice(1, 4)]],
    ["tenants/smiths/app/", ["tenants/smiths/app/old"]],
    ["shop/", []],
    ["nothing", []],
  ] as const)("completes %j", async (prefix, names) => {
    const store = await storeOf(layout, NAMES);
    expect(await likelyDatabases(store, prefix, NEVER)).toEqual([...names]);
  });

  test("looks only into folders that can hold a name", async () => {
    const store = recorded(await storeOf(layout, NAMES));
    await likelyDatabases(store, "tenants/s", NEVER);
    const inside = ["tenants/smiths/", "tenants/smiths/app/", "tenants/smiths/app/old/"];
    expect(store.asked).toEqual(["tenants/", ...inside]);
  });

  test("takes a folder that does not answer in time for a database, and those that wait", async () => {
    const names = Array.from({ length: 40 }, (_, index) => `db${String(index).padStart(2, "0")}`);
    const limit = new AbortController();
    const store = recorded(await storeOf(layout, names), ["db07/"]);
    const found = likelyDatabases(store, "", limit.signal);
    while (!store.asked.includes("db07/")) await Promise.resolve();
    limit.abort();
    expect(await found).toEqual(names);
    expect(store.asked.length).toBeLessThan(41);
  });

  test("throws when the first folder cannot be listed", async () => {
    const store = new MemoryStore({ layout, bucketExists: false });
    await expect(likelyDatabases(store, "", NEVER)).rejects.toThrow("bucket");
  });
});
