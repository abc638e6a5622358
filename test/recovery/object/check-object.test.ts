/** The judge of an object: every flip, every truncation, and every claim that does not fit. */
import { expect, test } from "bun:test";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { failureOf } from "../../support/failure-of.ts";
import { compactionBench, flip } from "../../support/histories/compaction-bench.ts";
import { readObject } from "../../support/oracles/history-oracle.ts";
import { assertSoundObject } from "../../support/oracles/judged-object.ts";

test("checkObject accepts what is sound and refuses a flip at every offset", async () => {
  const { store, keys } = await compactionBench(3);
  const key = keys.get(3)!;
  await assertSoundObject(store, key);
  const { bytes } = await readObject(store, key);
  for (let offset = 0; offset < bytes.length; offset += 3) {
    await flip(store, key, offset);
    expect(["corrupt", "integrity"]).toContain((await failureOf(assertSoundObject(store, key))).code);
    await flip(store, key, offset);
  }
});

test("checkObject refuses every truncation", async () => {
  const { store, keys } = await compactionBench(3);
  const key = keys.get(3)!;
  const { bytes, metadata } = await readObject(store, key);
  for (let length = 0; length < bytes.length; length += 5) {
    await store.put(key, { kind: "bytes", bytes: bytes.subarray(0, length) }, { metadata });
    expect(["corrupt", "integrity"]).toContain((await failureOf(assertSoundObject(store, key))).code);
  }
});

// Once: the header is read and not compared, so another range's bytes would justify deleting sources.
test("checkObject refuses a sound object of other TXIDs than its key says", async () => {
  const { store, target, keys } = await compactionBench(9);
  const [made] = await compactInto(target, 1, new CompactionProgress());
  const { bytes, metadata } = await readObject(store, keys.get(4)!);
  await store.put(made!.key, { kind: "bytes", bytes }, { metadata });
  await failureOf(assertSoundObject(store, made!.key));
});
