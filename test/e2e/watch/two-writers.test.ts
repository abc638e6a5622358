/**
 * Two copies of one database folder, each watched to the same destination, under a supervisor that restarts
 * ended processes. One watch ends with exit 4 each time; the history of the other is whole and restorable.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { copyFolderOf } from "../../support/histories/copied-folder.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const FLAGS = ["--wal-sync-interval", "0.02"];

function commit(path: string, body: string): void {
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE IF NOT EXISTS item (id INTEGER PRIMARY KEY, body)");
  database.run("INSERT INTO item (body) VALUES (?)", [body]);
  database.close(true);
}

test("watch of two copies of a folder: one ends with 4 each time, and one history remains", async () => {
  const destination = await newDestination("file");
  const folder = join(tempFolder("two"), "one");
  mkdirSync(folder);
  const path = join(folder, "app.db");
  commit(path, "before");
  const words = (database: string): string[] => [database, ...destination.words, ...FLAGS];
  const first = await WatchProcess.start(words(path));
  await first.waitForTxid(1);
  expect(await first.stop()).toBe(0);
  const copy = copyFolderOf(path);
  // As on another machine: on one machine, a watch sees the other and refuses to start.
  const elsewhere = { env: { XDG_RUNTIME_DIR: tempFolder("elsewhere") } };

  const original = await WatchProcess.start(words(path));
  const copied = await WatchProcess.start(words(copy), elsewhere);
  for (const watch of [original, copied]) {
    await watch.waitFor("watching", () => watch.eventsOf("watching").length > 0);
  }
  // The log and the events come through two pipes.
  await copied.waitFor("its log", () => copied.stderr.includes("the local state was copied here"));
  commit(path, "in the original");
  await original.waitForTxid(2);
  commit(copy, "in the copy");
  expect(await copied.exit()).toBe(4);
  for (let restart = 1; restart <= 2; restart++) {
    const again = await WatchProcess.start(words(copy), elsewhere);
    expect([await again.exit(), again.uploads()]).toEqual([4, []]);
    expect(again.stderr).toContain("was stopped because of another writer");
    expect(again.stderr).toContain(`remove ${join(dirname(copy), ".app.db-walrust")} and start again`);
    commit(path, `in the original, beside restart ${restart}`);
    await original.waitForTxid(2 + restart);
  }
  expect(await original.stop()).toBe(0);

  await mustWalrust(["verify", "app", "--read-data", ...destination.words]);
  const restored = join(tempFolder("two"), "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words]);
  checkpoint(path);
  assertSameBytes(restored, path);
});

test("watch and snapshot refuse a name that a watch has for another file, until that one ends", async () => {
  const destination = await newDestination("file");
  const [one, two] = ["one", "two"].map((name) => join(tempFolder(name), "app.db")) as [string, string];
  for (const path of [one, two]) commit(path, "before");
  const first = await WatchProcess.start([one, ...destination.words, ...FLAGS]);
  await first.waitForTxid(1);
  const refused = await WatchProcess.start([two, ...destination.words, ...FLAGS]);
  expect([await refused.exit(), refused.uploads()]).toEqual([3, []]);
  expect(refused.stderr).toContain(`as app: the watch with pid ${first.pid} replicates ${one} there`);
  const snapshot = await runWalrust(["snapshot", two, ...destination.words]);
  expect([snapshot.exitCode, snapshot.stderr]).toEqual([3, expect.stringContaining(`pid ${first.pid} `)]);
  const doctor = await runWalrust(["doctor", two, ...destination.words]);
  expect([doctor.exitCode, doctor.stdout]).toEqual([3, expect.stringContaining(`pid ${first.pid} `)]);
  commit(one, "not disturbed");
  await first.waitForTxid(2);
  expect(await first.stop()).toBe(0);
  const second = await WatchProcess.start([two, ...destination.words, ...FLAGS]);
  await second.waitFor("watching", () => second.eventsOf("watching").length > 0);
  expect(await second.stop()).toBe(0);
});

const NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const canUnshare = Bun.which("unshare") !== null && Bun.spawnSync([...NAMESPACE, "true"]).success;

test.skipIf(!canUnshare)("two containers with one runtime folder: both watches are process 1", async () => {
  const destination = await newDestination("file");
  const [one, two] = ["one", "two"].map((name) => join(tempFolder(name), "app.db")) as [string, string];
  for (const path of [one, two]) commit(path, "before");
  const first = await WatchProcess.start([one, ...destination.words, ...FLAGS], { by: NAMESPACE });
  await first.waitForTxid(1);
  const refused = await WatchProcess.start([two, ...destination.words, ...FLAGS], { by: NAMESPACE });
  expect([await refused.exit(), refused.uploads()]).toEqual([3, []]);
  expect(refused.stderr).toContain(`as app: the watch with pid 1 replicates ${one} there`);
  await first.kill();
});

test("watch goes on without the database whose name is taken, and takes it over later", async () => {
  const destination = await newDestination("file");
  const [one, two, three] = ["one/app", "two/app", "three/free"].map((name) => {
    const path = join(tempFolder("taken"), `${name}.db`);
    mkdirSync(dirname(path));
    commit(path, "before");
    return path;
  }) as [string, string, string];
  const first = await WatchProcess.start([one, ...destination.words, ...FLAGS]);
  await first.waitForTxid(1);
  const second = await WatchProcess.start([two, three, ...destination.words, ...FLAGS]);
  await second.waitForTxid(1, "free");
  await second.waitFor("the refusal", () => second.eventsOf("stopped").length > 0);
  expect(second.eventsOf("stopped")).toMatchObject([{ database: "app", code: "locked" }]);
  expect(await first.stop()).toBe(0);
  await second.waitFor("app", () => second.eventsOf("watching").some(({ database }) => database === "app"));
  expect(await second.stop()).toBe(0);
});
