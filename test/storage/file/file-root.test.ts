/** The root of a folder destination is made once, and never in place of a disk that is not mounted. */
import { describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { NO_RETRY } from "../../../src/storage/contract/retry.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { openStore } from "../../../src/storage/open-store.ts";
import { tempFolder } from "../../support/temp.ts";
import { expectCode, keysOf, textBody } from "../contract/store-helpers.ts";

const KEY = "app/ltx/0/1.ltx";
/** A folder on another file system than that of $TMPDIR. */
const OTHER_FILE_SYSTEM = "/dev/shm";

function newRoot(): string {
  return join(tempFolder("root"), "backup");
}

/** A store that a database was replicated to before. */
function usedStore(path: string): FileStore {
  return new FileStore({ path, findEarlierUse: async () => ({ path: "/srv/app.db", name: "app" }) });
}

function hasOtherFileSystem(): boolean {
  const other = statSync(OTHER_FILE_SYSTEM, { throwIfNoEntry: false });
  return other !== undefined && other.dev !== statSync(tmpdir()).dev;
}

describe("FileRoot that a call has found", () => {
  const finds: [string, (store: FileStore) => Promise<unknown>][] = [
    ["list", (store) => keysOf(store, "")],
    ["listFolders", (store) => store.listFolders("")],
    ["head", (store) => store.head("app/none").catch(() => null)],
    ["get", (store) => store.get("app/none").catch(() => null)],
    ["delete", (store) => store.delete(["app/none"])],
    ["put", (store) => store.put("app/1", textBody("x"))],
  ];

  test.each(finds)("%s: no put makes it again after it has disappeared", async (_, find) => {
    const path = newRoot();
    mkdirSync(path);
    const store = new FileStore({ path });
    await find(store);
    renameSync(path, `${path}-moved`);
    await expectCode(store.put(KEY, textBody("x")), "missing-bucket");
    expect(existsSync(path)).toBe(false);
    renameSync(`${path}-moved`, path);
    await store.put(KEY, textBody("x"));
  });

  test("no put makes it again that had begun before it disappeared", async () => {
    const path = newRoot();
    const store = new FileStore({ path });
    await store.put("app/1", textBody("x"));
    const onSent = (): void => renameSync(path, `${path}-moved`);
    await expectCode(store.put(KEY, textBody("x"), { onSent }), "missing-bucket");
    expect(existsSync(path)).toBe(false);
  });

  test("no second put makes it again while the first is under way", async () => {
    const path = newRoot();
    const store = new FileStore({ path });
    let second: Promise<unknown> | null = null;
    const onSent = (): void => {
      renameSync(path, `${path}-moved`);
      second = expectCode(store.put("other/1", textBody("x")), "missing-bucket");
    };
    await expectCode(store.put(KEY, textBody("x"), { onSent }), "missing-bucket");
    await second!;
    expect(existsSync(path)).toBe(false);
  });
});

describe("FileRoot after an earlier use", () => {
  test("no call makes a missing root, and the error names the database and both ways out", async () => {
    const path = newRoot();
    const store = usedStore(path);
    await expectCode(keysOf(store, ""), "missing-bucket");
    await expectCode(store.head(KEY), "missing-bucket");
    const error = await store.put(KEY, textBody("x")).catch((caught) => caught);
    expect([error.code, error.message]).toEqual([
      "missing-bucket",
      `Cannot use file://${path}: the directory does not exist, but /srv/app.db was replicated there`,
    ]);
    expect(error.hint).toBe(
      `Mount the disk. If the backups were removed for good, begin new ones: mkdir -p '${path}/app'`,
    );
    expect(existsSync(path)).toBe(false);
  });

  test.each([[[]], [["lost+found/"]], [["NOT-MOUNTED.txt"]]])(
    "a root that holds %p counts as missing until a folder is in it",
    async (names) => {
      const path = newRoot();
      mkdirSync(path);
      for (const name of names) {
        if (name.endsWith("/")) mkdirSync(join(path, name));
        else writeFileSync(join(path, name), "");
      }
      const store = usedStore(path);
      await expectCode(keysOf(store, ""), "missing-bucket");
      await expectCode(store.put(KEY, textBody("x")), "missing-bucket");
      mkdirSync(join(path, "app"));
      expect(await keysOf(store, "app/")).toEqual([]);
      await store.put(KEY, textBody("x"));
    },
  );

  // Regression: the second of two calls took the root that the first one had found for another one.
  test("an empty root without an earlier use is used by calls beside each other", async () => {
    const path = newRoot();
    mkdirSync(path);
    const store = new FileStore({ path });
    const calls = [keysOf(store, ""), keysOf(store, ""), store.listFolders("")];
    expect(await Promise.all(calls)).toEqual([[], [], []]);
  });

  test("a root with a backup is used without a question", async () => {
    const path = newRoot();
    await new FileStore({ path }).put(KEY, textBody("x"));
    const store = new FileStore({ path, findEarlierUse: () => Promise.reject(new Error("asked")) });
    expect(await keysOf(store, "")).toEqual([KEY]);
    await store.put("app/2", textBody("x"));
  });

  test("the question is asked once, with the URL", async () => {
    const path = newRoot();
    const asked: string[] = [];
    const findEarlierUse = async (destination: string): Promise<null> => {
      asked.push(destination);
      return null;
    };
    const options = { url: `file://${path}`, region: "x", retry: NO_RETRY, findEarlierUse };
    const store = openStore(options, systemEnv(SILENT_LOG), {});
    await expectCode(keysOf(store, ""), "missing-bucket");
    await store.put(KEY, textBody("x"));
    expect(asked).toEqual([`file://${path}`]);
  });
});

describe("FileRoot whose disk is unmounted", () => {
  const testWithDisk = test.skipIf(!hasOtherFileSystem());

  /** A root that is a link: the disk is "unmounted" by a link to an empty folder elsewhere. */
  function linkedRoot(): { path: string; disk: string; mountPoint: string; link: (to: string) => void } {
    const path = newRoot();
    const disk = mkdtempSync(join(OTHER_FILE_SYSTEM, "walrust-root-"));
    const mountPoint = tempFolder("mount-point");
    const link = (to: string): void => {
      rmSync(path, { force: true });
      symlinkSync(to, path);
    };
    return { path, disk, mountPoint, link };
  }

  testWithDisk("an empty folder of another file system is missing, until the disk is back", async () => {
    const { path, disk, mountPoint, link } = linkedRoot();
    try {
      link(disk);
      const store = new FileStore({ path });
      await store.put(KEY, textBody("x"));
      link(mountPoint);
      for (let attempt = 0; attempt < 2; attempt++)
        await expectCode(store.put("app/ltx/0/2.ltx", textBody("x")), "missing-bucket");
      await expectCode(store.put("other/1", textBody("x")), "missing-bucket");
      await expectCode(keysOf(store, ""), "missing-bucket");
      link(disk);
      await store.put("app/ltx/0/2.ltx", textBody("x"));
      expect(await keysOf(store, "")).toEqual([KEY, "app/ltx/0/2.ltx"]);
    } finally {
      rmSync(disk, { recursive: true });
    }
  });

  testWithDisk("a backup that was moved to another file system is used", async () => {
    const { path, disk, mountPoint, link } = linkedRoot();
    try {
      link(disk);
      const store = new FileStore({ path });
      await store.put(KEY, textBody("x"));
      await new FileStore({ path: mountPoint }).put(KEY, textBody("x"));
      link(mountPoint);
      await store.put("app/ltx/0/2.ltx", textBody("x"));
      expect(existsSync(join(mountPoint, "app/ltx/0/2.ltx"))).toBe(true);
    } finally {
      rmSync(disk, { recursive: true });
    }
  });
});
