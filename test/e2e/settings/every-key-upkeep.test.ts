/**
 * The effect of the keys of [cache], [compaction] and [retention] in the running program, each set alone in
 * walrust.toml: in the folders beside the database, and in the bucket.
 */
import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { eventually } from "../../support/eventually.ts";
import { putTiny, TinyHistory } from "../../support/histories/tiny-history.ts";
import { documentOf, runWalrust } from "../../support/processes/binary.ts";
import {
  closeApplications,
  configured,
  folderSettings,
  serverSettings,
} from "../../support/runs/configured-watch.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

afterEach(closeApplications);

/** The captured files below a folder, with their sizes; a log of increments counts once for each. */
function captured(folder: string): number[] {
  if (!existsSync(folder)) return [];
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.flatMap((name) => {
    const path = join(folder, name);
    const sizeBytes = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
    if (name.endsWith(".ltx")) return [sizeBytes];
    if (!name.endsWith(".ltxs")) return [];
    const records = readFileSync(path, "latin1").split("WALRUSTL").slice(1);
    return records.map(({ length }) => length);
  });
}

/** Each commit soon becomes an increment. */
const OFTEN = { "sync.wal_sync_interval": "0.02" };

describe("[cache]", () => {
  test.each([
    ["cache.enabled", "true", 3],
    ["cache.enabled", "false", 0],
    ["cache.retention", "0", 0],
  ])("%s = %s keeps %d uploaded increments", async (key, value, count) => {
    const { settings } = folderSettings();
    const { watch, commit, folder } = await configured({ ...settings, ...OFTEN, [key]: value });
    const running = await watch();
    for (let txid = 2; txid <= 4; txid++) {
      await commit();
      await running.waitForTxid(txid);
    }
    expect(await running.stop()).toBe(0);
    expect(captured(join(folder, ".app.db-walrust")).length).toBe(count);
  });

  test("cache.path is the folder of captured files, relative to the configuration file", async () => {
    const { settings } = folderSettings();
    const { watch, commit, folder } = await configured({
      ...settings,
      ...OFTEN,
      "cache.path": '"spool/here"',
    });
    const running = await watch();
    await running.waitForTxid(1);
    await commit();
    await running.waitForTxid(2);
    expect(await running.stop()).toBe(0);
    expect(captured(join(folder, "spool/here/app")).length).toBe(1);
    expect(captured(join(folder, ".app.db-walrust"))).toEqual([]);
  });

  test("state.path is the folder of all local files, with a folder for each database", async () => {
    const { settings } = folderSettings();
    const { watch, commit, folder } = await configured({
      ...settings,
      ...OFTEN,
      "state.path": '"own/state"',
    });
    const running = await watch();
    await running.waitForTxid(1);
    await commit();
    await running.waitForTxid(2);
    expect(await running.stop()).toBe(0);
    const names = readdirSync(join(folder, "own/state"), { recursive: true }) as string[];
    expect(names.filter((name) => name.endsWith("state.json")).length).toBe(1);
    expect(existsSync(join(folder, ".app.db-walrust"))).toBe(false);
  });

  test("cache.max_size bounds the captured files", async () => {
    const { settings, bucket } = folderSettings();
    const { watch, folder, apps } = await configured({ ...settings, ...OFTEN, "cache.max_size": '"1MB"' });
    const running = await watch();
    for (let txid = 2; txid <= 9; txid++) {
      await apps.get("app")!.must("INSERT INTO t(v) VALUES (randomblob(300000))");
      await running.waitForTxid(txid);
    }
    const bytes = (): number => captured(join(folder, ".app.db-walrust")).reduce((a, b) => a + b, 0);
    await eventually("them to fit", async () => bytes() < 1024 ** 2);
    expect(await running.stop()).toBe(0);
    expect((await bucket.objects("app")).reduce((sum, { sizeBytes }) => sum + sizeBytes, 0)).toBeGreaterThan(
      2_000_000,
    );
  });

  test.each([
    ["1", 1],
    ["2", 2],
  ])("cache.uploader_concurrency = %s sends %d objects at once", async (value, count) => {
    const server = await S3Server.start();
    const keys = { "cache.uploader_concurrency": value, "sync.shutdown_timeout": "0.5" };
    const stems = ["one", "two", "three"];
    const { watch, commit } = await configured({ ...serverSettings(server), ...keys }, { stems });
    const running = await watch();
    const hasManifest = (stem: string): boolean => server.objects.has(`bucket/vm/${stem}/manifest.json`);
    await eventually("the first snapshots with their manifests", async () => stems.every(hasManifest));
    const puts = server.count("put");
    server.inject({ kind: "put", when: "before", answer: "hang", count: 1_000 });
    for (const stem of stems) await commit("row", stem);
    await eventually("uploads that hang", async () => server.count("put") >= puts + count);
    expect(await running.stop()).toBe(0);
    // Requests that hung ended with a timeout, and no new request began.
    expect(server.count("put")).toBe(puts + count);
    server.stop();
  });
});

describe("[compaction]", () => {
  test.each([
    ["compaction.threshold", "3"],
    ["compaction.size", "200"],
    ["compaction.max_incremental_age", '"1s"'],
  ])("%s = %s merges long before the clock would", async (key, value) => {
    const { settings, bucket } = folderSettings();
    // The first turn comes at a random moment within the interval. Within 30 s it could come at once.
    const keys = { "compaction.levels": '["30d"]', [key]: value };
    const { watch, commit } = await configured({ ...settings, ...OFTEN, ...keys });
    const running = await watch();
    for (let txid = 2; txid <= 5; txid++) {
      await commit();
      await running.waitForTxid(txid);
    }
    await running.waitFor("a merge", () => running.eventsOf("compacted").length > 0);
    expect(await running.stop()).toBe(0);
    expect((await bucket.objects("app")).some(({ level }) => level === 1)).toBe(true);
  });

  test("compaction.levels sets the levels, and the interval of each", async () => {
    const { settings } = folderSettings();
    const keys = { "compaction.levels": '["1s", "2s"]' };
    const { watch, commit } = await configured({ ...settings, ...OFTEN, ...keys });
    const running = await watch();
    const merges = (level: number): number =>
      running.eventsOf("compacted").filter((line) => (line as { level?: number }).level === level).length;
    // With the default, two merges of one level are 30 s apart.
    for (let txid = 2; merges(1) < 3 || merges(2) < 1; txid++) {
      await commit();
      await running.waitForTxid(txid);
    }
    expect(merges(3)).toBe(0);
    expect(await running.stop()).toBe(0);
  });

  test("compaction.enabled = false merges nothing, however much is due", async () => {
    const { settings, bucket } = folderSettings();
    const keys = {
      "compaction.enabled": "false",
      "compaction.threshold": "2",
      "compaction.levels": '["1s"]',
    };
    const { watch, commit } = await configured({ ...settings, ...OFTEN, ...keys });
    const running = await watch();
    const startMs = performance.now();
    for (let txid = 2; performance.now() < startMs + 1_500; txid++) {
      await commit();
      await running.waitForTxid(txid);
    }
    expect(await running.stop()).toBe(0);
    const levels = new Set((await bucket.objects("app")).map(({ level }) => level));
    expect([levels, running.eventsOf("compacted")]).toEqual([new Set([0, 9]), []]);
  });
});

/** Times of one snapshot each hour for two days, each day for two months and each week for two years. */
function snapshotTimes(): number[] {
  const hourMs = 3_600_000;
  const nowMs = Date.now() - hourMs;
  const hours = Array.from({ length: 48 }, (_, index) => index);
  const days = Array.from({ length: 60 }, (_, index) => 48 + index * 24);
  const weeks = Array.from({ length: 104 }, (_, index) => (62 + index * 7) * 24);
  const ages = [...new Set([...hours, ...days, ...weeks])].sort((a, b) => b - a);
  return ages.map((age) => nowMs - age * hourMs);
}

describe("[retention]", () => {
  /** A folder with two years of snapshots. */
  async function longHistory(): Promise<string> {
    const folder = join(tempFolder("retention"), "backup");
    const store = new FileStore({ path: folder, env: systemEnv(SILENT_LOG) });
    const history = new TinyHistory(seededRandom(1));
    const [first, ...times] = snapshotTimes();
    await putTiny(store, "app", history.commit(first!));
    for (const timeMs of times) {
      history.commit(timeMs);
      await putTiny(store, "app", history.snapshot());
    }
    return folder;
  }

  test("retention.hourly, retention.daily, retention.weekly, retention.monthly keep that many", async () => {
    const bucket = await longHistory();
    for (const [key, count] of [
      ["hourly", 5],
      ["daily", 9],
      ["weekly", 14],
      ["monthly", 3],
    ] as const) {
      const cwd = tempFolder("retention-config");
      writeFileSync(
        join(cwd, "walrust.toml"),
        `s3.bucket = "file://${bucket}"\nretention.${key} = ${count}\n`,
      );
      const run = await runWalrust(["compact", "app", "--json"], { cwd });
      type Kept = { databases: { kept_snapshots: { reasons: string[] }[] }[] };
      const [database] = documentOf<Kept>(run).databases;
      const kept = (reason: string): number =>
        database!.kept_snapshots.filter(({ reasons }) => reasons.includes(reason)).length;
      const counts = {
        hourly: kept("hourly"),
        daily: kept("daily"),
        weekly: kept("weekly"),
        monthly: kept("monthly"),
      };
      expect(counts).toEqual({ hourly: 24, daily: 7, weekly: 12, monthly: 12, [key]: count });
    }
  });
});
