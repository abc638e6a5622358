/** `walrust watch --restore-if-missing`: databases that are missing are restored before anything else. */
import { expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { FOREIGN_BUCKETS } from "../../support/histories/foreign-buckets.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const FLAG = "--restore-if-missing";

/** Deletes a database and everything of walrust beside it. */
function lose(path: string): void {
  for (const end of ["", "-wal", "-shm"]) rmSync(`${path}${end}`, { force: true });
  const folder = join(path, "..");
  for (const name of readdirSync(folder).filter((one) => one.endsWith("-walrust")))
    rmSync(join(folder, name), { recursive: true });
}

async function expectRestorable(path: string, name: string, words: readonly string[]): Promise<void> {
  const restored = join(tempFolder("again"), "restored.db");
  await mustWalrust(["restore", name, "-o", restored, ...words]);
  checkpoint(path);
  assertSameBytes(restored, path);
}

test("a missing database is restored, and its new commits are increments", async () => {
  const path = join(tempFolder("missing"), "app.db");
  createAppDatabase(path);
  const { words } = fileDestination();
  await mustWalrust(["snapshot", path, ...words]);
  const before = readFileSync(path);
  lose(path);
  const watch = await WatchProcess.start([path, ...words, FLAG]);
  await watch.waitFor("watching", () => watch.eventsOf("watching").length > 0);
  expect(watch.eventsOf("restored")).toMatchObject([{ database: "app", path, txid: 1 }]);
  expect(readFileSync(path).equals(before)).toBe(true);
  const app = await SqliteProcess.open(path);
  await app.must("INSERT INTO counter VALUES (1, 1)");
  await watch.waitForUploads(1);
  expect(await watch.stop()).toBe(0);
  expect(watch.uploads().map(({ kind, txid }) => [kind, txid])).toEqual([["increment", 2]]);
  await app.close();
  await expectRestorable(path, "app", words);
});

test("a database without a backup is waited for, in rollback mode too, and no failure", async () => {
  const path = join(tempFolder("missing"), "app.db");
  const { words } = fileDestination();
  const watch = await WatchProcess.start([path, ...words, FLAG]);
  await watch.waitFor("the wait", () => watch.stderr.includes(`waiting for ${path}`));
  expect(watch.stderr).toContain("there is no backup to restore");
  const app = await SqliteProcess.open(path);
  await app.must("CREATE TABLE t(v)");
  await watch.waitFor("the refusal", () => watch.stderr.includes("PRAGMA journal_mode"));
  await app.must("PRAGMA journal_mode = WAL", "INSERT INTO t VALUES (1)");
  await watch.waitForTxid(1);
  expect(await watch.stop()).toBe(0);
  await app.close();
  await expectRestorable(path, "app", words);
});

test("an existing database is never replaced, whatever the bucket has", async () => {
  const path = join(tempFolder("missing"), "app.db");
  createAppDatabase(path);
  const { words } = fileDestination();
  await mustWalrust(["snapshot", path, ...words]);
  lose(path);
  createAppDatabase(path, 8192);
  const before = readFileSync(path);
  const watch = await WatchProcess.start([path, ...words, FLAG]);
  await watch.waitForUploads(1);
  expect(await watch.stop()).toBe(0);
  expect([watch.eventsOf("restored"), readFileSync(path).equals(before)]).toEqual([[], true]);
});

test.each([
  ["an object is damaged", 5],
  ["only the manifest is left", 5],
  ["another program wrote the backup", 6],
] as const)("nothing is started when %s", async (what, exitCode) => {
  const folder = tempFolder("missing");
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const destination = fileDestination();
  await mustWalrust(["snapshot", path, ...destination.words]);
  lose(path);
  const root = join(destination.folder, "app");
  const [object] = await destination.objects("app");
  if (what === "an object is damaged") writeFileSync(join(root, "ltx", object!.key), "damaged");
  else rmSync(join(root, "ltx"), { recursive: true });
  if (exitCode === 6) {
    rmSync(root, { recursive: true });
    for (const [key, bytes] of Object.entries(FOREIGN_BUCKETS["litestream-0.3"]))
      await Bun.write(join(root, key), bytes);
  }
  const started = join(folder, "started");
  const exec = ["--exec", `touch ${started}`];
  const run = await runWalrust(["watch", path, ...destination.words, FLAG, ...exec, "--no-metrics"]);
  expect([run.exitCode, existsSync(path), existsSync(started)]).toEqual([exitCode, false, false]);
});

test("missing databases that share a file stem get the names that they had", async () => {
  const folder = tempFolder("missing");
  const paths = ["romneys", "smiths"].map((tenant) => join(folder, tenant, "app.db"));
  for (const [index, path] of paths.entries()) {
    mkdirSync(join(path, ".."));
    createAppDatabase(path, 1024 << index);
  }
  const { words } = fileDestination();
  await mustWalrust(["watch", ...paths, ...words, "--once", "--no-metrics"]);
  const before = paths.map((path) => readFileSync(path));
  for (const path of paths) lose(path);
  await mustWalrust(["watch", ...paths, ...words, "--once", FLAG, "--no-metrics"]);
  expect(paths.map((path, index) => readFileSync(path).equals(before[index]!))).toEqual([true, true]);
});

test("the name and prefix of an entry in walrust.toml decide which backup is restored", async () => {
  const folder = tempFolder("missing");
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const { url } = fileDestination();
  const entry = `[s3]\nbucket = "${url}"\n[[databases]]\npath = "app.db"\nname = "shop"\nprefix = "vm"\n`;
  writeFileSync(join(folder, "walrust.toml"), `[metrics]\nenabled = false\n${entry}`, { mode: 0o600 });
  await mustWalrust(["watch", "--once"], { cwd: folder });
  lose(path);
  const run = await mustWalrust(["watch", "--once", FLAG, "--json"], { cwd: folder });
  const [restored] = run.stdout.split("\n").map((line) => JSON.parse(line || "{}"));
  expect([restored.event, restored.database, existsSync(path)]).toEqual(["restored", "vm/shop", true]);
});
