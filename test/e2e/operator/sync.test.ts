/** `walrust sync`: when it ends with 0, a lost machine loses nothing that was committed before the call. */

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { linkSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { commitRow, createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip, toldFailure } from "../../support/oracles/run-checks.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination, newDestination } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

/** Without a sync, nothing is captured for an hour after a capture. */
const SELDOM = ["--wal-sync-interval", "3600"];

interface Document {
  readonly synced: boolean;
  readonly databases: readonly {
    readonly name: string;
    readonly outcome: string;
    readonly uploaded_txid: number;
    readonly pending_files: number;
    readonly problem: { readonly code: string; readonly message: string } | null;
  }[];
}

function newApps(...names: string[]) {
  const folder = tempFolder("sync");
  const databases = names.map((name) => join(folder, `${name}.db`));
  for (const database of databases) createAppDatabase(database);
  return { folder, databases, destination: fileDestination() };
}

test.each([
  ["with a cache", []],
  ["with --no-cache", ["--no-cache"]],
])("every commit before a sync survives the loss of the watch, %s", async (_, flags) => {
  const { folder, databases, destination } = newApps("app");
  const watch = await WatchProcess.start([...databases, ...destination.words, ...SELDOM, ...flags]);
  await watch.waitForUploads(1);
  const app = new Database(databases[0]!);
  for (let number = 1; number <= 5; number++) {
    commitRow(app, 1, number);
    const run = await mustWalrust(["sync", "app", ...destination.words]);
    assertNoSlip(run);
    expect(run.stdout).toMatch(/^app: TXID \d+ is in file:\/\/\S+ after \d+ ms\n$/);
  }
  await watch.kill();
  app.close(true);
  const output = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words]);
  expect(judgeAppDatabase(output).get(1)).toBe(5);
});

test.each([
  ["whose -wal was deleted", ["-wal"], "no file has its commits"],
  ["whose -shm and -wal were deleted", ["-shm", "-wal"], "in a process that does not use"],
])("sync says that nothing has the commits of an application %s", async (_, suffixes, message) => {
  const { databases, destination } = newApps("app");
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  const app = new Database(databases[0]!);
  commitRow(app, 1, 1);
  for (const suffix of suffixes) rmSync(databases[0] + suffix);
  commitRow(app, 1, 2);
  await watch.waitFor("the condition", () => watch.eventsOf("condition").length > 0);
  const run = await runWalrust(["sync", "app", ...destination.words]);
  expect([run.exitCode, run.stdout]).toEqual([3, expect.stringContaining(message)]);
  app.close(true);
  expect(await watch.stop()).toBe(0);
});

test("commits under another name of the file are neither synced nor captured by --once", async () => {
  const { databases, destination } = newApps("app");
  const link = `${databases[0]}.link`;
  linkSync(databases[0]!, link);
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  const app = new Database(link);
  commitRow(app, 1, 1);
  const run = await runWalrust(["sync", "app", ...destination.words]);
  expect([run.exitCode, run.stdout]).toEqual([3, expect.stringContaining("another of its names")]);
  // A last capture cannot read the -wal of the other name.
  expect(await watch.stop()).toBe(3);
  const once = await runWalrust(["watch", ...databases, ...destination.words, "--once"]);
  expect([once.exitCode, once.stderr]).toEqual([3, expect.stringContaining("another of its names")]);
  app.close(true);
});

test("sync --all syncs every database of every watch, and names one that no watch can have", async () => {
  const [first, second] = [newApps("one", "two"), newApps("three")];
  const absent = join(first.folder, "absent.db");
  const watches = [];
  for (const { databases, destination } of [first, second]) {
    const more = databases === first.databases ? [absent] : [];
    const watch = await WatchProcess.start([...databases, ...more, ...destination.words, ...SELDOM]);
    await watch.waitForUploads(databases.length);
    watches.push(watch);
  }
  for (const path of [...first.databases, ...second.databases]) {
    const app = new Database(path);
    commitRow(app, 1, 1);
    app.close(true);
  }
  const all = await runWalrust(["sync", "--all", "--json"]);
  const { databases } = documentOf<Document>(all);
  const outcomes = new Map(databases.map(({ name, outcome }) => [name, outcome]));
  expect(["one", "two", "three", "absent"].map((name) => outcomes.get(name))).toEqual([
    ...["synced", "synced", "synced"],
    "stopped",
  ]);
  expect(all.exitCode).toBe(3);
  const narrowed = await mustWalrust(["sync", "--all", "--json", ...second.destination.words]);
  expect(documentOf<Document>(narrowed)).toMatchObject({ synced: true, databases: [{ name: "three" }] });
  for (const watch of watches) expect(await watch.stop()).toBe(0);
});

test("sync ends with 4 and names what is behind; after the outage it ends with 0", async () => {
  const { databases, destination } = newApps("app");
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  renameSync(destination.folder, `${destination.folder}.away`);
  const app = new Database(databases[0]!);
  commitRow(app, 1, 1);
  await watch.waitFor("the failure", () => watch.eventsOf("failed").length > 0);
  const words = ["sync", "app", ...destination.words];
  const late = await runWalrust([...words, "--timeout", "1", "--json"]);
  expect(late.exitCode).toBe(4);
  const document = documentOf<Document>(late);
  expect(document).toMatchObject({ synced: false, databases: [{ outcome: "behind", pending_files: 1 }] });
  expect(document.databases[0]!.problem!.code).toBe("missing-bucket");
  const text = await runWalrust([...words, "--timeout", "1"]);
  expect(text.stdout).toContain("app: not in time, the bucket has TXID 1: ");
  expect(text.stdout).toMatch(/; 1 captured file \([^)]+\) still to upload\n/);
  renameSync(`${destination.folder}.away`, destination.folder);
  expect(documentOf<Document>(await mustWalrust([...words, "--json"])).databases[0]).toMatchObject({
    outcome: "synced",
    // A snapshot may still be on its way: the folder could have lost objects meanwhile.
    uploaded_txid: 2,
  });
  app.close(true);
  expect(await watch.stop()).toBe(0);
});

test("sync --all syncs a database that a glob has not found yet", async () => {
  const { folder, destination } = newApps("one");
  const watch = await WatchProcess.start([join(folder, "*.db"), ...destination.words]);
  await watch.waitForUploads(1);
  createAppDatabase(join(folder, "two.db"));
  const run = await mustWalrust(["sync", "--all", ...destination.words, "--json"]);
  const names = documentOf<Document>(run).databases.map(({ name, outcome }) => [name, outcome]);
  expect(names).toEqual([
    ["one", "synced"],
    ["two", "synced"],
  ]);
});

for (const kind of ["file", "s3"] as const) {
  const testIt = kind === "file" ? test : testWith("versitygw");
  testIt(`sync uploads a new snapshot where objects were deleted: ${kind}`, async () => {
    const { databases, folder } = newApps("app");
    const destination = await newDestination(kind);
    const options = { env: destination.env };
    const watch = await WatchProcess.start([...databases, ...destination.words], options);
    await watch.waitForUploads(1);
    const app = new Database(databases[0]!);
    commitRow(app, 1, 1);
    const words = ["app", ...destination.words];
    await mustWalrust(["sync", ...words], options);
    for (const { key } of await destination.objects("app")) await destination.remove("app", key);
    const verified = await runWalrust(["verify", "--all", ...destination.words, "--json"], options);
    const states = (): string =>
      watch
        .eventsOf("condition")
        .map((line) => line.state)
        .join();
    // The check at the start of the watch may have found the loss, and mended it, before verify listed.
    if (verified.exitCode === 0) await watch.waitFor("the condition", () => states().startsWith("raised"));
    else expect(verified.exitCode).toBe(5);
    // On a folder the manifest may be left, which then names what is missing.
    expect(documentOf<{ databases: { name: string }[] }>(verified).databases).toMatchObject([
      { name: "app" },
    ]);
    const run = await mustWalrust(["sync", ...words], options);
    // The check at the start of the watch may have found the loss before.
    expect(run.stdout).toMatch(
      /^app: TXID 2 is in \S+ after \d+ ms\n( {2}the bucket holds no .*; a new snapshot is there\n)?$/,
    );
    await watch.waitFor("the end of the condition", () => states() === "raised,cleared");
    await watch.kill();
    app.close(true);
    const output = join(folder, "restored.db");
    await mustWalrust(["restore", "app", "-o", output, ...destination.words], options);
    expect(judgeAppDatabase(output).get(1)).toBe(1);
  });
}

test("sync ends with 4 and the reason if the new snapshot cannot be uploaded", async () => {
  const { databases, destination } = newApps("app");
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  await mustWalrust(["sync", "app", ...destination.words]);
  const backup = join(destination.folder, "app");
  rmSync(backup, { recursive: true });
  // A file in place of the folder: the listing is empty, and nothing can be put.
  writeFileSync(backup, "");
  const late = await runWalrust(["sync", "app", ...destination.words, "--timeout", "1", "--json"]);
  expect(late.exitCode).toBe(4);
  expect(documentOf<Document>(late)).toMatchObject({ synced: false, databases: [{ outcome: "behind" }] });
  rmSync(backup);
  await mustWalrust(["sync", "app", ...destination.words]);
  expect(await watch.stop()).toBe(0);
});

test("sync without a watch of the database ends with 3", async () => {
  const { databases, destination } = newApps("app");
  const none = await runWalrust(["sync", "none", ...destination.words]);
  expect(none.exitCode).toBe(3);
  expect(toldFailure(none).message).toMatch(/^No watch of this user /);
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  const other = await runWalrust(["sync", "none", ...destination.words]);
  expect([other.exitCode, toldFailure(other).message]).toEqual([
    3,
    'No watch of this user replicates "none"',
  ]);
  process.kill(watch.pid, "SIGSTOP");
  const hanging = await runWalrust(["sync", "app", "--timeout", "1", ...destination.words]);
  process.kill(watch.pid, "SIGCONT");
  expect([hanging.exitCode, toldFailure(hanging).message]).toEqual([
    3,
    `The watch with pid ${watch.pid} does not answer: the process is stopped (SIGSTOP) and captures nothing`,
  ]);
  expect(await watch.stop()).toBe(0);
});
