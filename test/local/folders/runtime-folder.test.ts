/** The folder of a socket is never one that another user could choose by a link, or exchange. */
import { expect, test } from "bun:test";
import { chmodSync, chownSync, lchownSync, mkdirSync, realpathSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import { tempFolder } from "../../support/temp.ts";

const TENANT = 4242;
const testAsRoot = test.skipIf(process.geteuid?.() !== 0);

test("RuntimeFolders makes a folder of its own in the session's folder", () => {
  const session = realpathSync(tempFolder("session"));
  const folders = RuntimeFolders.standard({ XDG_RUNTIME_DIR: session });
  expect(folders.ownOrNull()).toBe(join(session, "walrust"));
  expect(folders.present()).toContain(join(session, "walrust"));
});

testAsRoot("RuntimeFolders ignores a session folder of another user, and a link in one", () => {
  const session = realpathSync(tempFolder("session"));
  chmodSync(session, 0o700);
  chownSync(session, TENANT, TENANT);
  const presentIn = (folder: string): string[] => {
    return RuntimeFolders.standard({ XDG_RUNTIME_DIR: folder }).present();
  };
  mkdirSync(join(session, "walrust"), { mode: 0o700 });
  expect(presentIn(session).filter((folder) => folder.startsWith(session))).toEqual([]);

  const linked = realpathSync(tempFolder("session"));
  chownSync(linked, TENANT, TENANT);
  const secret = realpathSync(tempFolder("secret"));
  symlinkSync(secret, join(linked, "walrust"));
  lchownSync(join(linked, "walrust"), TENANT, TENANT);
  expect(presentIn(linked)).not.toContain(secret);
});
