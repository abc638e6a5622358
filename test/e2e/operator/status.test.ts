/** `walrust status` beside running, failing, hanging and ended watches. */

import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { commitRow, createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip } from "../../support/oracles/run-checks.ts";
import { documentOf, type Run, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

interface Document {
  readonly status: string;
  readonly not_watched: readonly string[];
  readonly watches: readonly {
    readonly pid: number;
    readonly status: string;
    readonly destination: string | null;
    readonly problem: { readonly message: string } | null;
    readonly databases: readonly {
      readonly name: string;
      readonly health: string;
      readonly status: string;
      readonly txid: number;
      readonly uploaded_txid: number;
      readonly pending_files: number;
      readonly wal_bytes: number | null;
      readonly snapshot: { readonly txid: number } | null;
      readonly validation: { readonly status: string } | null;
      readonly failure: { readonly code: string; readonly hint: string | null } | null;
      readonly remedies: readonly string[];
    }[];
  }[];
}

/** Databases in one folder, and their destination. */
function newApps(...names: string[]) {
  const folder = tempFolder("status");
  const databases = names.map((name) => join(folder, `${name}.db`));
  for (const database of databases) createAppDatabase(database);
  return { folder, databases, destination: fileDestination() };
}

function commit(database: string, number: number): void {
  const connection = new Database(database);
  commitRow(connection, 1, number);
  connection.close(true);
}

async function status(...words: string[]): Promise<{ run: Run; document: Document }> {
  const run = await runWalrust(["status", ...words, "--json"]);
  assertNoSlip(run);
  return { run, document: documentOf<Document>(run) };
}

test("status shows the databases of a running watch, as text and as JSON", async () => {
  const { databases, destination } = newApps("one", "two");
  const watch = await WatchProcess.start([
    ...databases,
    ...destination.words,
    "--validation-interval",
    "0.2",
  ]);
  await watch.waitFor("both", () => watch.uploads("one").length > 0 && watch.uploads("two").length > 0);
  commit(databases[0]!, 1);
  await watch.waitForTxid(2, "one");
  await watch.waitFor("validations", () => watch.eventsOf("validated").length > 1);
  const { run, document } = await status(...destination.words);
  expect([run.exitCode, document.status, document.not_watched]).toEqual([0, "healthy", []]);
  expect(document.watches).toMatchObject([
    {
      pid: watch.pid,
      destination: destination.url,
      problem: null,
      databases: [
        {
          name: "one",
          status: "syncing",
          txid: 2,
          uploaded_txid: 2,
          pending_files: 0,
          snapshot: { txid: 1 },
        },
        { name: "two", health: "healthy", txid: 1, validation: { status: "ok" }, failure: null },
      ],
    },
  ]);
  const one = await status("one", ...destination.words);
  expect(one.document.watches[0]!.databases.map(({ name }) => name)).toEqual(["one"]);
  const text = await runWalrust(["status", ...destination.words]);
  expect([text.exitCode, text.stderr]).toEqual([0, ""]);
  expect(text.stdout).toContain(`${destination.url} (pid ${watch.pid}, `);
  expect(text.stdout).toMatch(/^ {2}one +syncing +0 +0 +2 +2 /m);
  expect(await watch.stop()).toBe(0);
});

test("status shows all watches of this user; -b shows one of them", async () => {
  const [first, second] = [newApps("app"), newApps("app")];
  const watches = [];
  for (const { databases, destination } of [first, second]) {
    const watch = await WatchProcess.start([...databases, ...destination.words]);
    await watch.waitForUploads(1);
    watches.push(watch);
  }
  const { document } = await status();
  const pids = document.watches.map(({ pid }) => pid);
  expect(watches.every(({ pid }) => pids.includes(pid))).toBe(true);
  const narrowed = await status("app", ...second.destination.words);
  expect(narrowed.document.watches.map(({ pid }) => pid)).toEqual([watches[1]!.pid]);
  const absent = await status("app", "none", ...second.destination.words);
  expect([absent.run.exitCode, absent.document.not_watched]).toEqual([3, ["none"]]);
  for (const watch of watches) expect(await watch.stop()).toBe(0);
});

test("in the folder of a configuration whose watch is gone, no other watch stands in for it", async () => {
  const [other, own] = [newApps("app"), newApps("app")];
  const watch = await WatchProcess.start([...other.databases, ...other.destination.words]);
  await watch.waitForUploads(1);
  const config = join(tempFolder("own"), "walrust.toml");
  writeFileSync(
    config,
    `[s3]\nbucket = "${own.destination.url}"\n[[databases]]\npath = "${own.databases[0]}"\n`,
  );
  for (const words of [["status"], ["sync", "--all"]]) {
    const run = await runWalrust([...words, "--config", config]);
    expect([words[0], run.exitCode]).toEqual([words[0], 3]);
    expect(`${run.stdout}${run.stderr}`).toContain("No watch of this user replicates");
  }
  expect(await watch.stop()).toBe(0);
});

test("status names a failure with its remedy, and its exit code follows the health", async () => {
  const { databases, destination } = newApps("app");
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  renameSync(destination.folder, `${destination.folder}.away`);
  commit(databases[0]!, 1);
  await watch.waitFor("the failure", () => watch.eventsOf("failed").length > 0);
  const { run, document } = await status("app", ...destination.words);
  expect(run.exitCode).toBe(1);
  const [app] = document.watches[0]!.databases;
  expect(app).toMatchObject({ health: "degraded", status: "failing", txid: 2, uploaded_txid: 1 });
  expect(app).toMatchObject({ pending_files: 1, failure: { code: "missing-bucket" } });
  expect(app!.remedies.length).toBeGreaterThan(0);
  const text = await runWalrust(["status", "app", ...destination.words]);
  expect(text.exitCode).toBe(1);
  expect(text.stdout).toContain("  degraded: app\n");
  expect(text.stdout).toContain(`    → ${app!.remedies[0]}`);
  renameSync(`${destination.folder}.away`, destination.folder);
  await watch.waitFor("recovered", () => watch.eventsOf("recovered").length > 0);
  await eventually("healthy", async () => (await status("app", ...destination.words)).run.exitCode === 0);
  expect(await watch.stop()).toBe(0);
});

test("a database whose file is gone is told apart from its neighbours", async () => {
  const { folder, databases, destination } = newApps("one", "two");
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitFor("both", () => watch.uploads("one").length > 0 && watch.uploads("two").length > 0);
  const hidden = join(folder, "hidden");
  mkdirSync(hidden);
  for (const end of ["", "-wal", "-shm"]) rmSync(`${databases[0]}${end}`, { force: true });
  const isTold = async (): Promise<boolean> => {
    const { document } = await status(...destination.words);
    return document.watches[0]!.databases[0]!.failure !== null;
  };
  await eventually("the loss", isTold);
  const { document } = await status(...destination.words);
  expect(document.watches[0]!.databases).toMatchObject([
    { name: "one", status: "failing", failure: { code: "database" } },
    { name: "two", health: "healthy" },
  ]);
  await watch.stop();
});

test("status of a watch that was killed, and of none, ends with 3", async () => {
  const { databases, destination } = newApps("app");
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  await watch.kill();
  const { run, document } = await status("app", ...destination.words);
  expect([run.exitCode, document.status, document.not_watched]).toEqual([3, "unhealthy", ["app"]]);
  const text = await runWalrust(["status", "app", ...destination.words]);
  expect([text.exitCode, text.stderr]).toEqual([3, ""]);
  expect(text.stdout).toContain("No watch of this user replicates app.\n  `walrust status` without a name");
});

test("status names a watch that hangs, and ends with 3", async () => {
  const { databases, destination } = newApps("app");
  const watch = await WatchProcess.start([...databases, ...destination.words]);
  await watch.waitForUploads(1);
  process.kill(watch.pid, "SIGSTOP");
  const { run, document } = await status(...destination.words);
  process.kill(watch.pid, "SIGCONT");
  expect(run.exitCode).toBe(3);
  const hanging = document.watches.find(({ pid }) => pid === watch.pid);
  expect(hanging?.problem?.message).toBe(
    `The watch with pid ${watch.pid} does not answer: the process is stopped (SIGSTOP) and captures nothing`,
  );
  expect((await status(...destination.words)).run.exitCode).toBe(0);
  expect(await watch.stop()).toBe(0);
});
