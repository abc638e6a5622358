/**
 * The limit on captured files while the store is unavailable: the order of deletions, and when captures stop
 * and resume.
 */
import { expect, test } from "bun:test";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import type { Txid } from "../../../src/format/types.ts";
import { SENT_FOLDER } from "../../../src/local/spool.ts";
import { keepSent } from "../../../src/local/spool-cache.ts";
import { totalUse } from "../../../src/replication/upload/spool-budget.ts";
import {
  enforceSpoolBudget,
  overShare,
  type SpoolOwner,
  spoolUseOf,
} from "../../../src/replication/upload/spool-limit.ts";
import { spooledHistory } from "../../support/histories/spooled-history.ts";
import { imageOf } from "../../support/oracles/database-image.ts";
import { restoredImage } from "../../support/oracles/restored-image.ts";
import { PollLimit } from "../../support/poll-limit.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { askForSnapshot } from "../../support/runs/watch-requests.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { DAY_MS, ShiftedClock } from "../../support/shifted-clock.ts";

const { env } = recordingEnv();

/** An owner with `count` increments, of which `sent` are uploaded and kept. */
function owner(
  count: number,
  sent: number,
  mayMerge = true,
): SpoolOwner & { live: NonNullable<SpoolOwner["live"]> } {
  const { live } = spooledHistory(count);
  for (let i = 0; i < sent; i++) {
    const [file] = live.pending.splice(1, 1);
    keepSent(live.paths.spoolFolder, file!);
    live.sentBytes += file!.sizeBytes;
  }
  return { name: "app", live, mayMerge };
}

test("enforceSpoolBudget below its limit changes nothing", () => {
  const one = owner(20, 10);
  const { pendingBytes, sentBytes } = spoolUseOf(one);
  expect(enforceSpoolBudget([one], pendingBytes + sentBytes, false, env)).toBe(false);
  expect(spoolUseOf(one)).toEqual({ pendingBytes, sentBytes });
});

test("enforceSpoolBudget deletes kept files first, then merges, then stops captures", () => {
  const one = owner(40, 10);
  const { pendingBytes, sentBytes } = spoolUseOf(one);
  expect(enforceSpoolBudget([one], pendingBytes + sentBytes - 1, false, env)).toBe(false);
  expect(spoolUseOf(one).sentBytes).toBeLessThan(sentBytes);
  expect(one.live.pending.length).toBe(30);
  expect(enforceSpoolBudget([one], pendingBytes - 1, false, env)).toBe(false);
  expect(one.live.pending.length).toBe(3);
  const merged = spoolUseOf(one);
  expect(merged.sentBytes).toBe(0);
  expect(enforceSpoolBudget([one], merged.pendingBytes - 1, false, env)).toBe(true);
  expect(one.live.pending.length).toBe(3);
});

test("enforceSpoolBudget resumes captures below eight tenths, not just below its limit", () => {
  const one = owner(9, 0, false);
  const { pendingBytes } = spoolUseOf(one);
  expect(enforceSpoolBudget([one], pendingBytes * 1.1, true, env)).toBe(true);
  expect(enforceSpoolBudget([one], pendingBytes * 1.1, false, env)).toBe(false);
  expect(enforceSpoolBudget([one], pendingBytes * 1.3, true, env)).toBe(false);
});

test("enforceSpoolBudget merges only where it may, and counts all databases", () => {
  const [free, held] = [owner(20, 0), owner(20, 0, false)];
  const all = [free, held, { name: "none", live: null, mayMerge: true }];
  const { pendingBytes } = totalUse(all.map(spoolUseOf));
  enforceSpoolBudget(all, pendingBytes - 1, false, env);
  expect([free.live.pending.length, held.live.pending.length]).toEqual([3, 20]);
});

test("one snapshot larger than the limit stops nobody, a second one does", () => {
  const [first, second, small] = [owner(5, 0), owner(5, 0), owner(5, 0)];
  const all = [first, second, small];
  const limit = 10 * totalUse(all.map(spoolUseOf)).pendingBytes;
  const addSnapshot = ({ live }: typeof first, sizeBytes: number): void => {
    live.pending.push({ ...live.pending[0]!, level: 9, minTxid: 1 as Txid, maxTxid: 4 as Txid, sizeBytes });
  };
  addSnapshot(first, limit * 4);
  expect(enforceSpoolBudget(all, limit, false, env)).toBe(false);
  expect([...overShare(all, limit)]).toEqual([]);
  addSnapshot(second, limit * 1.5);
  expect(enforceSpoolBudget(all, limit, false, env)).toBe(true);
  expect([...overShare(all, limit)]).toEqual([second]);
});

test("overShare stops databases above their share, the others not before twice the limit", () => {
  const [large, small] = [owner(40, 0, false), owner(2, 0, false)];
  const all = [large, small, { name: "none", live: null, mayMerge: true }];
  const { pendingBytes } = totalUse(all.map(spoolUseOf));
  expect([...overShare(all, pendingBytes - 1)]).toEqual([large]);
  expect([...overShare(all, pendingBytes * 100)]).toEqual([]);
  expect([...overShare(all, Math.floor(pendingBytes / 2) - 1)]).toEqual(all);
  // A single database stops at the common limit.
  expect([...overShare([large], spoolUseOf(large).pendingBytes - 1)]).toEqual([large]);
});

/** A watch with a small spool, before a store that the test can make unavailable. */
async function watchSmall(bytesMax: number) {
  const { path, app } = await newDatabase();
  const store = new FaultyStore(new MemoryStore());
  const clock = new ShiftedClock();
  const run = new WatchRun(
    [targetOf(path)],
    store,
    { compaction: { enabled: true }, cache: { maxSizeBytes: bytesMax, retentionMs: DAY_MS } },
    clock.overrides,
  );
  await run.watching();
  await run.uploaded(1);
  const folder = targetOf(path).paths.spoolFolder;
  const names = (where: string): string[] =>
    existsSync(where) ? readdirSync(where).filter((name) => name.endsWith(".ltx")) : [];
  const pending = (): string[] => names(folder);
  const sent = (): string[] => names(join(folder, SENT_FOLDER));
  const setAway = (isAway: boolean): void => {
    store.before = () => {
      if (isAway) throw unreachable();
    };
  };
  return { path, app, store, clock, run, pending, sent, setAway };
}

/** Commits random bytes, and waits for their capture without their upload. */
async function captureOne(watched: Awaited<ReturnType<typeof watchSmall>>, bytes: number): Promise<void> {
  const { app, run, pending } = watched;
  const before = pending().join();
  await app.must(`UPDATE t SET v = randomblob(${bytes}) WHERE id = 1`);
  await run.until("a capture", () => pending().join() !== before);
}

const isSaid = ({ lines }: WatchRun, text: string): boolean =>
  lines.some(({ message }) => message.includes(text));

// Larger increments than those that share a log: each has a file of its own.
test("watch with a full spool deletes kept files, merges pending ones, then stops capture", async () => {
  const watched = await watchSmall(600_000);
  const { path, app, store, clock, run, pending, sent, setAway } = watched;
  for (let i = 0; i < 4; i++) await run.commit(app, "UPDATE t SET v = randomblob(80000) WHERE id = 1");
  expect(sent().length).toBe(4);
  setAway(true);
  for (let i = 0; i < 4; i++) await captureOne(watched, 80_000);
  expect(isSaid(run, "capture stops")).toBe(false);
  clock.pass(2_000);
  await run.until("kept files to go", () => sent().length < 4);
  expect(pending().length).toBe(4);
  for (let i = 0; i < 5; i++) await captureOne(watched, 80_000);
  clock.pass(2_000);
  await run.until("a merge", () => pending().length <= 3);
  expect(isSaid(run, "capture stops")).toBe(false);
  for (let i = 0; i < 2; i++) await captureOne(watched, 600_000);
  clock.pass(2_000);
  await run.until("captures to stop", () => isSaid(run, "capture stops"));

  await app.must("INSERT INTO t(v) VALUES ('while paused')");
  const [[busy, log, done]] = (await app.must("PRAGMA wal_checkpoint(TRUNCATE)")).rows as [
    [number, number, number],
  ];
  expect([busy, log, done]).toEqual([0, 0, 0]);
  await app.must("INSERT INTO t(v) VALUES ('also while paused')");
  setAway(false);
  for (let i = 0; i < 3; i++) clock.pass(60_000);
  await run.until("captures to go on", () => isSaid(run, "capture continues with a difference"), 8_000);
  await run.until("a difference", () => run.all("re-anchored").length > 0);
  await app.must("INSERT INTO t(v) VALUES ('after')");
  await run.stop();
  expect(run.all("re-anchored").length).toBe(1);
  expect(Buffer.compare(await restoredImage(store.inner, "app"), imageOf(path))).toBe(0);
  await app.close();
}, 20_000);

// Regression: the pin waited for the snapshot, which stood before uploads and waited for the pin for ever.
test("watch with a snapshot request while its spool was full continues afterwards", async () => {
  const watched = await watchSmall(60_000);
  const { path, app, store, clock, run, setAway } = watched;
  setAway(true);
  await captureOne(watched, 100_000);
  clock.pass(2_000);
  await run.until("captures to stop", () => isSaid(run, "capture stops"));
  let isAnswered = false;
  const asked = askForSnapshot(path, store).finally(() => {
    isAnswered = true;
  });
  asked.catch(() => {});
  await app.must("INSERT INTO t(v) VALUES ('while paused')", "PRAGMA wal_checkpoint(TRUNCATE)");
  clock.pass(2_000);
  setAway(false);
  const limit = new PollLimit(3_000, 300);
  while (!isAnswered && !limit.isOver()) {
    clock.pass(5_000);
    const before = run.lines.length + run.events.length;
    await run
      .until("more", () => isAnswered || run.lines.length + run.events.length > before, 300)
      .catch(() => {});
  }
  expect(isAnswered).toBe(true);
  await run.stop();
  expect(Buffer.compare(await restoredImage(store.inner, "app"), imageOf(path))).toBe(0);
  await app.close();
}, 20_000);
