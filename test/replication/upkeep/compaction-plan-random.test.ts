/** Compaction, expiry and retention over simulated days with crashes between any two operations. */
import { expect, test } from "bun:test";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import { DataPlaneSimulation } from "../../support/histories/upkeep-simulation.ts";

const RETENTION = { hourly: 6, daily: 3, weekly: 2, monthly: 1 };
const COMMON = { steps: 60, compaction: DEFAULT_CONFIG.compaction, faultRate: 0.04 };

/** Runs a simulation to its end, which must have done enough to judge. */
async function simulate(options: ConstructorParameters<typeof DataPlaneSimulation>[0]): Promise<void> {
  const run = new DataPlaneSimulation(options);
  await run.run();
  expect(run.crashes).toBeGreaterThan(3);
  expect(run.deletions).toBeGreaterThan(50);
  expect(run.merges).toBeGreaterThan(5);
  expect(run.restores).toBeGreaterThan(1);
  expect(await run.uncompacted()).toBe(0);
}

test.each([1, 2, 3])(
  "seed %d: after every operation and crash, every retained point is restorable",
  async (seed) => {
    await simulate({ ...COMMON, seed, retention: RETENTION, snapshotRate: 0.12 });
  },
  20_000,
);

// Retention deleted beyond the merged TXIDs and left a gap, and nothing was merged before a restart (seeds 1
// and 4 of this policy).
test.each([1, 4])(
  "seed %d: retention of two frequent snapshots never stops compaction",
  async (seed) => {
    const retention = { hourly: 0, daily: 0, weekly: 0, monthly: 0 };
    await simulate({ ...COMMON, steps: 80, seed, retention, snapshotRate: 0.5 });
  },
  20_000,
);
