/** SIGHUP and `walrust reload`: a running watch reads its configuration again. */
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import {
  cleanEnvironment,
  documentOf,
  mustWalrust,
  runWalrust,
  untilTestEnds,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import {
  type Configured,
  closeApplications,
  configured,
  folderSettings,
  type Settings,
} from "../../support/runs/configured-watch.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

afterEach(closeApplications);

/** One watch in the answer of `reload --json`. */
interface Reloaded {
  readonly pid: number;
  readonly databases: number;
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly string[];
  readonly restart: readonly string[];
  readonly error: { readonly code: string; readonly message: string } | null;
}

/** Writes the configuration of a folder anew. */
function rewrite({ folder }: Configured, settings: Settings, entries: readonly string[]): void {
  const lines = Object.entries({ "metrics.enabled": "false", ...settings }).map(
    ([key, value]) => `${key} = ${value}\n`,
  );
  const databases = entries.map((entry) => `[[databases]]\n${entry}\n`);
  writeFileSync(join(folder, "walrust.toml"), [...lines, ...databases].join(""), { mode: 0o600 });
}

/**
 * Reloads from another folder. Other watches of this machine that hang are answers too, and decide the exit
 * code.
 * @returns the exit code, or that of the only error, and the answer of the watch of the test
 */
async function reload(bucket: string, { pid }: WatchProcess): Promise<{ exitCode: number; watch: Reloaded }> {
  const run = await runWalrust(["reload", "--json", "-b", bucket]);
  const { watches } = documentOf<{ watches: Reloaded[] }>(run);
  const watch = watches.find((one) => one.pid === pid)!;
  const isAlone = watches.length === 1;
  return { exitCode: isAlone ? run.exitCode : watch.error === null ? 0 : 2, watch };
}

async function expectRestored(
  { folder }: Configured,
  stem: string,
  bucket: string,
  name = stem,
): Promise<void> {
  const restored = join(tempFolder("reload"), "restored.db");
  await mustWalrust(["restore", name, "-o", restored, "-b", bucket]);
  const path = join(folder, `${stem}.db`);
  checkpoint(path);
  assertSameBytes(restored, path);
}

test("SIGHUP takes new databases and settings, and lets removed databases go", async () => {
  const { settings, bucket } = folderSettings();
  const world = await configured(settings, { stems: ["kept", "gone"] });
  const watch = await world.watch();
  await watch.waitFor("both", () => watch.uploads("kept").length > 0 && watch.uploads("gone").length > 0);
  createAppDatabase(join(world.folder, "fresh.db"));
  rewrite(world, { ...settings, "sync.max_changes": "1" }, ['path = "kept.db"', 'path = "fresh.db"']);
  watch.signal("SIGHUP");
  await watch.waitFor("the new one", () => watch.uploads("fresh").length > 0);
  await watch.waitFor("the removed one", () => watch.eventsOf("let-go").length > 0);
  expect(watch.eventsOf("let-go")).toMatchObject([
    { database: "gone", reason: "the configuration does not name it any more" },
  ]);
  expect(watch.stderr).toContain("2 databases, 1 added, 1 removed; changed: sync.max_changes");
  await world.commit("row", "kept");
  await watch.waitFor(
    "a snapshot",
    () => watch.uploads("kept").filter(({ kind }) => kind === "snapshot").length > 1,
  );
  expect(await watch.stop()).toBe(0);
  await closeApplications();
  await expectRestored(world, "kept", bucket.url);
  await expectRestored(world, "gone", bucket.url);
});

test("reload prints what changed, and what a restart will change", async () => {
  const { settings, bucket } = folderSettings();
  const world = await configured(settings);
  const watch = await world.watch();
  await watch.waitForUploads(1);
  const other = { "s3.bucket": `"${fileDestination().url}"`, "sync.wal_sync_interval": "0.05" };
  rewrite(world, other, ['path = "app.db"\nmax_changes = 9']);
  const { exitCode, watch: answer } = await reload(bucket.url, watch);
  expect(exitCode).toBe(0);
  expect(answer).toMatchObject({
    pid: watch.pid,
    databases: 1,
    added: [],
    removed: [],
    changed: ["sync.wal_sync_interval"],
    restart: ["s3.bucket"],
    error: null,
  });
  const text = await mustWalrust(["reload", "-b", bucket.url]);
  expect(text.stdout).toContain(`process ${watch.pid}: reloaded`);
  expect(text.stdout).toContain("after a restart: s3.bucket");
  await world.commit();
  await watch.waitForTxid(2);
  expect(await watch.stop()).toBe(0);
  await closeApplications();
  await expectRestored(world, "app", bucket.url);
});

test.each([
  ["a misspelled key", '"x" = 1\n', "walrust.toml:"],
  ["a value out of range", "sync.snapshot_interval = -5\n", "walrust.toml:"],
  ["a glob that matches nothing", '[[databases]]\npath = "none/*.db"\n', "matches nothing"],
  ["a webhook without a scheme", '[[webhooks]]\nurl = "nowhere"\n', "URL"],
  ["two databases with one name", '[[databases]]\npath = "other.db"\nname = "app"\n', "app"],
])("reload with %s changes nothing, and exits with 2", async (_what, line, reason) => {
  const { settings, bucket } = folderSettings();
  const world = await configured(settings);
  const watch = await world.watch();
  createAppDatabase(join(world.folder, "other.db"));
  const good = `metrics.enabled = false\ns3.bucket = "${bucket.url}"\n`;
  const [before, after] = line.startsWith("[[") ? ["", line] : [line, ""];
  const text = `${good}${before}[[databases]]\npath = "app.db"\n${after}`;
  writeFileSync(join(world.folder, "walrust.toml"), text, { mode: 0o600 });
  const { exitCode, watch: answer } = await reload(bucket.url, watch);
  expect([exitCode, answer.error?.message]).toEqual([2, expect.stringContaining(reason)]);
  watch.signal("SIGHUP");
  const isLogged = (): boolean => watch.stderr.split("the configuration is not reloaded").length > 2;
  await watch.waitFor("the second refusal", isLogged);
  await world.commit();
  await watch.waitForTxid(2);
  expect(await watch.stop()).toBe(0);
  expect(watch.eventsOf("watching").length).toBe(1);
});

test("a database that gets another name continues under that name", async () => {
  const { settings, bucket } = folderSettings();
  const world = await configured(settings);
  const watch = await world.watch();
  await watch.waitForUploads(1);
  rewrite(world, settings, ['path = "app.db"\nname = "shop"']);
  expect((await reload(bucket.url, watch)).exitCode).toBe(0);
  await watch.waitFor("the new name", () => watch.uploads("shop").length > 0);
  await world.commit("after");
  await watch.waitFor("the commit", () => watch.uploads("shop").length > 1);
  expect(await watch.stop()).toBe(0);
  await closeApplications();
  await expectRestored(world, "app", bucket.url, "shop");
});

test("reload exits with 2 for a watch without a configuration file, and with 3 without a watch", async () => {
  const { url, words } = fileDestination();
  const { exitCode: noExitCode, stderr } = await runWalrust(["reload", ...words]);
  expect([noExitCode, stderr]).toEqual([3, expect.stringContaining("No watch of this user")]);
  const path = join(tempFolder("reload"), "app.db");
  createAppDatabase(path);
  const watch = await WatchProcess.start([path, ...words]);
  await watch.waitForUploads(1);
  const { exitCode, watch: answer } = await reload(url, watch);
  expect([exitCode, answer.error?.message]).toEqual([
    2,
    expect.stringContaining("has no configuration file"),
  ]);
});

test("a configuration file that is gone changes nothing", async () => {
  const { settings, bucket } = folderSettings();
  const world = await configured(settings);
  const watch = await world.watch();
  rmSync(join(world.folder, "walrust.toml"));
  const { exitCode, watch: answer } = await reload(bucket.url, watch);
  expect([exitCode, answer.error?.message]).toEqual([2, expect.stringContaining("is not there any more")]);
  await world.commit();
  await watch.waitForTxid(1);
});

test("a watch with a configuration file ends when its terminal closes", async () => {
  const { settings, bucket } = folderSettings();
  const world = await configured(settings);
  // A shell without job control leaves the watch in its session, whose terminal closes.
  const child = untilTestEnds(
    Bun.spawn([await walrustBinary(), "watch"], {
      cwd: world.folder,
      env: cleanEnvironment(),
      terminal: { cols: 80, rows: 24, data: () => {} },
    }),
  );
  await eventually("the first upload", async () => (await bucket.objects("app")).length > 0);
  child.kill("SIGHUP");
  await world.commit();
  await eventually("another upload", async () => (await bucket.objects("app")).length > 1);
  child.terminal?.close();
  expect(await child.exited).toBe(0);
});
