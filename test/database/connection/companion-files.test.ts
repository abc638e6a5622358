/**
 * The -wal and -shm for a walrust whose user shares only a group with the application. The application can
 * open its database while walrust works and afterwards, under any umask.
 */
import { describe, expect, test } from "bun:test";
import { chmodSync, chownSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type CompanionFacts, planCompanions } from "../../../src/database/connection/companion-files.ts";
import type { OtherUser } from "../../support/processes/other-user.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

const GROUP = 61004;
const APP = { uid: 61001, gid: GROUP, groups: [GROUP], umask: 0o007 };
const WALRUST = { uid: 61002, gid: 61002, groups: [GROUP], umask: 0o022 };
const SUFFIXES = ["-wal", "-shm"];

describe("planCompanions", () => {
  const database = { uid: 1, gid: 9, mode: 0o100660 };
  const guest: CompanionFacts = { user: 2, groups: [2, 9], database, isOwnerInGroup: false };
  const wide = { ...database, mode: 0o100666 };
  test.each<[string, Partial<CompanionFacts>, string]>([
    ["root: SQLite gives them to the owner", { user: 0, groups: [0] }, "sqlite"],
    ["the owner, in the database's group", { user: 1, groups: [1, 9] }, "share"],
    ["the owner, not in the database's group", { user: 1, groups: [1] }, "sqlite"],
    ["a group mate of an owner who is in the group", { isOwnerInGroup: true }, "share"],
    ["a group mate of an owner of whom that is not known", {}, "wait"],
    ["a group that may only read", { isOwnerInGroup: true, database: { ...database, mode: 0o640 } }, "wait"],
    ["everybody may write", { database: wide }, "share"],
    ["everybody may write, in no group of ours", { database: wide, groups: [2] }, "share"],
    ["in no group of ours (an access list lets us in)", { groups: [2], isOwnerInGroup: true }, "wait"],
  ])("%s", (_, facts, plan) => expect(planCompanions({ ...guest, ...facts })).toBe(plan as never));
});

/** A walrust that pins a database as another user. */
class Guest {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  #said = "";
  readonly #reading: Promise<void>;

  constructor(path: string, user: OtherUser) {
    const script = join(import.meta.dir, "../../support/processes/pin-process-main.ts");
    const words = [process.execPath, script, path, JSON.stringify(user)];
    this.#child = Bun.spawn(words, { stdin: "pipe", stdout: "pipe", stderr: "inherit" });
    this.#reading = this.#read();
  }

  async #read(): Promise<void> {
    for await (const text of this.#child.stdout.pipeThrough(new TextDecoderStream())) this.#said += text;
  }

  /** The lines of its output, once there are this many. */
  async said(count: number): Promise<string[]> {
    const lines = (): string[] => this.#said.split("\n").slice(0, -1);
    await waitUntil(() => lines().length >= count);
    return lines();
  }

  async cycle(): Promise<void> {
    this.#child.stdin.write("cycle\n");
    await this.#child.stdin.flush();
  }

  async end(): Promise<void> {
    this.#child.stdin.end();
    await Promise.all([this.#child.exited, this.#reading]);
  }
}

/** A database of APP in a group-writable folder, without an open connection. */
async function groupDatabase(mode: number, options = { isRollback: false }): Promise<string> {
  const folder = tempFolder("group");
  chownSync(folder, APP.uid, GROUP);
  chmodSync(folder, 0o770);
  const path = join(folder, "app.db");
  const app = await SqliteProcess.open(path, APP);
  if (!options.isRollback) await app.must("PRAGMA journal_mode = WAL");
  await app.must("CREATE TABLE t(a)");
  await app.close();
  chownSync(path, APP.uid, GROUP);
  chmodSync(path, mode);
  return path;
}

async function insertAs(path: string, user: OtherUser): Promise<void> {
  const app = await SqliteProcess.open(path, user);
  await app.must("INSERT INTO t VALUES (1)");
  await app.close();
}

const isRoot = process.geteuid?.() === 0;

describe.skipIf(!isRoot)("a walrust that shares only a group with the application", () => {
  test("is never the first to open, and pins a database that the application has open", async () => {
    const path = await groupDatabase(0o660);
    const early = new Guest(path, WALRUST);
    expect((await early.said(1))[0]).toContain("nobody else has it open");
    await early.end();
    expect(SUFFIXES.filter((suffix) => existsSync(path + suffix))).toEqual([]);
    await insertAs(path, APP);

    const app = await SqliteProcess.open(path, APP);
    await app.must("INSERT INTO t VALUES (1)");
    const guest = new Guest(path, WALRUST);
    expect(await guest.said(1)).toEqual(["pinned"]);
    await app.must("INSERT INTO t VALUES (2)");
    await guest.cycle();
    expect(await guest.said(2)).toEqual(["pinned", "complete"]);
    await app.close();
    await insertAs(path, APP);
    await guest.end();
    await insertAs(path, APP);
    expect(
      SUFFIXES.filter((suffix) => existsSync(path + suffix) && statSync(path + suffix).uid !== APP.uid),
    ).toEqual([]);
  });

  test("leaves nothing behind when the application deletes its files just before", async () => {
    const path = await groupDatabase(0o660);
    // Files of an earlier walrust that the application cannot open.
    for (const suffix of SUFFIXES) {
      writeFileSync(path + suffix, "");
      chownSync(path + suffix, WALRUST.uid, WALRUST.gid);
      chmodSync(path + suffix, 0o660);
    }
    await expect(insertAs(path, APP)).rejects.toThrow("unable to open");
    const guest = new Guest(path, WALRUST);
    expect((await guest.said(1))[0]).toContain("nobody else has it open");
    await guest.end();
    expect(SUFFIXES.filter((suffix) => existsSync(path + suffix))).toEqual([]);
    await insertAs(path, APP);
  });

  test.each([0o077, 0o022, 0o007, 0])("is the first with files that all can use, umask %o", async (umask) => {
    const path = await groupDatabase(0o666);
    const guest = new Guest(path, { ...WALRUST, umask });
    expect(await guest.said(1)).toEqual(["pinned"]);
    await insertAs(path, APP);
    await guest.cycle();
    await guest.said(2);
    await insertAs(path, APP);
    const [wal, shm] = SUFFIXES.map((suffix) => statSync(path + suffix));
    expect([wal!.gid, wal!.mode & 0o777, shm!.gid, shm!.mode & 0o777]).toEqual([GROUP, 0o666, GROUP, 0o666]);
    await guest.end();
    await insertAs(path, APP);
  });

  test("creates files in the database's group if its owner is a member", async () => {
    const owner = readFileSync("/etc/passwd", "utf8")
      .split("\n")
      .map((line) => line.split(":"));
    const [, , uid, gid] = owner.find((fields) => Number(fields[2]) > 0 && Number(fields[3]) > 0)!;
    const path = await groupDatabase(0o660);
    const mate = { uid: Number(uid), gid: Number(gid), groups: [Number(gid)], umask: 0o022 };
    chownSync(path, mate.uid, mate.gid);
    chownSync(join(path, ".."), mate.uid, mate.gid);
    const guest = new Guest(path, { ...WALRUST, groups: [mate.gid], umask: 0o077 });
    expect(await guest.said(1)).toEqual(["pinned"]);
    await insertAs(path, mate);
    await guest.end();
    await insertAs(path, mate);
    expect(readFileSync(path).length).toBeGreaterThan(0);
  });

  test("reports the need when the application's files belong to a group without its user", async () => {
    const path = await groupDatabase(0o660);
    const app = await SqliteProcess.open(path, { ...APP, gid: APP.uid });
    await app.must("INSERT INTO t VALUES (1)");
    const guest = new Guest(path, WALRUST);
    expect((await guest.said(1))[0]).toContain("unable to open database file");
    await guest.end();
    await app.close();
    await insertAs(path, APP);
  });

  test("keeps a file of the owner's that another process deletes under the pin", async () => {
    const path = await groupDatabase(0o660);
    const app = await SqliteProcess.open(path, APP);
    await app.must("INSERT INTO t VALUES (1)");
    const guest = new Guest(path, WALRUST);
    expect(await guest.said(1)).toEqual(["pinned"]);
    rmSync(`${path}-shm`);
    await guest.cycle();
    await guest.end();
    expect(existsSync(`${path}-shm`)).toBe(false);
    await app.close();
    await insertAs(path, APP);
  });
});

test.skipIf(!isRoot)("root creates files with the database's owner, group and mode", async () => {
  const path = await groupDatabase(0o660);
  const guest = new Guest(path, { uid: 0, gid: 0, groups: [0], umask: 0o077 });
  expect(await guest.said(1)).toEqual(["pinned"]);
  for (const suffix of SUFFIXES) {
    const { uid, gid, mode } = statSync(path + suffix);
    expect([uid, gid, mode & 0o777]).toEqual([APP.uid, GROUP, 0o660]);
  }
  await guest.end();
  await insertAs(path, APP);
});
