/**
 * The effect of the keys of [sync] in the running program, each set alone in walrust.toml. With the default,
 * no test here would see its condition before its timeout.
 */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import type { WatchProcess } from "../../support/processes/watch-process.ts";
import {
  closeApplications,
  configured,
  folderSettings,
  serverSettings,
} from "../../support/runs/configured-watch.ts";
import { S3Server } from "../../support/servers/s3-server.ts";

setDefaultTimeout(30_000);

afterEach(closeApplications);

/** The number of snapshots. */
function snapshotsOf(watch: WatchProcess, database?: string): number {
  return watch.uploads(database).filter(({ kind }) => kind === "snapshot").length;
}

describe("[sync]", () => {
  test("sync.wal_sync_interval is the least time between two uploads", async () => {
    const { settings } = folderSettings();
    const { watch, commit } = await configured({ ...settings, "sync.wal_sync_interval": "0.02" });
    const running = await watch();
    const startMs = performance.now();
    for (let txid = 2; txid <= 10; txid++) {
      await commit();
      await running.waitForTxid(txid);
    }
    // With the default of 1 s it would take 8 s.
    expect(performance.now() - startMs).toBeLessThan(7_000);
    expect(await running.stop()).toBe(0);
  });

  test("sync.checkpoint_interval checkpoints a short WAL", async () => {
    const { settings } = folderSettings();
    const { watch, commit } = await configured({ ...settings, "sync.checkpoint_interval": "0.1" });
    const running = await watch();
    await commit();
    await running.waitFor("a checkpoint", () => running.eventsOf("checkpointed").length > 0);
    expect(await running.stop()).toBe(0);
  });

  test("sync.min_checkpoint_page_count checkpoints at once", async () => {
    const { settings } = folderSettings();
    const { watch, commit } = await configured({ ...settings, "sync.min_checkpoint_page_count": "2" });
    const running = await watch();
    for (let txid = 2; txid <= 4; txid++) {
      await commit();
      await running.waitForTxid(txid);
    }
    await running.waitFor("a checkpoint", () => running.eventsOf("checkpointed").length > 0);
    expect(await running.stop()).toBe(0);
  });

  test("sync.wal_truncate_threshold_pages cuts a WAL that is longer", async () => {
    const sizes: number[] = [];
    for (const threshold of ["1", "1000"]) {
      const { settings } = folderSettings();
      const keys = {
        "sync.min_checkpoint_page_count": "20",
        "sync.wal_truncate_threshold_pages": threshold,
      };
      const { watch, commit, folder } = await configured({ ...settings, ...keys });
      const running = await watch();
      await commit("x".repeat(200_000));
      await running.waitFor("a checkpoint", () => running.eventsOf("checkpointed").length > 0);
      expect(await running.stop()).toBe(0);
      sizes.push(statSync(join(folder, "app.db-wal")).size);
    }
    expect(sizes[0]).toBe(0);
    expect(sizes[1]).toBeGreaterThan(200_000);
  });

  test("sync.validation_interval verifies what is stored", async () => {
    const { settings } = folderSettings();
    const { watch } = await configured({ ...settings, "sync.validation_interval": "0.2" });
    const running = await watch();
    await running.waitFor("two validations", () => running.eventsOf("validated").length >= 2);
    expect(await running.stop()).toBe(0);
  });

  test.each([
    ["sync.snapshot_interval", "0.5"],
    ["sync.max_changes", "2"],
    ["sync.max_interval", "0.3"],
    ["sync.on_idle", "0.3"],
  ])("%s = %s takes a second snapshot", async (key, value) => {
    const { settings } = folderSettings();
    const { watch, commit } = await configured({ ...settings, [key]: value });
    const running = await watch();
    await running.waitForTxid(1);
    await commit();
    await commit();
    await running.waitFor("a second snapshot", () => snapshotsOf(running) >= 2);
    expect(await running.stop()).toBe(0);
  });

  test("sync.on_startup = false takes no snapshot at start", async () => {
    for (const [value, isTaken] of [
      ["true", true],
      ["false", false],
    ] as const) {
      const { settings } = folderSettings();
      const keys = { "sync.snapshot_interval": "5", "sync.on_startup": value };
      const { watch, commit } = await configured({ ...settings, ...keys });
      const first = await watch();
      await first.waitForTxid(1);
      const firstMs = Date.parse(first.uploads()[0]!.time!);
      await commit();
      // Before its interval is over: a snapshot that it left on the disk would be uploaded at the start.
      await first.kill();
      await eventually("it to be older than the interval", async () => Date.now() > firstMs + 5_000);
      const again = await watch();
      const startMs = Date.parse(again.eventsOf("watching")[0]!.at);
      await commit();
      await again.waitFor("a snapshot", () => snapshotsOf(again) > 0);
      const taken = again.uploads().find(({ kind }) => kind === "snapshot")!;
      expect([value, Date.parse(taken.at) - startMs < 3_000]).toEqual([value, isTaken]);
      expect(await again.stop()).toBe(0);
    }
  });

  test.each([
    ["sync.compact_after_snapshot", "true"],
    ["sync.compact_interval", "0.2"],
  ])("%s = %s applies retention", async (key, value) => {
    const { settings, bucket } = folderSettings();
    const settingsOf = {
      ...settings,
      "sync.max_changes": "1",
      "sync.wal_sync_interval": "0.02",
      [key]: value,
    };
    const { watch, commit } = await configured(settingsOf);
    const running = await watch();
    await running.waitForTxid(1);
    for (let count = 2; count <= 6; count++) {
      await commit();
      await running.waitFor(`${count} snapshots`, () => snapshotsOf(running) >= count);
    }
    const isThinned = async (): Promise<boolean> =>
      (await bucket.objects("app")).filter(({ level }) => level === 9).length <= 3;
    await eventually("old snapshots to be gone", isThinned);
    await running.waitFor("the line about them", () => running.stderr.includes("retention deleted"));
    expect(await running.stop()).toBe(0);
  });

  test("sync.shutdown_timeout bounds the last uploads to a store that hangs", async () => {
    const server = await S3Server.start();
    const { watch, commit } = await configured({ ...serverSettings(server), "sync.shutdown_timeout": "0.3" });
    const running = await watch();
    await eventually("the manifest", async () => server.objects.has("bucket/vm/app/manifest.json"));
    server.inject({ kind: "put", when: "before", answer: "hang", count: 1_000 });
    const puts = server.count("put");
    await commit();
    await eventually("an upload that hangs", async () => server.count("put") > puts);
    const startMs = performance.now();
    expect(await running.stop()).toBe(0);
    // The default is five seconds.
    expect(performance.now() - startMs).toBeLessThan(3_000);
    expect(running.stderr).toContain("not all captured files were uploaded");
    server.stop();
  });
});
