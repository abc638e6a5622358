/**
 * The outlook of verify after damage: the named points can be restored. A user who follows the advice has a
 * clean bucket that still restores all of them.
 */
import { expect, test } from "bun:test";
import { plannableTxids } from "../../../src/recovery/plan/restore-plan.ts";
import { verifyDatabase } from "../../../src/recovery/verify/verify-database.ts";
import { fixDatabase } from "../../../src/recovery/verify/verify-fix.ts";
import { describeOutlook } from "../../../src/recovery/verify/verify-outlook.ts";
import type { VerifyReport } from "../../../src/recovery/verify/verify-report.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { History, verifyEnv } from "./verify-history.ts";

/** Snapshots at 1, 8, 15 and 22; increments 2 to 25, of which 2 to 13 are merged too. */
async function longHistory(): Promise<History> {
  const history = await History.begin();
  for (let round = 0; round < 3; round++) {
    await history.increments(7);
    await history.snapshot();
  }
  await history.increments(3);
  for (let first = 0; first < 12; first += 4) {
    await history.compact(1, (await history.level(0)).slice(first, first + 4));
  }
  await history.manifest();
  return history;
}

function verify(history: History): Promise<VerifyReport> {
  return verifyDatabase(history.store, history.name, { readPercent: 100 }, verifyEnv());
}

/** Flips a byte of the pages; the header does not change. */
function damage(history: History, key: string): Promise<void> {
  return history.edit(key, ({ bytes }) => {
    const damaged = bytes.slice();
    damaged[bytes.length >> 1]! ^= 0x55;
    return { bytes: damaged };
  });
}

test("verify of a sound history, or of one with warnings alone, has no outlook", async () => {
  const history = await longHistory();
  expect((await verify(history)).outlook).toBeNull();
  await history.delete(history.manifestKey);
  expect(await verify(history)).toMatchObject({ status: "warnings", outlook: null });
});

test("verify of old damage names the first sound TXID and the way to a clean bucket", async () => {
  const history = await longHistory();
  await history.delete(history.key(1, 2, 5));
  await damage(history, history.key(0, 4));
  const report = await verify(history);
  const removals = [history.key(0, 4), history.key(9, 1)];
  const outlook = { soundFromTxid: 8, newestTxid: 25, removals, keptFromTxid: 8 };
  expect(report).toMatchObject({ status: "errors", outlook });
  expect(describeOutlook("app", report.outlook!)).toEqual([
    "the newest state (TXID 25) and everything from TXID 8 on can be restored, as far as was read",
    `for a clean bucket, without the points before TXID 8: delete ${removals.join(" ")}; ` +
      "then run walrust verify app --fix",
  ]);
});

test("a damaged object with substitutes costs no snapshot", async () => {
  const history = await longHistory();
  await damage(history, history.key(9, 1, 22));
  await damage(history, history.key(0, 12));
  const { outlook } = await verify(history);
  expect(outlook).toMatchObject({ soundFromTxid: 13, keptFromTxid: null });
  expect(outlook!.removals.toSorted()).toEqual([history.key(0, 12), history.key(9, 1, 22)].toSorted());
});

test("verify promises nothing if the newest state is lost, or if objects contradict each other", async () => {
  const lost = await longHistory();
  await damage(lost, lost.key(0, 25));
  expect(await verify(lost)).toMatchObject({ status: "errors", outlook: null });
  const edited = await longHistory();
  await edited.edit(edited.key(0, 17), ({ metadata }) => ({
    metadata: { ...metadata, "prev-chain": "ab".repeat(32) },
  }));
  expect(await verify(edited)).toMatchObject({ status: "errors", outlook: null });
});

test("any damage: the promises hold, and after removals and repairs verify finds nothing", async () => {
  const random = seededRandom(20260306);
  let promised = 0;
  for (let round = 0; round < 60; round++) {
    const history = await longHistory();
    const all = await history.objects();
    const bad = new Set<string>();
    for (const { key } of all) {
      const dice = random();
      if (dice < 0.12) bad.add(key);
      if (dice < 0.06) await history.delete(key);
      else if (dice < 0.12) await damage(history, key);
    }
    const { outlook } = await verify(history);
    if (outlook === null) continue;
    promised++;
    const kept = all.map(({ maxTxid }) => maxTxid).filter((txid) => txid >= outlook.soundFromTxid);
    expect(plannableTxids(all.filter(({ key }) => !bad.has(key)))).toEqual(expect.arrayContaining(kept));
    await history.delete(...outlook.removals);
    await fixDatabase(history.store, await verify(history), verifyEnv());
    expect([round, (await verify(history)).findings]).toEqual([round, []]);
    expect(plannableTxids(await history.objects())).toEqual(expect.arrayContaining(kept));
  }
  expect(promised).toBeGreaterThan(15);
});
