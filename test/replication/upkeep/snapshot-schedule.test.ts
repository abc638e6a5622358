/**
 * The time when a snapshot is due: every trigger, alone and beside others, just before its moment and at it.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  dueSnapshotOrNull,
  nextSnapshotMsOrNull,
  type SnapshotFacts,
  SnapshotSchedule,
  type SnapshotTriggers,
} from "../../../src/replication/upkeep/snapshot-schedule.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";
import { cases } from "../../support/property-cases.ts";

const HOUR_MS = 3_600_000;
const OFF: SnapshotTriggers = {
  snapshotIntervalMs: 0,
  maxChanges: 0,
  maxIntervalMs: 0,
  onIdleMs: 0,
  onStartup: false,
};
const CHANGED: SnapshotFacts = {
  lastSnapshotMs: 1000,
  changes: 5,
  firstChangeMs: 2000,
  lastChangeMs: 3000,
  isStaleAtStart: false,
};
const UNCHANGED: SnapshotFacts = { ...CHANGED, changes: 0, firstChangeMs: null, lastChangeMs: null };

const TABLE: readonly [
  criterion: string,
  policy: Partial<SnapshotTriggers>,
  facts: SnapshotFacts,
  nowMs: number,
  due: string | null,
][] = [
  ["everything off", {}, CHANGED, 1e12, null],
  ["interval, just before", { snapshotIntervalMs: 5000 }, CHANGED, 5999, null],
  ["interval, on time", { snapshotIntervalMs: 5000 }, CHANGED, 6000, "interval"],
  ["interval without a change", { snapshotIntervalMs: 5000 }, UNCHANGED, 1e12, null],
  ["max-changes, one less", { maxChanges: 6 }, CHANGED, 3000, null],
  ["max-changes, as many", { maxChanges: 5 }, CHANGED, 3000, "max-changes"],
  ["max-changes of one", { maxChanges: 1 }, CHANGED, 3000, "max-changes"],
  ["max-changes of one without a change", { maxChanges: 1 }, UNCHANGED, 1e12, null],
  ["max-interval counts from the first change, just before", { maxIntervalMs: 500 }, CHANGED, 2499, null],
  ["max-interval, on time", { maxIntervalMs: 500 }, CHANGED, 2500, "max-interval"],
  ["max-interval without a change", { maxIntervalMs: 500 }, UNCHANGED, 1e12, null],
  ["on-idle counts from the last change, just before", { onIdleMs: 500 }, CHANGED, 3499, null],
  ["on-idle, on time", { onIdleMs: 500 }, CHANGED, 3500, "on-idle"],
  ["on-idle without a change", { onIdleMs: 500 }, UNCHANGED, 1e12, null],
  [
    "stale at start",
    { onStartup: true, snapshotIntervalMs: 1e9 },
    { ...CHANGED, isStaleAtStart: true },
    0,
    "startup",
  ],
  [
    "stale at start, switched off",
    { snapshotIntervalMs: 1e9 },
    { ...CHANGED, isStaleAtStart: true },
    3000,
    null,
  ],
  ["fresh at start", { onStartup: true, snapshotIntervalMs: 1e9 }, CHANGED, 3000, null],
  [
    "the interval is named before others",
    { snapshotIntervalMs: 1, maxChanges: 1, maxIntervalMs: 1, onIdleMs: 1 },
    CHANGED,
    9e9,
    "interval",
  ],
];

describe("dueSnapshotOrNull", () => {
  test.each(TABLE)("dueSnapshotOrNull: %s", (_, policy, facts, nowMs, due) => {
    expect(dueSnapshotOrNull({ ...OFF, ...policy }, facts, nowMs)).toBe(due);
  });

  test("dueSnapshotOrNull: nothing is due without changes, whatever the policy and the time", () => {
    const count = fc.nat(1e9);
    const policies = fc.record({
      snapshotIntervalMs: count,
      maxChanges: count,
      maxIntervalMs: count,
      onIdleMs: count,
      onStartup: fc.boolean(),
    });
    const property = fc.property(policies, fc.nat(1e12), (policy, nowMs) => {
      expect(dueSnapshotOrNull(policy, UNCHANGED, nowMs)).toBeNull();
    });
    fc.assert(property, cases(300));
  });
});

describe("nextSnapshotMsOrNull", () => {
  test.each(TABLE)("is now exactly when a snapshot is due: %s", (_, policy, facts, nowMs, due) => {
    const nextMs = nextSnapshotMsOrNull({ ...OFF, ...policy }, facts, nowMs);
    expect(nextMs === nowMs).toBe(due !== null);
  });

  test("is the first moment at which a snapshot is due without further captures, or null", () => {
    const interval = fc.constantFrom(0, 1, 400, 5_000);
    const policies = fc.record({
      snapshotIntervalMs: interval,
      maxChanges: fc.constantFrom(0, 5, 6),
      maxIntervalMs: interval,
      onIdleMs: interval,
      onStartup: fc.boolean(),
    });
    const property = fc.property(policies, fc.constantFrom(CHANGED, UNCHANGED), (policy, facts) => {
      const nextMs = nextSnapshotMsOrNull(policy, facts, 3000);
      if (nextMs === null) return expect(dueSnapshotOrNull(policy, facts, 1e12)).toBeNull();
      expect(nextMs).toBeGreaterThanOrEqual(3000);
      expect(dueSnapshotOrNull(policy, facts, nextMs)).not.toBeNull();
      if (nextMs > 3000) expect(dueSnapshotOrNull(policy, facts, nextMs - 1)).toBeNull();
    });
    fc.assert(property, cases(300));
  });
});

/** A schedule with a clock at 0 and a newest snapshot of this age. */
function startedWith(
  ageMs: number | null,
  hasChanges = true,
  policy: SnapshotTriggers = DEFAULT_CONFIG.sync,
): SnapshotSchedule {
  const clock = new SnapshotSchedule(0);
  clock.begin(0, ageMs, hasChanges, policy);
  return clock;
}

test.each([
  ["no snapshot", null, "startup"],
  ["older than the interval", HOUR_MS + 1, "startup"],
  ["as old as the interval", HOUR_MS, "startup"],
  ["younger", HOUR_MS - 2, null],
  ["of the future: the wall clock went back", -5 * 86_400_000, null],
] as const)("SnapshotSchedule.begin, the newest is %s", (_, ageMs, due) => {
  expect(startedWith(ageMs).dueOrNull(DEFAULT_CONFIG.sync, 1)).toBe(due);
});

test("SnapshotSchedule.begin: without changes since, even an old snapshot is not repeated", () => {
  expect(startedWith(30 * 86_400_000, false).dueOrNull(DEFAULT_CONFIG.sync, 1)).toBeNull();
});

test("SnapshotSchedule.begin: the age counts toward the interval", () => {
  const clock = startedWith(HOUR_MS - 5000);
  expect(clock.dueOrNull(DEFAULT_CONFIG.sync, 4999)).toBeNull();
  expect(clock.dueOrNull(DEFAULT_CONFIG.sync, 5000)).toBe("interval");
});

test("SnapshotSchedule.begin: a wall clock ahead by days causes one snapshot, not one a poll", () => {
  const clock = startedWith(40 * 86_400_000);
  expect(clock.dueOrNull(DEFAULT_CONFIG.sync, 1)).toBe("startup");
  clock.taken(10);
  clock.captured(20, 3);
  for (let nowMs = 20; nowMs < 10 + HOUR_MS; nowMs += 1000) {
    expect(clock.dueOrNull(DEFAULT_CONFIG.sync, nowMs)).toBeNull();
  }
  expect(clock.dueOrNull(DEFAULT_CONFIG.sync, 10 + HOUR_MS)).toBe("interval");
});

test("SnapshotSchedule.begin: an interval of 0 is never stale", () => {
  const policy = { ...DEFAULT_CONFIG.sync, snapshotIntervalMs: 0 };
  expect(startedWith(null, true, policy).dueOrNull(policy, 1e12)).toBeNull();
});

// Known: `begin` dates the last snapshot back by its age, so the interval is due instead.
test("SnapshotSchedule.begin: on-startup=false takes no snapshot at start", () => {
  const policy = { ...DEFAULT_CONFIG.sync, onStartup: false };
  expect(startedWith(5 * HOUR_MS, true, policy).dueOrNull(policy, 1)).toBeNull();
});

test("SnapshotSchedule.captured: frames add up over captures, and taken starts over", () => {
  const policy = { ...OFF, maxChanges: 10 };
  const clock = new SnapshotSchedule(0);
  clock.captured(1, 4);
  clock.captured(2, 5);
  expect(clock.dueOrNull(policy, 2)).toBeNull();
  clock.captured(3, 1);
  expect(clock.dueOrNull(policy, 3)).toBe("max-changes");
  clock.taken(4);
  expect(clock.dueOrNull(policy, 1e12)).toBeNull();
  clock.captured(5, 9);
  expect(clock.dueOrNull(policy, 5)).toBeNull();
});

test("SnapshotSchedule: changes without a pause are bounded by max-interval, a pause by on-idle", () => {
  const policy = { ...OFF, maxIntervalMs: 1000, onIdleMs: 300 };
  const busy = new SnapshotSchedule(0);
  for (let nowMs = 0; nowMs < 1000; nowMs += 100) {
    busy.captured(nowMs, 1);
    expect(busy.dueOrNull(policy, nowMs)).toBeNull();
  }
  expect(busy.dueOrNull(policy, 1000)).toBe("max-interval");
  const paused = new SnapshotSchedule(0);
  paused.captured(0, 1);
  paused.captured(200, 1);
  expect(paused.dueOrNull(policy, 499)).toBeNull();
  expect(paused.dueOrNull(policy, 500)).toBe("on-idle");
});
