/** The processes that have a file open, from real descriptors and from a made-up /proc. */
import { expect, test } from "bun:test";
import { mkdirSync, realpathSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { usersOfFiles } from "../../../src/database/files/file-users.ts";
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
