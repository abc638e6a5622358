/**
 * The requests of a replica to its store: one GET per poll without news, and a LIST only if the replica may
 * have missed objects. Also the plan of its way over the listed objects.
 */
import { describe, expect, test } from "bun:test";
import type { Txid } from "../../../src/format/types.ts";
import { ReplicaFeed } from "../../../src/recovery/replica/replica-feed.ts";
import { planForward } from "../../../src/recovery/replica/replica-plan.ts";
import type { LtxObject } from "../../../src/storage/bucket/catalog.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { FaultyStore } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const POLL_MS = 5000;

/** A feed on a fake clock, and a source of `count` TXIDs. */
async function newFeed(count: number, isLitestream = false) {
  const store = new FaultyStore(new MemoryStore());
  const source = new SourceDatabase(tempFolder("feed"));
  const history = new SourceHistory(store, "app", isLitestream);
  await history.publish(source.after("CREATE TABLE item (a)"));
  while (history.txid < count) await history.publish(source.after("INSERT INTO item VALUES (1)"));
  const clock = { ms: 0 };
  const { env } = recordingEnv({ monotonicMs: () => clock.ms });
  const feed = new ReplicaFeed(store, "app", env);
  return { feed, source, history, store, clock };
}

type Feed = Awaited<ReturnType<typeof newFeed>>;

/** Runs one poll. @returns the found TXIDs, and the number of requests by kind */
async function poll({ feed, store, clock }: Feed, txid: number) {
  store.calls.length = 0;
  clock.ms += POLL_MS;
  const found: number[] = [];
  for await (const { object } of feed.objectsAfter(txid as Txid)) found.push(object.maxTxid);
  const count = (kind: string): number => store.calls.filter((call) => call.startsWith(`${kind} `)).length;
  return { found, gets: count("get"), lists: count("list"), all: store.calls.length };
}

describe("ReplicaFeed", () => {
  test("requests one key per poll while nothing changes, and checks every five minutes", async () => {
    const setup = await newFeed(3);
    await setup.history.writeManifest();
    let all = 0;
    let lists = 0;
    const polls = (24 * 3_600_000) / POLL_MS;
    for (let i = 0; i < polls; i++) {
      const counted = await poll(setup, 3);
      all += counted.all;
      lists += counted.lists;
    }
    // A check after 10, 20, 40 … seconds, and then every five minutes.
    expect(lists).toBeGreaterThan(280);
    expect(lists).toBeLessThan(300);
    // A day of polls, and a read of the manifest after 1, 2, 4 … minutes and then every hour.
    expect(all - lists - polls).toBeGreaterThan(20);
    expect(all - lists - polls).toBeLessThan(35);
  });

  test("lists a quiet source without a manifest ever more rarely, up to once an hour", async () => {
    const setup = await newFeed(3, true);
    let looks = 0;
    for (let i = 0; i < (24 * 3_600_000) / POLL_MS; i++) looks += (await poll(setup, 3)).lists >= 5 ? 1 : 0;
    expect(looks).toBeGreaterThan(20);
    expect(looks).toBeLessThan(35);
  });

  test("finds increments by their names: one GET for each, and one for the first missing name", async () => {
    const setup = await newFeed(3);
    await poll(setup, 3);
    const { source, history } = setup;
    for (let i = 0; i < 5; i++) await history.publish(source.after("INSERT INTO item VALUES (2)"));
    expect(await poll(setup, 3)).toEqual({ found: [4, 5, 6, 7, 8], gets: 6, lists: 0, all: 6 });
  });

  test("finds captures uploaded as one object at the second miss, and then at once", async () => {
    const setup = await newFeed(2);
    const { source, history } = setup;
    await poll(setup, 2);
    await history.publish(source.after("INSERT INTO item VALUES (1)"));
    expect((await poll(setup, 2)).found).toEqual([3]);
    const merged = async (count: number): Promise<void> => {
      const first = history.txid + 1;
      for (let i = 0; i < count; i++) await history.publish(source.after("INSERT INTO item VALUES (2)"));
      await history.compact(0, first, history.txid);
    };
    await merged(3);
    expect((await poll(setup, 3)).found).toEqual([]);
    expect((await poll(setup, 3)).found).toEqual([6]);
    // The newest object held several TXIDs: a check of the newest replaces the GET until single TXIDs follow
    // again.
    await merged(2);
    expect(await poll(setup, 6)).toMatchObject({ found: [8], gets: 1 });
    await history.publish(source.after("INSERT INTO item VALUES (3)"));
    expect((await poll(setup, 8)).found).toEqual([9]);
    await history.publish(source.after("INSERT INTO item VALUES (4)"));
    expect(await poll(setup, 9)).toEqual({ found: [10], gets: 2, lists: 0, all: 2 });
  });

  test("lists once at the start if its next increment was merged, and continues by names", async () => {
    const setup = await newFeed(12);
    await setup.history.compact(1, 4, 10);
    const { found, lists } = await poll(setup, 5);
    expect(found).toEqual([10, 11, 12]);
    expect(lists).toBe(5);
    expect(await poll(setup, 12)).toMatchObject({ found: [], all: 1 });
  });

  test("lists again after a pause in which increments may have been merged", async () => {
    const setup = await newFeed(6);
    await poll(setup, 6);
    const { source, history, clock } = setup;
    for (let i = 0; i < 4; i++) await history.publish(source.after("INSERT INTO item VALUES (2)"));
    await history.compact(1, 6, 9);
    expect((await poll(setup, 6)).found).toEqual([]);
    clock.ms += 2 * 60_000;
    expect((await poll(setup, 6)).found).toEqual([9, 10]);
  });

  test("takes merged objects if it is far behind", async () => {
    const setup = await newFeed(300);
    await setup.history.put(1, 60, 290);
    const { found, gets } = await poll(setup, 3);
    expect(found.slice(-11)).toEqual([290, 291, 292, 293, 294, 295, 296, 297, 298, 299, 300]);
    expect(gets).toBeLessThan(90);
  });

  test("reports that no object leads on, and that the source ends before the replica", async () => {
    const gap = await newFeed(9);
    await gap.history.snapshotAndPrune();
    await expect(poll(gap, 5)).rejects.toThrow("Nothing continues TXID 5");
    const behind = await newFeed(4);
    await expect(poll(behind, 8)).rejects.toThrow("Nothing of the source reaches TXID 8");
  });
});

function object(level: number, minTxid: number, maxTxid: number): LtxObject {
  const range = { minTxid: minTxid as Txid, maxTxid: maxTxid as Txid };
  return { key: `${level}/${minTxid}-${maxTxid}`, level, ...range, sizeBytes: 1, modifiedMs: 0 };
}

describe("planForward", () => {
  const rows: readonly (readonly [string, LtxObject[], number, unknown])[] = [
    ["nothing is listed", [], 3, { kind: "behind", newest: 0 }],
    ["the newest is ours", [object(9, 1, 3)], 3, { kind: "current" }],
    ["increments follow", [object(0, 4, 4), object(0, 5, 5)], 3, ["0/4-4", "0/5-5"]],
    ["a merged object reaches further", [object(0, 4, 4), object(1, 4, 9)], 3, ["1/4-9"]],
    ["a merged object begins before us", [object(1, 2, 9), object(0, 10, 10)], 3, ["1/2-9", "0/10-10"]],
    ["of two that end alike the later begins", [object(2, 2, 9), object(1, 4, 9)], 3, ["1/4-9"]],
    ["the way ends at a hole", [object(0, 4, 4), object(0, 6, 6)], 3, ["0/4-4"]],
    ["a hole is right before us", [object(0, 5, 5)], 3, { kind: "gap", nextTxid: 5 }],
    ["only a snapshot is newer", [object(9, 1, 8)], 3, { kind: "gap", nextTxid: 8 }],
  ];
  for (const [name, objects, txid, expected] of rows) {
    test(`when ${name}`, () => {
      const plan = planForward(objects, txid as Txid);
      const found = plan.kind === "forward" ? plan.objects.map(({ key }) => key) : plan;
      expect(found as unknown).toEqual(expected);
    });
  }
});
