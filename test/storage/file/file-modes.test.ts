/** Objects of a file:// destination are as private as the folder allows, under any umask. */
import { describe, expect, test } from "bun:test";
import { chmodSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { modesInFolder } from "../../../src/storage/file/file-modes.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { tempFolder } from "../../support/temp.ts";

const OURS = process.getegid?.() ?? 0;
const OTHER_GROUP = OURS + 1;

/** Modes of everything below a folder, by path. */
function modesBelow(folder: string): Record<string, string> {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return Object.fromEntries(
    names.map((name) => [name, (statSync(join(folder, name)).mode & 0o777).toString(8)]),
  );
}

async function putInto(root: string): Promise<Record<string, string>> {
  const umask = process.umask(0o002);
  try {
    const store = new FileStore({ path: root });
    const body = { kind: "bytes", bytes: new Uint8Array(3) } as const;
    await store.put("app/ltx/9/1-1.ltx", body, { createOnly: true, metadata: { n: "1" } });
    await store.put("app/manifest.json", body);
    await store.put("app/manifest.json", body);
  } finally {
    process.umask(umask);
  }
  return modesBelow(root);
}

describe("modesInFolder", () => {
  test.each([
    [0o755, OURS, 0o600, 0o700],
    [0o777, OURS, 0o600, 0o700],
    [0o1777, OURS, 0o600, 0o700],
    [0o700, OURS, 0o600, 0o700],
    [0o710, OURS, 0o600, 0o700],
    [0o775, OURS, 0o600, 0o700],
    [0o750, OURS, 0o640, 0o750],
    [0o770, OURS, 0o660, 0o770],
    [0o750, OTHER_GROUP, 0o600, 0o700],
    [0o2750, OTHER_GROUP, 0o640, 0o750],
    [0o2770, OTHER_GROUP, 0o660, 0o770],
  ])("a folder of mode %o", (mode, gid, fileMode, folderMode) => {
    expect(modesInFolder({ mode, gid }, OURS)).toEqual({ fileMode, folderMode });
  });
});

describe("FileStore", () => {
  test.each([0o755, 0o777])(
    "objects, sidecars and manifest are their owner's in a folder of mode %o",
    async (mode) => {
      const root = tempFolder("store");
      chmodSync(root, mode);
      const modes = await putInto(root);
      expect(modes).toEqual({
        app: "700",
        "app/ltx": "700",
        "app/ltx/9": "700",
        "app/ltx/9/1-1.ltx": "600",
        "app/ltx/9/1-1.ltx.meta.json": "600",
        "app/manifest.json": "600",
        "app/manifest.json.meta.json": "600",
      });
    },
  );

  test("put into a folder shared with a group shares the object with the group", async () => {
    const root = tempFolder("store");
    chmodSync(root, 0o750);
    const modes = await putInto(root);
    expect([modes["app/ltx/9"], modes["app/ltx/9/1-1.ltx"]]).toEqual(["750", "640"]);
  });

  test("put makes a missing root private to its owner", async () => {
    const parent = tempFolder("store");
    chmodSync(parent, 0o755);
    const modes = await putInto(join(parent, "bucket"));
    expect([statSync(join(parent, "bucket")).mode & 0o777, modes["app"]]).toEqual([0o700, "700"]);
  });
});
