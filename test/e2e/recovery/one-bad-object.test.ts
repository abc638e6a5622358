/**
 * Objects of one database are wrong or damaged: a verb over all databases reports it and processes the
 * others.
 */
import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let template: string;
let database: string;

beforeAll(async () => {
  const folder = tempFolder("one bad");
  template = join(folder, "bucket");
  for (const name of ["good", "bad", "other"]) {
    database = join(folder, `${name}.db`);
    const app = await SqliteProcess.open(database);
    await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)");
    for (const value of [1, 2]) {
      await app.must(`INSERT INTO t VALUES (${value})`);
      await mustWalrust(["snapshot", database, "-b", `file://${template}`]);
    }
    await app.close();
    checkpoint(database);
  }
});

/** Sets the time in an object's header. */
function setTime(path: string, timeMs: bigint): void {
  const bytes = readFileSync(path);
  bytes.writeBigInt64BE(timeMs, 32);
  writeFileSync(path, bytes);
}

const DAMAGES: [string, (folder: string) => void][] = [
  [
    "a time past all dates in every header",
    (folder) => eachObject(folder, (path) => setTime(path, 2n ** 53n - 1n)),
  ],
  ["a negative time past all dates", (folder) => eachObject(folder, (path) => setTime(path, -(2n ** 63n)))],
  ["objects of zeros", (folder) => eachObject(folder, (path) => writeFileSync(path, new Uint8Array(500)))],
  ["empty objects", (folder) => eachObject(folder, (path) => writeFileSync(path, ""))],
  [
    "sidecars that are no JSON",
    (folder) => eachObject(folder, (path) => writeFileSync(`${path}.meta.json`, "[[[")),
  ],
  ["a FIFO for each object", (folder) => eachObject(folder, (path) => replaceBy(path, ["mkfifo", path]))],
  ["a manifest of brackets", (folder) => writeFileSync(join(folder, "manifest.json"), "[".repeat(3_000_000))],
];

function eachObject(folder: string, change: (path: string) => void): void {
  for (const level of readdirSync(join(folder, "ltx"))) {
    for (const name of readdirSync(join(folder, "ltx", level))) {
      if (name.endsWith(".ltx")) change(join(folder, "ltx", level, name));
    }
  }
}

function replaceBy(path: string, command: string[]): void {
  expect(Bun.spawnSync(["rm", path]).exitCode).toBe(0);
  expect(Bun.spawnSync(command).exitCode).toBe(0);
}

test.each(DAMAGES)("with %s", async (_what, damage) => {
  const folder = join(tempFolder("damaged"), "b");
  cpSync(template, folder, { recursive: true, preserveTimestamps: true });
  damage(join(folder, "bad"));
  const words = ["-b", `file://${folder}`];
  const listed = await mustWalrust(["list", "--json", ...words]);
  const entries = JSON.parse(listed.stdout).databases as { name: string; problems: string[] }[];
  const sound = entries.filter(({ name }) => name !== "bad");
  expect(sound.map(({ name, problems }) => [name, problems])).toEqual([
    ["good", []],
    ["other", []],
  ]);
  await mustWalrust(["list", ...words]);

  const verified = await runWalrust(["verify", "--all", "--json", ...words]);
  const { databases } = JSON.parse(verified.stdout) as { databases: { name: string; status: string }[] };
  expect([1, 5]).toContain(verified.exitCode);
  for (const { name, status } of databases) expect([name, status === "ok"]).toEqual([name, name !== "bad"]);
  expect(databases.map(({ name }) => name)).toEqual(["bad", "good", "other"]);

  const compacted = await runWalrust(["compact", "--all", "--force", "--json", ...words]);
  const compact = JSON.parse(compacted.stdout) as {
    databases: { name: string }[];
    errors: { name: string }[];
  };
  const done = compact.databases.map(({ name }) => name).filter((name) => name !== "bad");
  expect(done).toEqual(["good", "other"]);
  for (const { name } of compact.errors) expect(name).toBe("bad");
  expect(compacted.exitCode === 0).toBe(compact.errors.length === 0);

  const restored = join(folder, "..", "restored.db");
  await mustWalrust(["restore", "other", "-o", restored, ...words]);
  assertSameBytes(restored, database);
});

test("verify --all names a link in the place of a database, and does not touch it", async () => {
  const folder = join(tempFolder("linked"), "b");
  cpSync(template, folder, { recursive: true, preserveTimestamps: true });
  mkdirSync(join(folder, "tenants"));
  symlinkSync(join(folder, "good"), join(folder, "linked"));
  symlinkSync(join(folder, "good"), join(folder, "tenants", "linked"));
  const { exitCode, stdout, stderr } = await runWalrust([
    "verify",
    "--all",
    "--json",
    "-b",
    `file://${folder}`,
  ]);
  const { databases } = JSON.parse(stdout);
  expect(databases.map(({ name, status }: Record<string, unknown>) => `${name} ${status}`)).toEqual([
    "bad ok",
    "good ok",
    "linked warnings",
    "other ok",
  ]);
  // A listing skips a folder that is otherwise empty.
  expect(stderr).toContain("tenants/linked in file://");
  expect(exitCode).toBe(1);
});
