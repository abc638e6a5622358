/**
 * Hostile files in the place of a database's files: no open blocks or follows a link, and SQLite never opens
 * a file that would block it. A case that blocks ends the test file.
 */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import {
  chownSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  answerText,
  openRegular,
  openRegularOrNull,
  permissionHintOrNull,
} from "../../../src/database/files/regular-file.ts";
import { Pin } from "../../../src/database/pin/pin.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { takeLeaseOrNull } from "../../support/processes/lease.ts";
import { tempFolder } from "../../support/temp.ts";

const ENV = systemEnv(SILENT_LOG);

const KINDS: readonly [kind: string, make: (path: string) => void][] = [
  ["a FIFO", (path) => Bun.spawnSync(["mkfifo", path])],
  ["a symbolic link", (path) => symlinkSync("/etc/passwd", path)],
  ["a dangling link", (path) => symlinkSync(`${path}.nowhere`, path)],
  ["a folder", (path) => mkdirSync(path)],
];

function newDatabase(): string {
  const path = join(tempFolder("foreign"), "app.db");
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t(x)");
  database.close(true);
  return path;
}

function failureOf(work: () => unknown): WalrustError {
  try {
    work();
  } catch (error) {
    if (error instanceof WalrustError) return error;
    throw error;
  }
  throw new Error("it did not fail");
}

describe("Pin.open", () => {
  for (const [kind, make] of KINDS) {
    for (const suffix of ["", "-wal", "-shm", "-journal"]) {
      test(`with ${kind} as app.db${suffix} fails at once, and does not touch it`, () => {
        const path = newDatabase();
        rmSync(`${path}${suffix}`, { force: true });
        make(`${path}${suffix}`);
        // The path of a database is resolved earlier, so a link there leads to a file that is no database.
        const error = failureOf(() => Pin.open(path, ENV));
        expect(["database", "database-busy"]).toContain(error.code);
        expect(error.message.includes(path) || error.message.includes("/etc/passwd")).toBe(true);
        if (kind === "a dangling link") expect(existsSync(`${path}${suffix}.nowhere`)).toBe(false);
        rmSync(`${path}${suffix}`, { recursive: true });
        if (suffix !== "") Pin.open(path, ENV).close();
      });
    }
  }

  for (const suffix of ["", "-wal", "-shm"]) {
    test(`with a lease on app.db${suffix} fails at once, and works after the lease`, async () => {
      const path = newDatabase();
      const leased = `${path}${suffix}`;
      if (suffix !== "") writeFileSync(leased, "");
      const end = await takeLeaseOrNull(leased);
      if (end === null) return;
      const startedMs = performance.now();
      const error = failureOf(() => Pin.open(path, ENV));
      expect(performance.now() - startedMs).toBeLessThan(5_000);
      expect([error.code, error.retryable, error.message.includes("lease")]).toEqual([
        "database-busy",
        true,
        true,
      ]);
      await end();
      Pin.open(path, ENV).close();
    });
  }

  test.skipIf(process.getuid?.() !== 0)("with a hard link to another user's -shm leaves that alone", () => {
    const [tenant, victim] = [newDatabase(), newDatabase()];
    chownSync(tenant, 4242, 4242);
    writeFileSync(`${victim}-shm`, "the victim's");
    for (const suffix of ["-shm", "-wal", "-journal"]) {
      linkSync(`${victim}-shm`, `${tenant}${suffix}`);
      const error = failureOf(() => Pin.open(tenant, ENV));
      expect(["database", "foreign-wal"]).toContain(error.code);
      expect(readFileSync(`${victim}-shm`, "utf8")).toBe("the victim's");
      rmSync(`${tenant}${suffix}`);
    }
    Pin.open(tenant, ENV).close();
  });

  test("refuses a path with a folder that became a link since discovery", () => {
    const top = tempFolder("foreign");
    mkdirSync(join(top, "victim"));
    const path = newDatabase();
    renameSync(path, join(top, "victim", "app.db"));
    symlinkSync(join(top, "victim"), join(top, "tenant"));
    const pin = Pin.open(join(top, "tenant", "app.db"), ENV);
    // The pin has the identity of its file, which the caller compares at the attach.
    expect(pin.path).toBe(join(top, "victim", "app.db"));
    pin.close();
  });
});

describe("openRegular", () => {
  test("returns a regular file, null for a missing one, and names another kind", () => {
    const folder = tempFolder("foreign");
    expect(openRegularOrNull(join(folder, "none"), false)).toBeNull();
    expect(() => openRegular(join(folder, "none"), false)).toThrow("ENOENT");
    expect(failureOf(() => openRegular("/dev/null", true)).message).toContain("expected a regular file");
  });
});

test("permissionHintOrNull names the user, and the file or the folder that it may not enter", () => {
  const refusal = Object.assign(new Error("no"), { code: "EACCES" });
  const path = join(tempFolder("closed"), "app.db");
  expect(answerText(refusal)).toBe("permission denied (EACCES)");
  expect(permissionHintOrNull(path, refusal)).toMatch(
    /^This user \(uid \d+\) may not read and write \S+\/app\.db: run walrust as the user of the /,
  );
  const missing = Object.assign(new Error("none"), { code: "ENOENT" });
  expect([answerText(missing), permissionHintOrNull(path, missing)]).toEqual(["ENOENT", null]);
});
