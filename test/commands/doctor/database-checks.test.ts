/** The checks of one database, on real files. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Check } from "../../../src/commands/doctor/check.ts";
import {
  checkDatabase,
  type DatabaseFacts,
  versionText,
} from "../../../src/commands/doctor/database-checks.ts";
import type { FoundDatabase } from "../../../src/discovery/finder.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { tempFolder } from "../../support/temp.ts";

const FACTS: DatabaseFacts = { users: [], destination: "s3://bucket/vm", walTruncateThresholdPages: 100_000 };

function newDatabase(): string {
  const path = join(realpathSync(tempFolder("checked")), "app.db");
  createAppDatabase(path);
  return path;
}

function check(path: string, facts: Partial<DatabaseFacts> = {}, isDiscovered = false): Check[] {
  const place = LocalPlaces.standard({}).of(path);
  const found: FoundDatabase = { path, name: "app", paths: place.paths, place, entry: null, isDiscovered };
  return checkDatabase(found, { ...FACTS, ...facts }).all;
}

function one(checks: readonly Check[], name: string): Check {
  const [found, ...others] = checks.filter(({ check }) => check === name);
  if (found === undefined || others.length > 0) throw new Error(`${name}: ${JSON.stringify(checks)}`);
  return found;
}

/** Writes the version of a library into the header, as that library would. */
function writtenBy(path: string, version: number): void {
  const file = Buffer.from(readFileSync(path));
  file.writeUInt32BE(version, 96);
  writeFileSync(path, file);
}

test("checkDatabase of a sound database finds nothing, and changes nothing", () => {
  const path = newDatabase();
  const before = statSync(path, { bigint: true });
  const checks = check(path, { users: [{ pid: 12, command: "python3" }] });
  expect(checks.map((one) => [one.check, one.exit, one.hint])).toEqual(
    ["mode", "sqlite-version", "size", "users", "state", "space"].flatMap((name) =>
      name === "mode"
        ? [
            ["mode", 0, null],
            ["file-system", 0, one(checks, "file-system").hint],
          ]
        : [[name, 0, null]],
    ),
  );
  expect(one(checks, "users").message).toBe("open by python3 (pid 12)");
  expect(one(checks, "mode").status).toBe("ok");
  const after = statSync(path, { bigint: true });
  expect([after.mtimeNs, after.ctimeNs, after.size]).toEqual([before.mtimeNs, before.ctimeNs, before.size]);
});

test.each([
  [3_006_023, "ok"],
  [3_007_000, "warning"],
  [3_046_001, "warning"],
  [3_051_002, "warning"],
  [3_051_003, "ok"],
  [3_054_001, "ok"],
])("checkDatabase of a file by SQLite %d: %s", (version, status) => {
  const path = newDatabase();
  writtenBy(path, version);
  const found = one(check(path), "sqlite-version");
  expect([found.status, found.message.includes(versionText(version))]).toEqual([status as "ok", true]);
});

test("versionText of 3051003 is 3.51.3", () => {
  expect([3_051_003, 3_007_000, 3_046_012].map(versionText)).toEqual(["3.51.3", "3.7.0", "3.46.12"]);
});

test("checkDatabase fails for a named database in rollback mode, and warns for a glob's find", () => {
  const path = newDatabase();
  const database = new Database(path);
  database.run("PRAGMA journal_mode = DELETE");
  database.close(true);
  expect(one(check(path), "mode")).toMatchObject({ status: "failure", exit: 3 });
  expect(one(check(path), "mode").hint).toContain("PRAGMA journal_mode=WAL");
  expect(one(check(path, {}, true), "mode")).toMatchObject({ status: "warning", exit: 0 });
});

test("checkDatabase fails for a file that is no database, and for none", () => {
  const path = newDatabase();
  writeFileSync(path, "no database, but long enough to have a header of one hundred bytes ".repeat(3));
  expect(one(check(path), "mode")).toMatchObject({ status: "failure", exit: 3 });
  rmSync(path);
  const checks = check(path);
  expect(one(checks, "mode")).toMatchObject({ status: "failure", exit: 3 });
  expect(one(checks, "file-system").status).toBe("failure");
});

test("checkDatabase warns of a WAL far beyond its threshold", () => {
  const path = newDatabase();
  writeFileSync(`${path}-wal`, "");
  truncateSync(`${path}-wal`, 4096 * 300);
  expect(one(check(path, { walTruncateThresholdPages: 100 }), "size").status).toBe("warning");
  expect(one(check(path, { walTruncateThresholdPages: 200 }), "size").status).toBe("ok");
});

test("checkDatabase warns of a local state that is lost", () => {
  const path = newDatabase();
  const { paths } = LocalPlaces.standard({}).of(path);
  mkdirSync(paths.folder, { mode: 0o700 });
  writeFileSync(paths.statePath, "garbage\n", { mode: 0o600 });
  expect(one(check(path), "state")).toMatchObject({ status: "warning" });
});

test("checkDatabase counts the processes beyond five", () => {
  const users = Array.from({ length: 8 }, (_, pid) => ({ pid, command: "app" }));
  expect(one(check(newDatabase(), { users }), "users").message).toEndWith("app (pid 4) and 3 more");
});
