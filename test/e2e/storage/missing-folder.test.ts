/**
 * A folder destination whose disk is not mounted: no command makes an empty backup in its place, and the
 * error names both ways out.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

/** A database that was replicated to a folder, and another database that never was. */
async function unmounted(): Promise<{
  words: readonly string[];
  folder: string;
  disk: string;
  used: string;
  fresh: string;
}> {
  const home = tempFolder("unmounted");
  const [used, fresh] = [join(home, "app.db"), join(home, "fresh.db")];
  createAppDatabase(used);
  createAppDatabase(fresh);
  const { words, folder } = fileDestination();
  await mustWalrust(["snapshot", used, ...words]);
  const disk = `${folder}-disk`;
  renameSync(folder, disk);
  return { words, folder, disk, used, fresh };
}

const OUTPUT = ["--no-metrics", "--json"];

test.each([
  ["the folder is missing", false],
  ["the folder is an empty mount point", true],
] as const)("%s: watch and snapshot exit with 4 and write nothing there", async (_, isThere) => {
  const { words, folder, used, fresh } = await unmounted();
  if (isThere) mkdirSync(folder);
  const calls = [
    ["watch", used, fresh, ...words, "--once", ...OUTPUT],
    ["watch", used, ...words, "--once", ...OUTPUT],
    ["snapshot", used, ...words, "--json"],
  ];
  for (const call of calls) {
    const run = await runWalrust(call);
    expect([call[0], run.exitCode]).toEqual([call[0], 4]);
    expect(run.stdout + run.stderr).toContain(`but ${used} was replicated there`);
    expect(run.stdout + run.stderr).toContain(`mkdir -p '${folder}/app'`);
  }
  expect(existsSync(folder) ? readdirSync(folder) : []).toEqual([]);
  for (const verb of ["doctor", "explain"]) {
    const run = await runWalrust([verb, used, ...words, "--json"]);
    expect([verb, run.exitCode]).toEqual([verb, 4]);
    expect(run.stdout).toContain("was replicated there");
  }
});

test("no application starts empty beside a disk that is not mounted", async () => {
  const { words, folder, used } = await unmounted();
  mkdirSync(folder);
  for (const end of ["", "-wal", "-shm"]) rmSync(`${used}${end}`, { force: true });
  const calls = [
    ["watch", used, ...words, "--restore-if-missing", "--exec", `touch ${used}`, "--no-metrics"],
    ["restore", "app", "-o", used, ...words, "--if-replica-exists"],
  ];
  for (const call of calls) {
    const run = await runWalrust(call);
    expect([call[0], run.exitCode, existsSync(used)]).toEqual([call[0], 4, false]);
  }
});

test("the backup continues when the disk is mounted, and begins anew in a folder that is made", async () => {
  const { words, folder, disk, used } = await unmounted();
  const app = await SqliteProcess.open(used);
  await app.must("INSERT INTO counter VALUES (99, 99)");
  expect((await runWalrust(["snapshot", used, ...words])).exitCode).toBe(4);
  renameSync(disk, folder);
  const snapshot = JSON.parse((await mustWalrust(["snapshot", used, ...words, "--json"])).stdout);
  expect(snapshot.txid).toBe(2);
  await app.close();

  rmSync(folder, { recursive: true });
  mkdirSync(join(folder, "app"), { recursive: true });
  const anew = JSON.parse((await mustWalrust(["snapshot", used, ...words, "--json"])).stdout);
  expect(anew.txid).toBe(1);
});

test("a watch beside which the folder disappears waits for it, and makes none", async () => {
  const home = tempFolder("unmounted");
  const path = join(home, "app.db");
  createAppDatabase(path);
  const { words, folder } = fileDestination();
  const watch = await WatchProcess.start([path, ...words, "--wal-sync-interval", "0.1"]);
  await watch.waitForTxid(1);
  renameSync(folder, `${folder}-disk`);
  const app = await SqliteProcess.open(path);
  await app.must("INSERT INTO counter VALUES (99, 99)");
  await watch.waitFor("the failure", () => watch.eventsOf("failed").length > 0);
  expect(watch.eventsOf("failed")[0]!.code).toBe("missing-bucket");
  expect(existsSync(folder)).toBe(false);
  renameSync(`${folder}-disk`, folder);
  await watch.waitForTxid(2);
  expect(await watch.stop()).toBe(0);
  await app.close();
});
