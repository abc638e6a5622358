/**
 * Compaction with the settings of one database: disabled levels (an interval without end), or none at all.
 */
import { describe, expect, test } from "bun:test";
import type { RetentionConfig } from "../../../src/config/config.ts";
import { isLevelMade, planReplaced } from "../../../src/replication/upkeep/compaction-plan.ts";
import { Maintenance } from "../../../src/replication/upkeep/maintenance.ts";
import { type ConfigChange, configWith, DEFAULT_CONFIG } from "../../support/config.ts";
import { keysAt } from "../../support/oracles/history-oracle.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { FleetRun, ownConfig, tenant } from "../../support/runs/fleet-run.ts";
import { askForSnapshot, askForUpkeep } from "../../support/runs/watch-requests.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { DAY_MS, HOUR_MS } from "../../support/shifted-clock.ts";

const ALL = { hourly: 24, daily: 7, weekly: 12, monthly: 12 };

function upkeep(levelsMs: readonly number[] | null): ConfigChange {
  const compaction = levelsMs === null ? { enabled: false } : { enabled: true, levelsMs, threshold: 3 };
  return { sync: { snapshotIntervalMs: 0, onStartup: true }, compaction, retention: ALL };
}

describe("a disabled level", () => {
  test.each([0, 0.5, 0.999])("is never due, at phase %p of the interval", (phase) => {
    const all = new Maintenance(configWith(upkeep([])), 1_000, phase);
    const first = new Maintenance(configWith(upkeep([30_000])), 1_000, phase);
    for (const nowMs of [1_000, 31_001, 590_000]) {
      expect([nowMs, all.isDue(nowMs, 500, 9e9)]).toEqual([nowMs, false]);
    }
    expect(first.isDue(31_001, 5, 0)).toBe(true);
  });

  test("is recognized by its interval, and the other levels' objects are still replaced", () => {
    const policy = { ...DEFAULT_CONFIG.compaction, levelsMs: [1, 2] };
    expect([1, 2, 3].map((level) => isLevelMade(policy, level))).toEqual([true, true, false]);
    expect(planReplaced([], policy, () => true)).toEqual([]);
  });
});

/**
 * The watch has every level, and the database's own settings override them. Phase zero of an infinite
 * interval is NaN, and no moment comes before NaN.
 */
const SETUP = { config: upkeep([30_000, 300_000, HOUR_MS]), random: () => 0 };

/** A watched database with this upkeep, and `count` increments. */
async function watched(levelsMs: readonly number[] | null, count: number) {
  const store = new MemoryStore();
  const config = ownConfig(upkeep(levelsMs));
  const one = { ...(await tenant("one")), config };
  const run = await new FleetRun([one], store, SETUP).watching();
  await run.uploaded(1, "one");
  const app = await SqliteProcess.open(one.path);
  for (let txid = 2; txid < count + 2; txid++) {
    await app.must(`INSERT INTO t(v) VALUES (${txid})`);
    await run.uploaded(txid, "one");
  }
  return { one, run, app, store };
}

test("a database makes its own levels, also on request", async () => {
  const { one, run, app, store } = await watched([1_000, 2_000], 6);
  for (let round = 0; round < 3; round++) {
    run.clock.pass(HOUR_MS);
    await app.must("INSERT INTO t(v) VALUES (0)");
    const before = run.all("compacted").length;
    await run.until("a compaction", () => run.all("compacted").length > before);
  }
  await run.until("level 2", () => run.all("compacted").some(({ level }) => level === 2));
  const result = await askForUpkeep(one.path, store, ALL);
  expect(result?.compacted.some(({ level }) => level === 3)).toBe(false);
  await run.stop();
  // The first upkeep after a start, with objects on level 2 as sources for level 3.
  const again = new FleetRun([one], store, SETUP);
  await app.must("INSERT INTO t(v) VALUES (0)");
  await again.until("level 1", () => again.all("compacted").length > 0);
  await again.stop();
  expect(await keysAt(store, "one", 3)).toEqual([]);
  expect((await keysAt(store, "one", 2)).length).toBeGreaterThan(0);
  await app.close();
});

test("a database without compaction makes no merge on schedule, though many increments wait", async () => {
  const { run, app, store } = await watched(null, 6);
  run.clock.pass(2 * HOUR_MS);
  await app.must("INSERT INTO t(v) VALUES (0)");
  await run.uploaded(8, "one");
  await run.discovery();
  expect(run.all("compacted")).toEqual([]);
  await run.stop();
  expect((await keysAt(store, "one", 0)).length).toBe(7);
  await app.close();
});

test("retention settings that a request omits are the database's own", async () => {
  const { one, run, app, store } = await watched(null, 1);
  for (let day = 0; day < 4; day++) {
    run.clock.pass(DAY_MS);
    await app.must("INSERT INTO t(v) VALUES (0)");
    await run.uploaded(3 + day, "one");
    await askForSnapshot(one.path, store);
  }
  const asked = async (retention: Partial<RetentionConfig>): Promise<number | undefined> =>
    (await askForUpkeep(one.path, store, retention, false))?.retention.kept.length;
  expect(await asked({ hourly: 0, weekly: 0, monthly: 0 })).toBe(5);
  expect(await asked({ hourly: 0, weekly: 0, monthly: 0, daily: 3 })).toBe(3);
  await run.stop();
  await app.close();
});
