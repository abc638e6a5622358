/**
 * `snapshot` and `compact` beside a running watch and beside a killed one, and two watches of one database.
 * Also the place of captured files with --no-cache and --cache-dir.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const OFTEN = ["--wal-sync-interval", "0.05", "--min-checkpoint-pages", "200"];

async function start(flags: readonly string[] = []) {
  const destination = fileDestination();
  const folder = tempFolder("requests");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const writer = new AppWriter(database, folder, { pauseMs: 5 });
  const watch = await WatchProcess.start([database, ...destination.words, ...OFTEN, ...flags]);
  await watch.waitForUploads(3);
  const stateFolder = join(folder, ".app.db-walrust");
  return { destination, folder, database, writer, watch, stateFolder };
}

/** The files in and below a folder that hold captured pages. */
function ltxFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return (readdirSync(folder, { recursive: true }) as string[]).filter((name) => /\.ltxs?$/.test(name));
}

test("snapshot beside a watch ends with 0 once the object is stored, and the watch continues", async () => {
  const { destination, database, watch, writer } = await start();
  const run = await mustWalrust(["snapshot", database, ...destination.words, "--json"]);
  const { txid, key } = documentOf<{ txid: number; key: string }>(run);
  const taken = (await destination.objects("app")).find(
    ({ level, maxTxid }) => level === 9 && maxTxid === txid,
  );
  expect(key).toEndWith(taken!.key);
  expect(txid).toBeGreaterThan(1);
  await watch.waitForUploads(3);
  await writer.stop();
  expect(await watch.stop()).toBe(0);
});

test("snapshot after a killed watch is not delayed by its leftovers", async () => {
  const { destination, database, watch, writer, stateFolder, folder } = await start();
  await watch.kill();
  await writer.stop();
  expect(existsSync(readFileSync(join(stateFolder, "watch.socket"), "utf8"))).toBe(true);
  const run = await mustWalrust(["snapshot", database, ...destination.words, "--json"]);
  const { txid } = documentOf<{ txid: number }>(run);
  const output = join(folder, "restored.db");
  const words = ["restore", "app", "-o", output, "--point-in-time", `txid:${txid}`, ...destination.words];
  await mustWalrust(words);
  checkpoint(database);
  assertSameBytes(output, database);
  const dryRun = await mustWalrust(["compact", "app", ...destination.words, "--json"]);
  expect(documentOf(dryRun)).toMatchObject({ force: false });
  const next = await WatchProcess.start([database, ...destination.words, ...OFTEN]);
  await next.waitFor("watching", () => next.eventsOf("watching").length > 0);
  await mustWalrust(["snapshot", database, ...destination.words]);
  expect(await next.stop()).toBe(0);
});

test("a second watch of a database ends with 3 and does not disturb the first", async () => {
  const { destination, database, watch, writer, folder } = await start();
  for (const words of [destination.words, ["-b", `file://${join(folder, "elsewhere")}`]]) {
    const second = await runWalrust(["watch", database, ...words]);
    expect(second.exitCode).toBe(3);
    expect(second.stderr).toContain(`another walrust has it, with pid ${watch.pid}`);
    expect(second.stderr).toContain(`Stop one of the two (kill ${watch.pid}, or systemctl stop for a unit)`);
  }
  const elsewhere = ["snapshot", database, "-b", `file://${join(folder, "elsewhere")}`];
  expect((await runWalrust(elsewhere)).exitCode).toBe(3);
  await mustWalrust(["snapshot", database, ...destination.words]);
  await watch.waitForUploads(2);
  await writer.stop();
  expect(await watch.stop()).toBe(0);
  expect(watch.eventsOf("failed")).toEqual([]);
});

test("compact beside a watch goes through the watch, and keeps restorable points", async () => {
  const { destination, database, folder, watch, writer } = await start(["--max-changes", "60"]);
  await watch.waitForUploads(25);
  const words = ["compact", "app", "--hourly", "1", "--daily", "0", "--weekly", "0", "--monthly", "0"];
  const plan = documentOf<{ databases: { deleted: string[] }[] }>(
    await mustWalrust([...words, ...destination.words, "--json"]),
  );
  const before = await destination.objects("app");
  expect(plan.databases[0]!.deleted.length).toBeGreaterThan(0);
  for (const key of plan.databases[0]!.deleted)
    expect(before.some((one) => key.endsWith(one.key))).toBe(true);
  await mustWalrust([...words, "--force", ...destination.words]);
  const after = await destination.objects("app");
  for (const key of plan.databases[0]!.deleted)
    expect(after.some((one) => key.endsWith(one.key))).toBe(false);
  await writer.stop();
  expect(await watch.stop()).toBe(0);
  const output = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words]);
  checkpoint(database);
  assertSameBytes(output, database);
});

test("watch --no-cache keeps no uploaded file, and SIGKILL loses no commit", async () => {
  const { destination, database, folder, watch, writer, stateFolder } = await start(["--no-cache"]);
  await watch.waitForUploads(20);
  expect(ltxFiles(stateFolder).length).toBeLessThanOrEqual(1);
  await watch.kill();
  const files = ltxFiles(stateFolder);
  expect(files.length).toBeLessThanOrEqual(1);
  await writer.waitForCommits(50);
  await writer.kill();
  const next = await WatchProcess.start([database, ...destination.words, ...OFTEN, "--no-cache"]);
  await next.waitFor("watching", () => next.eventsOf("watching").length > 0);
  await mustWalrust(["snapshot", database, ...destination.words]);
  expect(await next.stop()).toBe(0);
  expect(ltxFiles(stateFolder)).toEqual([]);
  const output = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words]);
  // The writer's kill may come between a commit and its record.
  expect([writer.newest(), writer.newest() + 1]).toContain(judgeAppDatabase(output).get(1) ?? 0);
  checkpoint(database);
  assertSameBytes(output, database);
});

test("watch --no-cache captures only to the last acknowledgement while the destination is gone", async () => {
  const { destination, watch, writer, stateFolder, database, folder } = await start(["--no-cache"]);

  renameSync(destination.folder, `${destination.folder}.away`);
  await watch.waitFor("a failure", () => watch.eventsOf("failed").length > 0);
  await writer.waitForCommits(100);
  expect(ltxFiles(stateFolder).length).toBe(1);
  renameSync(`${destination.folder}.away`, destination.folder);
  await watch.waitFor("recovered", () => watch.eventsOf("recovered").length > 0);
  await writer.stop();
  expect(await watch.stop()).toBe(0);
  const output = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words]);
  checkpoint(database);
  assertSameBytes(output, database);
});

test("watch --cache-dir keeps the spool there, by name, and continues from it", async () => {
  const cache = join(tempFolder("cache"), "deep");
  const { destination, database, folder, watch, writer, stateFolder } = await start(["--cache-dir", cache]);
  await watch.waitForUploads(5);
  // Small increments share a log.
  expect(ltxFiles(join(cache, "app")).length).toBeGreaterThan(0);
  expect(ltxFiles(stateFolder)).toEqual([]);
  await watch.kill();
  await writer.waitForCommits(20);
  const next = await WatchProcess.start([database, ...destination.words, ...OFTEN, "--cache-dir", cache]);
  await next.waitForUploads(3);
  await writer.stop();
  expect(await next.stop()).toBe(0);
  expect((await destination.objects("app")).filter(({ level }) => level === 9).length).toBe(1);
  const output = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words, "--cache-dir", cache]);
  checkpoint(database);
  assertSameBytes(output, database);
});

test("a deleted spool costs one full file and no history", async () => {
  const { destination, database, folder, watch, writer, stateFolder } = await start();
  await watch.kill();
  rmSync(join(stateFolder, "ltx"), { recursive: true });
  const next = await WatchProcess.start([database, ...destination.words, ...OFTEN]);
  await next.waitForUploads(3);
  await writer.stop();
  expect(await next.stop()).toBe(0);
  const output = join(folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", output, ...destination.words]);
  checkpoint(database);
  assertSameBytes(output, database);
  // Captures that wait behind an upload go in one object. Each object begins where the one before it ends.
  const links = (await destination.objects("app")).filter(({ level }) => level === 0);
  const ends = [1, ...links.map(({ maxTxid }) => maxTxid)];
  expect(links.map(({ minTxid }) => minTxid - 1)).toEqual(ends.slice(0, -1));
});
