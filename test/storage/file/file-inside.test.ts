/**
 * A folder destination that contains other things than files: none of them blocks walrust, and none leads it
 * outside.
 */
import { beforeEach, describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { systemEnv } from "../../../src/env.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { tempFolder } from "../../support/temp.ts";
import { expectCode, keysOf, text, textBody } from "../contract/store-helpers.ts";

const LEVEL = "app/ltx/9";
const KEY = `${LEVEL}/${"1".padStart(16, "0")}-${"1".padStart(16, "0")}.ltx`;

let path: string;
let outside: string;
let warnings: string[];
let store: FileStore;

beforeEach(() => {
  path = join(tempFolder("bucket"), "b");
  outside = tempFolder("outside");
  mkdirSync(join(path, LEVEL), { recursive: true });
  writeFileSync(join(outside, "secret"), "not for the bucket");
  warnings = [];
  const log = { debug() {}, info() {}, warn: (message: string) => void warnings.push(message), error() {} };
  store = new FileStore({ path, env: systemEnv(log) });
});

const STRANGERS: [string, (at: string) => Promise<void> | void][] = [
  ["a FIFO", (at) => expect(Bun.spawnSync(["mkfifo", at]).exitCode).toBe(0)],
  ["a link to a file outside", (at) => symlinkSync(join(outside, "secret"), at)],
  ["a link that leads nowhere", (at) => symlinkSync("/nowhere/at/all", at)],
  ["a link to a device that never ends", (at) => symlinkSync("/dev/zero", at)],
  [
    "a socket",
    async (at) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const server = createServer().listen(at, resolve);
      await promise;
      server.unref();
    },
  ],
];

describe.each(STRANGERS)("%s", (_what, make) => {
  test("in the place of an object counts as no object, and nothing is written there", async () => {
    await make(join(path, KEY));
    expect(await keysOf(store, "")).toEqual([]);
    await expectCode(store.get(KEY), "not-found");
    await expectCode(store.head(KEY), "not-found");
    const refused = store.put(KEY, textBody("x"), { createOnly: true });
    await expect(refused).rejects.toMatchObject({ code: "storage", retryable: false });
    expect(readFileSync(join(outside, "secret"), "utf8")).toBe("not for the bucket");
    expect((await store.leftovers(`${LEVEL}/`)).map(({ key, kind }) => [key, kind])).toEqual([
      [KEY, "stranger"],
    ]);
    expect(warnings.filter((line) => line.includes(KEY)).length).toBe(1);
    await store.delete([KEY]);
    expect(readdirSync(join(path, LEVEL))).toEqual([]);
  });

  test("in the place of a sidecar leaves its object without metadata", async () => {
    await store.put(KEY, textBody("bytes"));
    await store.delete([`${KEY}x`]);
    const sidecar = join(path, `${KEY}.meta.json`);
    await Bun.file(sidecar).unlink();
    await make(sidecar);
    const body = await store.get(KEY);
    expect([await text(body), body.metadata]).toEqual(["bytes", {}]);
  });
});

describe("a symbolic link to a folder", () => {
  beforeEach(() => {
    mkdirSync(join(outside, "ltx", "9"), { recursive: true });
    writeFileSync(join(outside, "ltx", "9", "kept"), "kept");
    symlinkSync(outside, join(path, "tenant"));
  });

  test("is not listed, and logged once", async () => {
    expect([await keysOf(store, ""), await store.listFolders("")]).toEqual([[], []]);
    await keysOf(store, "");
    expect(warnings.length).toBe(1);
    expect(warnings[0]).toContain("tenant in file://");
  });

  test("is never read, written or deleted through, at any depth", async () => {
    const attempts = [
      () => store.get("tenant/ltx/9/kept"),
      () => store.head("tenant/secret"),
      () => store.put("tenant/ltx/9/new", textBody("x"), { createOnly: true }),
      () => store.put("tenant/new/folder/manifest.json", textBody("x")),
      () => store.delete(["tenant/ltx/9/kept"]),
      () => keysOf(store, "tenant/"),
      () => store.listFolders("tenant/ltx/"),
      () => store.leftovers("tenant/ltx/9/"),
    ];
    for (const attempt of attempts) {
      await expect(attempt()).rejects.toMatchObject({
        code: "storage",
        message: expect.stringContaining("link"),
      });
    }
    expect(readdirSync(outside, { recursive: true }).sort()).toEqual([
      "ltx",
      "ltx/9",
      "ltx/9/kept",
      "secret",
    ]);
  });
});

test("as the destination itself is followed", async () => {
  const link = join(tempFolder("link"), "b");
  symlinkSync(path, link);
  const linked = new FileStore({ path: link });
  await linked.put(KEY, textBody("x"), { createOnly: true });
  expect(await keysOf(linked, "")).toEqual([KEY]);
  expect(existsSync(join(path, KEY))).toBe(true);
});
