/** The error for a name without a backup: the names in it, and how few requests it costs. */
import { expect, test } from "bun:test";
import { objectKey } from "../../../src/format/keys.ts";
import type { Txid } from "../../../src/format/types.ts";
import { missingBackupError, similarNames } from "../../../src/storage/bucket/missing-backup.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

async function storeWith(names: readonly string[], layout: "s3" | "file" = "s3"): Promise<MemoryStore> {
  const store = new MemoryStore({ layout });
  for (const name of names) {
    const key = objectKey(layout, name, 9, 1 as Txid, 1 as Txid);
    await store.put(key, { kind: "bytes", bytes: new Uint8Array(1) });
  }
  return store;
}

async function hintOf(name: string, names: readonly string[], layout?: "s3" | "file"): Promise<string> {
  const error = await missingBackupError(await storeWith(names, layout), name);
  expect([error.code, error.exitCode, error.message]).toEqual([
    "restore",
    6,
    `No backup of ${JSON.stringify(name)} in s3://memory`,
  ]);
  return error.hint!;
}

test.each(["s3", "file"] as const)("names below folders of a %s layout are whole", async (layout) => {
  const names = ["tenants/romneys/app", "tenants/smiths/app", "shop", "shop/sub"];
  expect(await hintOf("app", names, layout)).toBe(
    "Did you mean tenants/romneys/app or tenants/smiths/app? " +
      "There are: shop, shop/sub, tenants/romneys/app, tenants/smiths/app (`walrust list`)",
  );
});

test("ten names are shown, and the others counted", async () => {
  const names = Array.from({ length: 500 }, (_, index) => `tenant-${String(index).padStart(3, "0")}`);
  const hint = await hintOf("tenant-0042", names);
  expect(hint).toStartWith("Did you mean tenant-002 or tenant-004 or tenant-042? There are: tenant-000, ");
  expect(hint).toEndWith(", tenant-009 and 490 more (`walrust list`)");
});

test("a destination without anything, and one without a similar name", async () => {
  expect(await hintOf("app", [])).toBe("Nothing is stored below s3://memory: check -b, and the prefix in it");
  expect(await hintOf("zebra", ["app"])).toBe("There are: app (`walrust list`)");
});

test("5,000 folders cost some forty listings", async () => {
  const store = await storeWith(Array.from({ length: 5_000 }, (_, index) => `t${index}/app`));
  let listings = 0;
  const inner = store.listFolders.bind(store);
  store.listFolders = (prefix, options) => {
    listings++;
    return inner(prefix, options);
  };
  expect((await missingBackupError(store, "t4711")).hint).toContain("Did you mean t4711/app");
  expect(listings).toBeLessThan(50);
});

test.each([
  ["ap", ["app", "shop"], ["app"]],
  ["APP", ["app"], ["app"]],
  ["/var/lib/data/app.db", ["app", "other"], ["app"]],
  ["shop", ["vm1/shop", "vm2/shop", "shopping", "ship"], ["ship", "vm1/shop", "vm2/shop"]],
  ["app", ["wiki"], []],
])("similarNames of %p among %p", (name, names, expected) => {
  expect(similarNames(name, names)).toEqual(expected);
});
