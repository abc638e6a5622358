/** The processes that have a file open, from real descriptors and from a made-up /proc. */
import { expect, test } from "bun:test";
import { mkdirSync, realpathSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  isWalrust,
  stopText,
  usersOfFiles,
  usersTextOrNull,
  walrustAtOrNull,
} from "../../../src/database/files/file-users.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

test("usersOfFiles finds the processes at each file, and not this one", async () => {
  const folder = realpathSync(tempFolder("users"));
  const [one, two] = [join(folder, "one.db"), join(folder, "two.db")];
  const apps = [await SqliteProcess.open(one), await SqliteProcess.open(one)];
  for (const app of apps) await app.must("CREATE TABLE IF NOT EXISTS t(x)");
  writeFileSync(two, "");
  const users = usersOfFiles([one, two]);
  expect(users.get(one)!.length).toBe(2);
  expect(users.get(one)!.every(({ pid, command }) => pid !== process.pid && command !== "")).toBe(true);
  expect(users.get(two)).toEqual([]);
  for (const app of apps) await app.close();
  expect(usersOfFiles([one]).get(one)).toEqual([]);
});

test("usersOfFiles counts a process with several descriptors once", () => {
  const proc = tempFolder("proc");
  const process = (pid: string, links: readonly string[], comm: string | null): void => {
    mkdirSync(join(proc, pid, "fd"), { recursive: true });
    for (const [index, target] of links.entries()) symlinkSync(target, join(proc, pid, "fd", String(index)));
    if (comm !== null) writeFileSync(join(proc, pid, "comm"), comm);
  };
  process("71", ["/srv/app.db", "/srv/app.db", "/srv/app.db-wal"], "python3\n");
  process("72", ["/srv/app.db (deleted)", "/srv/other.db"], "node\n");
  process("73", ["/srv/app.db"], null);
  mkdirSync(join(proc, "74"));
  mkdirSync(join(proc, "self"));
  expect(usersOfFiles(["/srv/app.db"], proc).get("/srv/app.db")).toEqual([
    { pid: 71, command: "python3" },
    { pid: 73, command: "?" },
  ]);
  expect(usersOfFiles(["/srv/app.db"], join(proc, "none")).get("/srv/app.db")).toEqual([]);
});

test("usersTextOrNull names the processes, and counts those past the fourth", () => {
  const users = [7, 8, 9, 10, 11].map((pid) => ({ pid, command: pid === 7 ? "walrust" : "app" }));
  expect(usersTextOrNull([])).toBeNull();
  expect(usersTextOrNull(users.slice(0, 1))).toBe("walrust (pid 7)");
  expect(usersTextOrNull(users.slice(0, 3))).toBe("walrust (pid 7), app (pid 8) and app (pid 9)");
  expect(usersTextOrNull(users)).toBe("walrust (pid 7), app (pid 8), app (pid 9), app (pid 10) and 1 more");
  expect(stopText(users.slice(0, 2))).toBe("kill 7 8, or systemctl stop for a unit");
  expect(users.map(isWalrust)).toEqual([true, false, false, false, false]);
});

test("walrustAtOrNull finds another walrust at a file, and asks again once that one has ended", () => {
  const proc = tempFolder("proc");
  const add = (pid: number, command: string, ...paths: string[]): void => {
    const fds = join(proc, String(pid), "fd");
    mkdirSync(fds, { recursive: true });
    writeFileSync(join(proc, String(pid), "comm"), `${command}\n`);
    for (const [fd, path] of paths.entries()) symlinkSync(path, join(fds, String(fd)));
  };
  add(7, "sqlite3", "/srv/a.db", "/srv/b.db");
  add(8, "walrust", "/srv/b.db", "/srv/c.db");
  expect(walrustAtOrNull("/srv/a.db", proc)).toBeNull();
  expect(walrustAtOrNull("/srv/b.db", proc)).toEqual({ pid: 8, command: "walrust" });
  expect(walrustAtOrNull("/srv/c.db", proc)?.pid).toBe(8);
  rmSync(join(proc, "8"), { recursive: true });
  add(9, "walrust", "/srv/c.db");
  expect(walrustAtOrNull("/srv/c.db", proc)?.pid).toBe(9);
});
