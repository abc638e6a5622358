/**
 * A watch by a user who shares only a group with the application, in a folder with mode 0770. The application
 * can use its database before the watch, beside it and after it. The restore has everything it wrote.
 */
import { expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { canChangeUser, documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const GROUP = 61004;
const APP = { uid: 61001, gid: GROUP, groups: [GROUP], umask: 0o007 };
const WALRUST = { uid: 61002, gid: 61002, groups: [GROUP], umask: 0o022 };

async function commitAs(path: string, ...statements: string[]): Promise<void> {
  const app = await SqliteProcess.open(path, APP);
  await app.must(...statements);
  await app.close();
}

test.skipIf(!canChangeUser).each([0o022, 0o077, 0o007])(
  "a watch of a group mate waits for the application and keeps its files usable, umask %o",
  async (umask) => {
    const folder = tempFolder("group");
    chownSync(folder, APP.uid, GROUP);
    chmodSync(folder, 0o770);
    const path = join(folder, "app.db");
    await commitAs(path, "PRAGMA journal_mode = WAL", "CREATE TABLE t(v)", "INSERT INTO t VALUES (1)");
    chmodSync(path, 0o660);
    const destination = fileDestination();
    mkdirSync(destination.folder);
    chownSync(destination.folder, WALRUST.uid, WALRUST.gid);
    chmodSync(join(destination.folder, ".."), 0o755);
    const user = { ...WALRUST, umask };
    // This user does not own the folder of the database, and has no home.
    const stateHome = tempFolder("state");
    chownSync(stateHome, WALRUST.uid, WALRUST.gid);
    const words = [...destination.words, "--state-dir", stateHome];

    const once = await runWalrust(["snapshot", path, ...words], { user });
    expect([once.exitCode, once.stderr.includes("nobody else has it open")]).toEqual([3, true]);
    const doctor = await runWalrust(["doctor", path, ...words], { user });
    expect([doctor.exitCode, doctor.stdout.includes("nobody else has it open")]).toEqual([3, true]);
    const watch = await WatchProcess.start([path, ...words], { user });
    await watch.waitFor("the word", () => watch.stderr.includes("not watched yet"));
    expect([existsSync(`${path}-wal`), existsSync(`${path}-shm`)]).toEqual([false, false]);
    await commitAs(path, "INSERT INTO t VALUES (2)");

    const app = await SqliteProcess.open(path, APP);
    await app.must("INSERT INTO t VALUES (3)");
    await watch.waitForTxid(1);
    await app.must("INSERT INTO t VALUES (4)");
    await watch.waitForTxid(2);
    await app.close();
    await commitAs(path, "INSERT INTO t VALUES (5)");
    await watch.waitForTxid(3);
    expect(await watch.stop()).toBe(0);
    expect(watch.stderr.split("nobody else has it open").length).toBe(2);
    await commitAs(path, "INSERT INTO t VALUES (6)", "DELETE FROM t WHERE v = 6");

    const output = join(tempFolder("restored"), "app.db");
    const restored = await mustWalrust(["restore", "app", "-o", output, ...destination.words, "--json"]);
    expect(documentOf(restored)["txid"]).toBe(3);
    const reader = await SqliteProcess.open(output);
    expect((await reader.must("SELECT group_concat(v) FROM t")).rows).toEqual([["1,2,3,4,5"]]);
    await reader.close();
  },
  60_000,
);
