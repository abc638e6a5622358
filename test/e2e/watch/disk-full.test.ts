/**
 * A disk that is full at each step of `watch`, `snapshot`, `restore` and `replicate`, by the executable. Each
 * names the full disk, damages nothing, and continues by itself when there is room.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { canMount, SmallDisk } from "../../support/disks/small-disk.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust, runWalrust, spawnWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(90_000);

const DISK_KB = 8 * 1024;
const ROW = "INSERT INTO t(v) VALUES (randomblob(20000))";

/** A database in WAL mode, open in an application. */
async function newApp(folder = tempFolder("app")): Promise<{ path: string; app: SqliteProcess }> {
  const path = join(folder, "app.db");
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)", ROW);
  return { path, app };
}

/** Waits for `count` failures of the watch that name the full disk. */
async function saidFull(watch: WatchProcess): Promise<void> {
  await watch.waitFor("the failure", () => watch.eventsOf("failed").length > 0);
  await watch.waitFor("the reason", () => /disk .*is full|ENOSPC/.test(watch.stderr));
}

/** Restores past the faults, and compares the bytes with the source, which nobody has open. */
async function expectRestored(
  path: string,
  words: readonly string[],
  by: readonly string[] = [],
): Promise<void> {
  await mustWalrust(["verify", "app", "--read-data", ...words], { by });
  const restored = join(tempFolder("restored"), "app.db");
  await mustWalrust(["restore", "app", "-o", restored, ...words], { by });
  checkpoint(path);
  assertSameBytes(restored, path);
}

describe.skipIf(!canMount)("a full disk under watch", () => {
  test.each(["--state-dir", "--cache-dir"])("of %s: captures wait and lose nothing", async (flag) => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const destination = fileDestination();
    const words = [path, ...destination.words, flag, disk.folder, "--wal-sync-interval", "0.02"];
    const watch = await WatchProcess.start(words, { by: disk.by });
    await watch.waitForTxid(1);
    disk.fill();
    for (let row = 0; row < 5; row++) await app.must(ROW);
    await saidFull(watch);
    await app.must(ROW);
    disk.free();
    await watch.waitFor("the recovery", () => watch.eventsOf("recovered").length > 0);
    await app.must(ROW);
    expect(await watch.stop()).toBe(0);
    expect(watch.eventsOf("failed").map(({ code }) => code)).toEqual(["database"]);
    expect(watch.stderr).toContain("continues");
    await app.close();
    await expectRestored(path, destination.words);
  });

  test("status, /health and the dashboard show the disk before a capture fails, and its end", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const destination = fileDestination();
    const words = [path, ...destination.words, "--cache-dir", disk.folder];
    const watch = await WatchProcess.start(words, { by: disk.by });
    await watch.waitForTxid(1);
    const disks = (): string[] =>
      watch.eventsOf("condition").map((event) => `${event.code} ${(event as { state?: string }).state}`);
    disk.fill(512 * 1024);
    await watch.waitFor("the warning", () => disks().includes("disk-nearly-full raised"));
    const warned = await runWalrust(["status", ...destination.words]);
    expect(warned.exitCode).toBe(1);
    expect(warned.stdout).toContain("the disk with the captured files of the database app has 512 KB left");
    disk.fill();
    await watch.waitFor("the full disk", () => disks().includes("disk-full raised"));
    const full = await runWalrust(["status", ...destination.words]);
    expect([full.exitCode, full.stdout]).toEqual([3, expect.stringContaining("→ At once free some space")]);
    expect(watch.eventsOf("failed")).toEqual([]);
    disk.free();
    await watch.waitFor("the end", () => disks().includes("disk-full cleared"));
    expect((await runWalrust(["status", ...destination.words])).exitCode).toBe(0);
    expect(await watch.stop()).toBe(0);
    await app.close();
  });

  // The file of the capture, the page sums and the state follow each other, and each needs other pages.
  test("with room for a part of what a capture writes, and a SIGKILL meanwhile", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const destination = fileDestination();
    const words = [path, ...destination.words, "--state-dir", disk.folder, "--wal-sync-interval", "0.02"];
    let watch = await WatchProcess.start(words, { by: disk.by });
    await watch.waitForTxid(1);
    for (const leftPages of [0, 1, 2, 4, 6, 8, 12]) {
      disk.fill(leftPages * 4096);
      for (let row = 0; row < 4; row++) await app.must(ROW, "UPDATE t SET v = randomblob(9000) WHERE id = 1");
      if (leftPages % 4 === 2) {
        await watch.kill();
        disk.free();
        watch = await WatchProcess.start(words, { by: disk.by });
      }
      disk.free();
      const before = watch.uploads().length;
      await app.must(ROW);
      await watch.waitFor("an upload", () => watch.uploads().length > before);
    }
    expect(await watch.stop()).toBe(0);
    await app.close();
    await expectRestored(path, destination.words);
  });

  test("before the first snapshot: the snapshot follows when there is room", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const destination = fileDestination();
    disk.fill();
    const words = [path, ...destination.words, "--state-dir", disk.folder];
    const watch = await WatchProcess.start(words, { by: disk.by });
    await saidFull(watch);
    await app.must(ROW);
    disk.free();
    await watch.waitForTxid(1);
    expect(await watch.stop()).toBe(0);
    await app.close();
    await expectRestored(path, destination.words);
  });

  test("of the destination: captured files wait, and go in order", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const words = ["-b", `file://${join(disk.folder, "bucket")}`];
    const watch = await WatchProcess.start([path, ...words, "--wal-sync-interval", "0.02"], { by: disk.by });
    await watch.waitForTxid(1);
    disk.fill();
    for (let row = 0; row < 5; row++) await app.must(ROW);
    await watch.waitFor("the failure", () => watch.eventsOf("failed").length > 0);
    expect(watch.stderr).toContain("The disk of the destination is full");
    disk.free();
    await watch.waitFor("the recovery", () => watch.eventsOf("recovered").length > 0);
    await app.must(ROW);
    expect(await watch.stop()).toBe(0);
    const txids = watch.uploads().map(({ txid }) => txid!);
    expect(txids).toEqual(txids.toSorted((a, b) => a - b));
    await app.close();
    await expectRestored(path, words, disk.by);
  });

  test("with the database on it: the application fails, the watch lives, and both continue", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const path = join(disk.folder, "app.db");
    const isDone = (statement: string): boolean => disk.sqlite("app.db", statement) !== null;
    expect(isDone("CREATE TABLE t(id INTEGER PRIMARY KEY, v)")).toBe(true);
    const destination = fileDestination();
    const words = [path, ...destination.words, "--wal-sync-interval", "0.02"];
    const watch = await WatchProcess.start(words, { by: disk.by });
    await watch.waitForTxid(1);
    disk.fill(60_000);
    let failures = 0;
    for (let row = 0; row < 10; row++) if (!isDone(ROW)) failures++;
    expect(failures).toBeGreaterThan(0);
    disk.free();
    expect(isDone(ROW)).toBe(true);
    expect(await watch.stop()).toBe(0);
    expect(watch.eventsOf("stopped")).toEqual([]);
    const copy = join(tempFolder("copied"), "app.db");
    for (const suffix of ["", "-wal"]) copyFileSync(disk.path(`app.db${suffix}`), `${copy}${suffix}`);
    await expectRestored(copy, destination.words);
  });
});

describe.skipIf(!canMount)("a full disk under a verb", () => {
  test("snapshot exits with 3, leaves nothing behind, and succeeds when there is room", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const destination = fileDestination();
    const words = ["snapshot", path, ...destination.words, "--state-dir", disk.folder];
    disk.fill();
    const failed = await runWalrust(words, { by: disk.by });
    expect([failed.exitCode, failed.stderr]).toEqual([3, expect.stringMatching(/ENOSPC|is full|no room/)]);
    expect(await destination.objects("app")).toEqual([]);
    disk.free();
    await mustWalrust(words, { by: disk.by });
    await app.close();
    await expectRestored(path, destination.words);
  });

  test("snapshot of a running watch fails, and the watch takes it when there is room", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const destination = fileDestination();
    const words = [path, ...destination.words, "--state-dir", disk.folder];
    const watch = await WatchProcess.start([...words, "--wal-sync-interval", "0.02"], { by: disk.by });
    await watch.waitForTxid(1);
    await app.must(ROW);
    await watch.waitForTxid(2);
    disk.fill();
    const failed = await runWalrust(["snapshot", ...words], { by: disk.by });
    expect([failed.exitCode, failed.stderr]).toEqual([3, expect.stringMatching(/ENOSPC|is full|no room/)]);
    expect(failed.stderr).toContain("the watch goes on trying");
    disk.free();
    const snapshots = (): number => watch.uploads().filter(({ kind }) => kind === "snapshot").length;
    await watch.waitFor("the snapshot", () => snapshots() === 2);
    await app.must(ROW);
    await watch.waitForTxid(3);
    expect(await watch.stop()).toBe(0);
    await app.close();
    await expectRestored(path, destination.words);
  });

  test("restore whose disk fills up while it writes: exit 3, and the disk as before", async () => {
    const { path, app } = await newApp();
    const destination = fileDestination();
    await app.must(...Array.from({ length: 150 }, () => ROW));
    await mustWalrust(["snapshot", path, ...destination.words]);
    await app.close();
    const disk = await SmallDisk.mount(DISK_KB);
    const main = join(import.meta.dir, "../../support/disks/full-disk-restore-main.ts");
    const child = Bun.spawnSync([...disk.by, process.execPath, main, destination.url, disk.folder]);
    const report = JSON.parse(child.stdout.toString());
    expect(report).toEqual({
      exitCode: 3,
      hint: "The disk is full; the target is unchanged",
      left: ["ballast"],
      restoredTxid: 1,
    });
    checkpoint(path);
    assertSameBytes(disk.path("app.db"), path);
  });

  test("replicate waits while its disk is full, and then follows", async () => {
    const disk = await SmallDisk.mount(DISK_KB);
    const { path, app } = await newApp();
    const destination = fileDestination();
    const watch = await WatchProcess.start([path, ...destination.words, "--wal-sync-interval", "0.02"]);
    await watch.waitForTxid(1);
    const local = join(disk.folder, "replica.db");
    const words = [
      "replicate",
      "app",
      "--local",
      local,
      "--interval",
      "50ms",
      "--json",
      ...destination.words,
    ];
    const child = await spawnWalrust(words, { by: disk.by });
    let log = "";
    const reading = (async () => {
      for await (const chunk of child.stderr.pipeThrough(new TextDecoderStream())) log += chunk;
    })();
    await waitUntil(() => existsSync(disk.path("replica.db")), 20_000);
    disk.fill();
    for (let row = 0; row < 20; row++) await app.must(ROW);
    await watch.waitFor("the uploads", () => watch.uploads().length > 1);
    await waitUntil(() => /ENOSPC|is full|no room/i.test(log), 20_000);
    expect(child.exitCode).toBeNull();
    disk.free();
    const rows = (): unknown => disk.sqlite("replica.db", "SELECT count(*) FROM t")?.[0]?.[0];
    await waitUntil(() => rows() === 21, 30_000);
    child.kill("SIGTERM");
    await reading;
    expect(await child.exited).toBe(0);
    expect(readdirSync(disk.path(".")).filter((name) => name.includes(".tmp"))).toEqual([]);
    expect(await watch.stop()).toBe(0);
    await app.close();
  });
});
