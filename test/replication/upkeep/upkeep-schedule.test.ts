/** When the upkeep of one database is due, and when not: each job alone, and which goes first. */
import { describe, expect, test } from "bun:test";
import type { LiveDatabase } from "../../../src/replication/capture/live-database.ts";
import type { TakenSnapshot } from "../../../src/replication/upkeep/snapshots.ts";
import { UpkeepSchedule, uploadedOf } from "../../../src/replication/upkeep/upkeep-schedule.ts";
import { type ConfigChange, configWith } from "../../support/config.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const DAY_MS = 24 * 3_600_000;
const BEGIN_MS = 1_000;

function scheduleOf(change: ConfigChange = {}): UpkeepSchedule {
  const { env } = recordingEnv({ monotonicMs: () => BEGIN_MS, random: () => 0.5 });
  return new UpkeepSchedule({ config: configWith(change), env });
}

/** A database with TXIDs 1 to 3, all acknowledged. */
function uploaded(): LiveDatabase {
  const { live } = spooledHistory(3);
  live.pending.length = 0;
  return live;
}

const NO_UPKEEP: ConfigChange = { compaction: { enabled: false } };

describe("UpkeepSchedule.dueJob", () => {
  test("a database without a state, or without anything in the bucket, has none", () => {
    const schedule = scheduleOf();
    const { live } = spooledHistory(3);
    expect(schedule.dueJob({ ...live, state: null }, 10 * DAY_MS, null)).toBe("none");
    expect(scheduleOf(NO_UPKEEP).dueJob(live, BEGIN_MS, null)).toBe("none");
  });

  test("the bucket is checked at the start, and then daily", () => {
    const schedule = scheduleOf(NO_UPKEEP);
    const live = uploaded();
    expect(schedule.dueJob(live, BEGIN_MS, null)).toBe("reconcile");
    schedule.reconcile.done(BEGIN_MS, 0.5);
    expect(schedule.dueJob(live, BEGIN_MS + 60_000, null)).toBe("none");
    expect(schedule.dueJob(live, BEGIN_MS + 2 * DAY_MS, null)).toBe("reconcile");
  });

  test("a validation goes first, once for each interval", () => {
    const schedule = scheduleOf({ ...NO_UPKEEP, sync: { validationIntervalMs: 60_000 } });
    const live = uploaded();
    schedule.reconcile.done(BEGIN_MS, 0.5);
    expect(schedule.dueJob(live, BEGIN_MS + 59_999, null)).toBe("none");
    expect(schedule.dueJob(live, BEGIN_MS + 60_000, null)).toBe("validate");
    schedule.validating(BEGIN_MS + 60_000, 60_000);
    expect(schedule.dueJob(live, BEGIN_MS + 60_001, null)).toBe("none");
  });

  test("other settings begin their intervals anew, and leave the others as they are", () => {
    const schedule = scheduleOf({ sync: { validationIntervalMs: 60_000 } });
    const live = uploaded();
    schedule.reconcile.done(BEGIN_MS, 0.5);
    const laterMs = BEGIN_MS + 10_000;
    schedule.reconfigure(configWith({ sync: { validationIntervalMs: 20_000 } }), laterMs, 0.5);
    // The compaction is due as before.
    expect(schedule.dueJob(live, BEGIN_MS + 14_999, null)).toBe("none");
    expect(schedule.dueJob(live, BEGIN_MS + 15_000, null)).toBe("maintain");
    expect(schedule.dueJob(live, laterMs + 20_000, null)).toBe("validate");
    schedule.reconfigure(configWith(NO_UPKEEP), laterMs, 0.5);
    expect(schedule.dueJob(live, BEGIN_MS + 300_000, null)).toBe("none");
  });

  test("what was uploaded is compacted at the offset of this database within the first interval", () => {
    const schedule = scheduleOf();
    const live = uploaded();
    schedule.reconcile.done(BEGIN_MS, 0.5);
    expect(schedule.dueJob(live, BEGIN_MS + 14_999, null)).toBe("none");
    expect(schedule.dueJob(live, BEGIN_MS + 15_000, null)).toBe("maintain");
  });

  test("the snapshot of an unrestorable history is looked up once it is taken, and once only", () => {
    const schedule = scheduleOf(NO_UPKEEP);
    const live = uploaded();
    schedule.reconcile.done(BEGIN_MS, 0.5);
    schedule.snapshotRequested(BEGIN_MS);
    const taken = (atMs: number): TakenSnapshot => ({ atMs, result: {} as TakenSnapshot["result"] });
    expect(schedule.dueJob(live, BEGIN_MS + 1, taken(BEGIN_MS - 1))).toBe("none");
    expect(schedule.dueJob(live, BEGIN_MS + 2, taken(BEGIN_MS))).toBe("reconcile");
    schedule.reconcile.done(BEGIN_MS + 2, 0.5);
    expect(schedule.dueJob(live, BEGIN_MS + 3, taken(BEGIN_MS))).toBe("none");
    expect(schedule.requestedMs).toBe(BEGIN_MS);
    expect(schedule.soundMs).toBe(Number.NEGATIVE_INFINITY);
    schedule.restorable(BEGIN_MS + 4);
    expect([schedule.requestedMs, schedule.soundMs]).toEqual([null, BEGIN_MS + 4]);
  });
});

describe("UpkeepSchedule.objectsMissing", () => {
  const taken = (atMs: number): TakenSnapshot => ({ atMs, result: {} as TakenSnapshot["result"] });

  test("makes the check due at once, also while uploads wait and after failures", () => {
    const schedule = scheduleOf(NO_UPKEEP);
    const { live } = spooledHistory(3);
    // TXID 1 is uploaded, and 2 and 3 wait.
    live.pending.shift();
    schedule.reconcile.done(BEGIN_MS, 0.5);
    schedule.reconcile.failed(BEGIN_MS + 1);
    expect(schedule.dueJob(live, BEGIN_MS + 2, null)).toBe("none");
    schedule.objectsMissing();
    expect(schedule.dueJob(live, BEGIN_MS + 2, null)).toBe("reconcile");
  });

  test("leaves the check to the snapshot that is on its way, and a vain one is known after it", () => {
    const schedule = scheduleOf(NO_UPKEEP);
    const live = uploaded();
    schedule.snapshotRequested(BEGIN_MS);
    schedule.reconcile.done(BEGIN_MS, 0.5);
    schedule.objectsMissing();
    schedule.stillLost(BEGIN_MS + 1);
    expect([schedule.dueJob(live, BEGIN_MS + 2, null), schedule.vainMs]).toEqual([
      "none",
      Number.NEGATIVE_INFINITY,
    ]);
    expect(schedule.dueJob(live, BEGIN_MS + 3, taken(BEGIN_MS + 2))).toBe("reconcile");
    schedule.reconcile.done(BEGIN_MS + 4, 0.5);
    schedule.stillLost(BEGIN_MS + 4);
    expect(schedule.vainMs).toBe(BEGIN_MS + 4);
    schedule.listed(BEGIN_MS + 5);
    expect(schedule.soundMs).toBe(BEGIN_MS + 5);
    schedule.restorable(BEGIN_MS + 6);
    expect(schedule.vainMs).toBe(Number.NEGATIVE_INFINITY);
  });

  test("permits another snapshot after a vain one, because a person asks", () => {
    const schedule = scheduleOf(NO_UPKEEP);
    const live = uploaded();
    schedule.snapshotRequested(BEGIN_MS);
    schedule.dueJob(live, BEGIN_MS + 1, taken(BEGIN_MS));
    schedule.reconcile.done(BEGIN_MS + 1, 0.5);
    schedule.stillLost(BEGIN_MS + 1);
    schedule.objectsMissing();
    expect([schedule.requestedMs, schedule.dueJob(live, BEGIN_MS + 2, null)]).toEqual([null, "reconcile"]);
  });
});

test("UpkeepSchedule.takePrune is true after a minute and then every ten, if files are kept", () => {
  const schedule = scheduleOf();
  const live = uploaded();
  expect(schedule.takePrune(live, BEGIN_MS + 60_000)).toBe(false);
  live.sentBytes = 1;
  expect(schedule.takePrune(live, BEGIN_MS + 59_999)).toBe(false);
  expect(schedule.takePrune(live, BEGIN_MS + 60_000)).toBe(true);
  expect(schedule.takePrune(live, BEGIN_MS + 659_999)).toBe(false);
  expect(schedule.takePrune(live, BEGIN_MS + 660_000)).toBe(true);
});

test("uploadedOf counts up to the first file that waits", () => {
  const { live } = spooledHistory(3);
  expect(uploadedOf({ ...live, uploadedBytes: 7 })).toEqual({ txid: 0, bytes: 7 });
  expect(uploadedOf(uploaded()).txid).toBe(3);
});
