/** The processes with a deleted database open, and the commands that save what they have committed. */
import { expect, test } from "bun:test";
import { existsSync, linkSync, openSync, realpathSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  type DeletedUser,
  deletedInUseError,
  holdersText,
  RecentDeletedUsers,
  rescueCommands,
  usersOfDeleted,
} from "../../src/database/deleted-users.ts";
import { SqliteProcess } from "../support/processes/sqlite-process.ts";
import { tempFolder } from "../support/temp.ts";

async function newDatabase(): Promise<{ path: string; app: SqliteProcess }> {
  const path = join(realpathSync(tempFolder("deleted")), "app.db");
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)", "INSERT INTO t VALUES ('kept')");
  return { path, app };
}

function usersOf(path: string): readonly DeletedUser[] {
  return usersOfDeleted((one) => one === path).get(path) ?? [];
}

test.each([[["", "-wal", "-shm"]], [[""]]])(
  "a writer of a database whose files %p are deleted",
  async (gone) => {
    const { path, app } = await newDatabase();
    expect(usersOf(path)).toEqual([]);
    for (const suffix of gone) rmSync(path + suffix);
    const [user, ...others] = usersOf(path);
    expect([user?.files === null, others]).toEqual([false, []]);
    expect(usersOf(`${path}2`)).toEqual([]);
    await app.close();
    expect(usersOf(path)).toEqual([]);
  },
);

test("a file with another name is not deleted, and a process without its -wal is no writer", async () => {
  const { path, app } = await newDatabase();
  // As a walrust does that follows the file.
  const watching = Bun.spawn(["sleep", "60"], { stdio: [openSync(path, "r+"), "ignore", "ignore"] });
  linkSync(path, `${path}.link`);
  rmSync(path);
  expect(usersOf(path)).toEqual([]);
  rmSync(`${path}.link`);
  expect(usersOf(path).map(({ pid }) => pid)).not.toContain(watching.pid);
  expect(usersOf(path).length).toBe(1);
  await app.close();
  expect(usersOf(path)).toEqual([]);
  watching.kill();
  await watching.exited;
});

test("a process with two deleted files of one path has no links to tell them apart", async () => {
  const { path, app } = await newDatabase();
  const remove = (): void => {
    for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
  };
  remove();
  await app.must(
    `ATTACH '${path}' AS second`,
    "PRAGMA second.journal_mode = WAL",
    "CREATE TABLE second.t(v)",
  );
  remove();
  const [user] = usersOf(path);
  expect([user?.deleted.length, user?.files]).toEqual([2, null]);
  await app.close();
});

test("the commands save every commit of a deleted database", async () => {
  const { path, app } = await newDatabase();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
  for (let row = 0; row < 20; row++) await app.must("INSERT INTO t VALUES ('after')");
  const commands = rescueCommands(usersOf(path));
  const folder = tempFolder("saved");
  // The last command only shows what any connection does: it applies the -wal.
  const copies = commands.slice(0, commands.indexOf("; sqlite3"));
  expect(await Bun.spawn(["sh", "-ec", copies], { cwd: folder }).exited).toBe(0);
  await app.kill();
  const saved = await SqliteProcess.open(join(folder, "saved.db"));
  expect((await saved.must("SELECT count(*) FROM t")).rows).toEqual([[21]]);
  expect((await saved.must("PRAGMA integrity_check")).rows).toEqual([["ok"]]);
  await saved.close();
  expect(existsSync(join(folder, "saved.db-wal"))).toBe(false);
});

test("the error names the processes and the commands", () => {
  const files = { database: "/proc/71/fd/5", wal: "/proc/71/fd/6" };
  const users = [
    { pid: 70, command: "node", deleted: [], files: null },
    { pid: 71, command: "python3", deleted: [], files },
  ];
  const { message, hint, exitCode } = deletedInUseError("/srv/app.db", users);
  expect(message).toStartWith(
    "A deleted file of /srv/app.db is open in node (pid 70) and python3 (pid 71): ",
  );
  expect(hint).toContain(
    "kill -STOP 70 71; cp /proc/71/fd/5 saved.db; cp /proc/71/fd/6 saved.db-wal; kill -KILL 70 71",
  );
  expect(exitCode).toBe(3);
  const where = "(N: the database, M: its -wal); kill -STOP";
  expect(rescueCommands([])).toStartWith(`ls -l /proc/PID/fd ${where} PID; cp /proc/PID/fd/N saved.db; `);
  expect(rescueCommands(users.slice(0, 1))).toStartWith(
    `ls -l /proc/70/fd ${where} 70; cp /proc/70/fd/N saved.db; cp /proc/70/fd/M saved.db-wal; kill `,
  );
  expect(holdersText([])).toBe("an application");
});

test("many restores look at the descriptors once a second", async () => {
  const { path, app } = await newDatabase();
  let nowMs = 5;
  const recent = new RecentDeletedUsers({ monotonicMs: () => nowMs });
  recent.requireNone(path);
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
  nowMs += 999;
  recent.requireNone(path);
  nowMs += 1;
  expect(() => recent.requireNone(path)).toThrow(`A deleted file of ${path} is open in`);
  recent.requireNone(`${path}.other`);
  await app.close();
});
