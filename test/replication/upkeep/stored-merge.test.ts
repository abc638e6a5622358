/** A merge in the store is checked by a checksum of the store, or by a download; never by less. */
import { describe, expect, test } from "bun:test";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { listObjects } from "../../../src/storage/bucket/catalog.ts";
import { failureOf } from "../../support/failure-of.ts";
import { editMetadata } from "../../support/histories/changed-object.ts";
import { BENCH_START_MS, compactionBench, flip } from "../../support/histories/compaction-bench.ts";
import { putTiny } from "../../support/histories/tiny-history.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const KEY = "app/0001/0000000000000002-000000000000000c.ltx";

/** TXIDs 1 to 12 in a store, their sources in the spool, so that only the merge can be downloaded. */
async function benchOf(hasChecksums: boolean) {
  const bench = await compactionBench(12, () => true, new MemoryStore({ hasChecksums }));
  const progress = new CompactionProgress();
  const compact = async (): Promise<string[]> => {
    bench.store.calls.length = 0;
    await compactInto(bench.target, 1, progress);
    return bench.store.calls.filter((call) => /^(get|head|delete) /.test(call));
  };
  return { ...bench, progress, compact };
}

describe("a store that states checksums", () => {
  test("confirms the merge, and nothing is downloaded", async () => {
    const { compact, progress } = await benchOf(true);
    expect(await compact()).toEqual([`head ${KEY}`]);
    expect([...progress.verified.keys()]).toEqual([KEY]);
  });

  test("confirms no other bytes: the merge is downloaded, found damaged and removed", async () => {
    const { store, compact, progress } = await benchOf(true);
    store.after = async (operation, key) => {
      if (operation === "put") await flip(store.inner, key, 130);
    };
    expect(["corrupt", "integrity"]).toContain((await failureOf(compact())).code);
    expect(store.calls.filter((call) => call.endsWith(KEY))).toEqual([
      `put ${KEY}`,
      `head ${KEY}`,
      `get ${KEY}`,
      `delete ${KEY}`,
    ]);
    expect(progress.verified.size).toBe(0);
    expect((await listObjects(store, "app")).filter(({ level }) => level === 1)).toEqual([]);
  });

  test("confirms no other metadata: the merge is downloaded, and what it lacks is judged", async () => {
    const { store, compact } = await benchOf(true);
    store.after = async (operation, key) => {
      if (operation === "put") await editMetadata(store.inner, key, { "prev-chain": null, chain: null });
    };
    expect(await compact()).toEqual([`head ${KEY}`, `get ${KEY}`]);
  });
});

test("a store without checksums is asked for one once, and each merge is downloaded", async () => {
  const { store, history, compact } = await benchOf(false);
  expect(await compact()).toEqual([`head ${KEY}`, `get ${KEY}`]);
  for (let txid = 13; txid <= 60; txid++) {
    await putTiny(store, "app", history.commit(BENCH_START_MS + txid * 1000));
  }
  const later = (await compact()).filter((call) => call.includes("/0001/"));
  expect(later).toEqual(["get app/0001/000000000000000d-000000000000003c.ltx"]);
});
