/**
 * The owner of a restored file, and the readers of copies. Root restores for an application, and a deployer
 * restores for a group. walrust refuses the links of other users, and writes no world-readable file.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { canChangeUser, documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import type { OtherUser } from "../../support/processes/other-user.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const TENANT = 4242;
const GROUP = 61014;
const DEPLOYER: OtherUser = { uid: 61012, gid: 61012, groups: [GROUP], umask: 0o022 };

interface Backup {
  readonly folder: string;
  readonly words: readonly string[];
}

/** A folder that every user can enter, with the backup of a small database. */
async function backUp(): Promise<Backup> {
  const folder = tempFolder("owner");
  chmodSync(folder, 0o755);
  const path = join(folder, "app.db");
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(x)", "INSERT INTO t VALUES ('secret')");
  const words = ["-b", `file://${join(folder, "bucket")}`];
  await mustWalrust(["snapshot", path, ...words]);
  await app.close();
  return { folder, words };
}

/** A folder of the tenant. */
function tenantFolder({ folder }: Backup): string {
  const path = join(folder, "tenant");
  mkdirSync(path);
  chownSync(path, TENANT, TENANT);
  return path;
}

function accessOf(path: string): [uid: number, gid: number, mode: string] {
  const { uid, gid, mode } = statSync(path);
  return [uid, gid, (mode & 0o777).toString(8)];
}

describe("a restore by root", () => {
  test.skipIf(!canChangeUser)("into an application's folder gives the file to the application", async () => {
    const backup = await backUp();
    const output = join(tenantFolder(backup), "new", "app.db");
    const states = ["--state-dir", tempFolder("state")];
    const words = ["restore", "app", "-o", output, ...backup.words, ...states];
    const run = await mustWalrust([...words, "--json"]);
    expect(accessOf(output)).toEqual([TENANT, TENANT, "600"]);
    expect(accessOf(join(output, ".."))).toEqual([TENANT, TENANT, "700"]);
    const owner = { uid: TENANT, gid: TENANT, mode: "0600", from: "folder" };
    expect(documentOf(run)).toMatchObject({ owner });
    chownSync(output, TENANT, GROUP);
    chmodSync(output, 0o640);
    const again = await mustWalrust([...words, "--force"]);
    expect(again.stdout).toContain(`owner ${TENANT}, group ${GROUP}, mode 0640, from the replaced file`);
    expect(accessOf(output)).toEqual([TENANT, GROUP, "640"]);
  });

  test.skipIf(!canChangeUser)("follows no link that the application's user planted", async () => {
    const backup = await backUp();
    const tenant = tenantFolder(backup);
    const shadow = join(backup.folder, "shadow");
    writeFileSync(shadow, "root:hash", { mode: 0o600 });
    symlinkSync(shadow, join(tenant, "app.db"));
    lchownSync(join(tenant, "app.db"), TENANT, TENANT);
    for (const words of [
      ["restore", "app", "-o"],
      ["replicate", "app", "--once", "--local"],
    ]) {
      const more = words[0] === "restore" ? ["--force"] : [];
      const run = await runWalrust([...words, join(tenant, "app.db"), ...backup.words, ...more]);
      expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining("is a link of user 4242")]);
    }
    expect([readFileSync(shadow, "utf8"), ...accessOf(shadow)]).toEqual(["root:hash", 0, 0, "600"]);
    expect(readdirSync(tenant)).toEqual(["app.db"]);
  });
});

test.skipIf(!canChangeUser)("by a deployer into a group's folder gives the file to the group", async () => {
  const backup = await backUp();
  const shared = join(backup.folder, "shared");
  mkdirSync(shared);
  chownSync(shared, 0, GROUP);
  chmodSync(shared, 0o770);
  const bucket = join(backup.folder, "bucket");
  for (const name of ["", ...(readdirSync(bucket, { recursive: true }) as string[])]) {
    chownSync(join(bucket, name), DEPLOYER.uid, DEPLOYER.gid);
  }
  const output = join(shared, "app.db");
  // walrust rejects a world-writable state home; the restore succeeds all the same.
  const open = join(backup.folder, "open");
  mkdirSync(open);
  chmodSync(open, 0o777);
  const words = ["restore", "app", "-o", output, ...backup.words, "--state-dir", join(open, ".state")];
  const run = await mustWalrust(words, { user: DEPLOYER });
  expect(run.stderr).toContain("cannot leave state for a watch");
  expect(accessOf(output)).toEqual([DEPLOYER.uid, GROUP, "660"]);
  // The application owns the file, and a group mate cannot change the owner back.
  chownSync(output, TENANT, GROUP);
  const again = await mustWalrust([...words, "--force"], { user: DEPLOYER });
  expect(again.stderr).toContain(`the restored file belongs to user ${DEPLOYER.uid}`);
  expect(accessOf(output)).toEqual([DEPLOYER.uid, GROUP, "660"]);
});

test("only the owner can read buckets, replicas, their logs and states, whatever the umask", async () => {
  const { folder, words } = await backUp();
  const local = join(folder, "replica", "app.db");
  const umask = process.umask(0);
  try {
    await mustWalrust(["replicate", "app", "--local", local, "--once", ...words]);
    const watch = await WatchProcess.start([join(folder, "app.db"), ...words]);
    await watch.waitFor("it watches", ({ events }) => events.some(({ event }) => event === "watching"));
    await watch.stop();
  } finally {
    process.umask(umask);
  }
  for (const place of ["bucket", "replica"]) {
    for (const name of ["", ...(readdirSync(join(folder, place), { recursive: true }) as string[])]) {
      const stats = statSync(join(folder, place, name));
      expect([place, name, (stats.mode & 0o077).toString(8)]).toEqual([place, name, "0"]);
    }
  }
  expect(readdirSync(join(folder, "replica"))).toContain("app.db-replica-state");
});
