/** The checks of one database, on real files. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  chmodSync,
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
import type { WatchedDatabase } from "../../../src/commands/doctor/replication-checks.ts";
import type { FoundDatabase } from "../../../src/discovery/finder.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { LocalPlaces, NO_PATH } from "../../../src/local/places.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { tempFolder } from "../../support/temp.ts";

const FACTS: DatabaseFacts = {
  users: [],
  destination: "s3://bucket/vm",
  walTruncateThresholdPages: 100_000,
  watched: null,
};
const env = systemEnv(SILENT_LOG);

function newDatabase(): string {
  const path = join(realpathSync(tempFolder("checked")), "app.db");
  createAppDatabase(path);
  return path;
}

async function check(
  path: string,
  facts: Partial<DatabaseFacts> = {},
  isDiscovered = false,
  places = LocalPlaces.standard({}),
): Promise<Check[]> {
  const place = places.of(path);
  const found: FoundDatabase = { path, name: "app", paths: place.paths, place, entry: null, isDiscovered };
  return (await checkDatabase(found, { ...FACTS, ...facts }, env)).all;
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

test("checkDatabase of a sound database finds nothing, and changes nothing", async () => {
  const path = newDatabase();
  const before = statSync(path, { bigint: true });
  const checks = await check(path, { users: [{ pid: 12, command: "python3" }] });
  expect(checks.map((one) => [one.check, one.exit, one.hint])).toEqual(
    ["replication", "sqlite-version", "size", "users", "state", "space"].flatMap((name) =>
      name === "replication"
        ? [
            ["mode", 0, null],
            ["replication", 0, null],
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
])("checkDatabase of a file by SQLite %d: %s", async (version, status) => {
  const path = newDatabase();
  writtenBy(path, version);
  const found = one(await check(path), "sqlite-version");
  expect([found.status, found.message.includes(versionText(version))]).toEqual([status as "ok", true]);
});

test("versionText of 3051003 is 3.51.3", async () => {
  expect([3_051_003, 3_007_000, 3_046_012].map(versionText)).toEqual(["3.51.3", "3.7.0", "3.46.12"]);
});

test("checkDatabase fails for a named database in rollback mode, and warns for a glob's find", async () => {
  const path = newDatabase();
  const database = new Database(path);
  database.run("PRAGMA journal_mode = DELETE");
  database.close(true);
  expect(one(await check(path), "mode")).toMatchObject({ status: "failure", exit: 3 });
  expect(one(await check(path), "mode").hint).toContain("PRAGMA journal_mode=WAL");
  expect(one(await check(path, {}, true), "mode")).toMatchObject({ status: "warning", exit: 0 });
});

test("checkDatabase fails for a file that is no database, and for none", async () => {
  const path = newDatabase();
  writeFileSync(path, "no database, but long enough to have a header of one hundred bytes ".repeat(3));
  expect(one(await check(path), "mode")).toMatchObject({ status: "failure", exit: 3 });
  rmSync(path);
  const checks = await check(path);
  expect(one(checks, "mode")).toMatchObject({ status: "failure", exit: 3 });
  expect(one(checks, "file-system").status).toBe("failure");
});

test("checkDatabase warns of a WAL far beyond its threshold", async () => {
  const path = newDatabase();
  writeFileSync(`${path}-wal`, "");
  truncateSync(`${path}-wal`, 4096 * 300);
  expect(one(await check(path, { walTruncateThresholdPages: 100 }), "size").status).toBe("warning");
  expect(one(await check(path, { walTruncateThresholdPages: 200 }), "size").status).toBe("ok");
});

test("checkDatabase warns of a local state that is lost", async () => {
  const path = newDatabase();
  const { paths } = LocalPlaces.standard({}).of(path);
  mkdirSync(paths.folder, { mode: 0o700 });
  writeFileSync(paths.statePath, "garbage\n", { mode: 0o600 });
  expect(one(await check(path), "state")).toMatchObject({ status: "warning" });
});

test("checkDatabase counts the processes beyond five", async () => {
  const users = Array.from({ length: 8 }, (_, pid) => ({ pid, command: "app" }));
  expect(one(await check(newDatabase(), { users }), "users").message).toEndWith("app (pid 4) and 3 more");
});

test("checkDatabase fails for a state folder that a watch refuses, as the watch does", async () => {
  const path = newDatabase();
  const stateHome = tempFolder("home");
  chmodSync(stateHome, 0o777);
  const choice = { state: { path: stateHome }, cache: NO_PATH, variables: {} };
  const checks = await check(path, {}, false, new LocalPlaces(choice));
  expect(one(checks, "state-folder")).toMatchObject({ status: "failure", exit: 3 });
  expect(one(checks, "state-folder").message).toContain("Cannot keep state in");
  expect(one(checks, "state-folder").message).toContain("is writable for everybody");
  chmodSync(stateHome, 0o700);
  const sound = await check(path, {}, false, new LocalPlaces(choice));
  expect(sound.filter(({ check }) => check === "state-folder")).toEqual([]);
});

test("checkDatabase takes the judgement of the watch, and repeats no failure of the files", async () => {
  const path = newDatabase();
  writeFileSync(path, "no database, but long enough to have a header of one hundred bytes ".repeat(3));
  const watched: WatchedDatabase = {
    pid: 12,
    health: "unhealthy",
    reasons: ["stopped: it is not a SQLite database"],
    remedies: ["Restore it"],
    uploadedTxid: 4,
    failureCode: "database",
  };
  const checks = await check(path, { watched });
  expect(checks.filter(({ check }) => check === "mode")).toEqual([]);
  expect(one(checks, "replication")).toMatchObject({ status: "failure", exit: 3, hint: "Restore it" });
  // The watch does not know of it yet.
  const early = await check(path, { watched: { ...watched, health: "healthy" } });
  expect(one(early, "mode")).toMatchObject({ status: "failure", exit: 3 });
});
