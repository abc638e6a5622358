/**
 * The executable and a database that is deleted while its application writes to it: status, doctor and
 * restore report the application until it ends, and the commands of the hint save its commits.
 */
import { afterEach, expect, test } from "bun:test";
import { existsSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { documentOf, mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

const apps: SqliteProcess[] = [];
afterEach(async () => {
  for (const app of apps.splice(0)) await app.kill();
});

interface Condition {
  readonly code: string;
  readonly message: string;
  readonly hint: string;
}

interface Status {
  readonly status: string;
  readonly watches: readonly {
    readonly databases: readonly { readonly name: string; readonly conditions: readonly Condition[] }[];
  }[];
}

interface Doctor {
  readonly checks: readonly { readonly check: string; readonly status: string; readonly message: string }[];
}

async function started() {
  const folder = tempFolder("deleted");
  const path = join(folder, "one", "app.db");
  await Bun.write(join(folder, "one", ".keep"), "");
  const app = await SqliteProcess.open(path);
  apps.push(app);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)", "INSERT INTO t VALUES ('first')");
  const { words, url } = fileDestination();
  const config = join(folder, "walrust.toml");
  const glob = join(folder, "*", "app.db");
  const lines = ["[s3]", `bucket = "${url}"`, "[metrics]", "enabled = false"];
  lines.push("[[databases]]", `path = "${glob}"`, "allow_empty = true", "");
  writeFileSync(config, lines.join("\n"));
  const watch = await WatchProcess.start(["--config", config]);
  await watch.waitForTxid(1);
  return { folder, path, app, words, config, watch };
}

async function conditionsOf(config: string): Promise<{ exit: number; all: Condition[]; names: string[] }> {
  const run = await runWalrust(["status", "--config", config, "--json"]);
  const { watches } = documentOf<Status>(run);
  const databases = watches.flatMap((one) => one.databases);
  return {
    exit: run.exitCode,
    all: databases.flatMap(({ conditions }) => conditions),
    names: databases.map(({ name }) => name),
  };
}

test("a deleted database in use stays unhealthy, is not restored over, and can be saved", async () => {
  const { folder, path, app, words, config, watch } = await started();
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
  for (let row = 0; row < 9; row++) await app.must("INSERT INTO t VALUES ('after')");
  await watch.waitFor("the condition", () => watch.eventsOf("condition").length > 0);
  const { exit, all, names } = await conditionsOf(config);
  expect([exit, names, all.map(({ code }) => code)]).toEqual([3, ["one/app"], ["deleted-in-use"]]);
  expect(all[0]!.message).toMatch(
    /app\.db was deleted and is still written by \S+ \(pid \d+\): no file has its/,
  );

  watch.signal("SIGHUP");
  await eventually("the reload", async () => watch.stderr.includes("the configuration is reloaded"));
  const kept = "1 database, 0 added, 0 removed, 1 kept that an application has open though deleted";
  expect(watch.stderr).toContain(kept);
  // Other watches of this machine may hang, which decides the exit code.
  const reload = await runWalrust(["reload", ...words]);
  expect(reload.stdout).toContain("kept, because an application has the deleted file open: one/app\n");
  expect(reload.stdout).not.toContain("removed");
  expect((await conditionsOf(config)).names).toEqual(["one/app"]);

  for (const more of [[], ["--force"]]) {
    const restore = await runWalrust(["restore", "one/app", "-o", path, ...more, ...words, "--json"]);
    expect(restore.exitCode).toBe(3);
    expect(restore.stdout + restore.stderr).toMatch(/A deleted file of .*app\.db is open in \S+ \(pid \d+\)/);
    expect(existsSync(path)).toBe(false);
  }
  const doctor = await runWalrust(["doctor", "--config", config, "--json"]);
  expect(doctor.exitCode).toBe(3);
  const found = documentOf<Doctor>(doctor).checks.filter(({ check }) => check === "deleted-file");
  expect(found).toMatchObject([{ status: "failure" }]);

  const commands = /kill -STOP.*?saved\.db-wal; kill -KILL \d+/.exec(all[0]!.hint)![0];
  expect(await Bun.spawn(["sh", "-ec", commands], { cwd: folder }).exited).toBe(0);
  await app.kill();
  const saved = await SqliteProcess.open(join(folder, "saved.db"));
  expect((await saved.must("SELECT count(*) FROM t")).rows).toEqual([[10]]);
  await saved.close();

  await watch.waitFor("its end", () => watch.eventsOf("let-go").length > 0);
  expect((await conditionsOf(config)).names).toEqual([]);
  expect(watch.stderr).toContain("so are its commits after TXID");
  await mustWalrust(["restore", "one/app", "-o", path, ...words]);
  expect((await runWalrust(["doctor", "--config", config, "--json"])).stdout).not.toContain("deleted-file");
  expect(await watch.stop()).toBe(0);
}, 60_000);

test("a watch that begins after the deletion reports the database until the application ends", async () => {
  const { path, app, config, watch } = await started();
  expect(await watch.stop()).toBe(0);
  for (const suffix of ["", "-wal", "-shm"]) rmSync(path + suffix);
  const again = await WatchProcess.start(["--config", config]);
  const finding = /A deleted file of .*app\.db is open in \S+ \(pid \d+\)/;
  await eventually("the finding", async () => finding.test(again.stderr));
  const status = await runWalrust(["status", "--config", config]);
  expect([status.exitCode > 0, status.stdout.includes("one/app")]).toEqual([true, true]);
  await app.close();
  await eventually("the end", async () => (await conditionsOf(config)).names.length === 0);
  expect(await again.stop()).toBe(0);
}, 60_000);
