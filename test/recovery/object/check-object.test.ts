/** checkObject, the judge of an object, refuses every flip, every truncation, and every false claim. */
import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { hex } from "../../../src/format/chain.ts";
import { FLAG_NO_CHECKSUM, type LtxHeader, type LtxTrailer } from "../../../src/format/ltx.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { NO_CHECKSUM, type Txid } from "../../../src/format/types.ts";
import {
  checkEnds,
  checkListed,
  checkObject,
  type PageReceiver,
  readTime,
} from "../../../src/recovery/object/check-object.ts";
import type { FetchedObject } from "../../../src/recovery/object/object-source.ts";
import { CompactionProgress, compactInto } from "../../../src/replication/upkeep/compaction.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { failureOf } from "../../support/failure-of.ts";
import { compactionBench, flip } from "../../support/histories/compaction-bench.ts";
import { assertSoundObject, listedObject } from "../../support/judged-object.ts";
import { readObject } from "../../support/oracles/history-oracle.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

test("checkObject accepts a sound object and refuses a flip at every offset", async () => {
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

// Once the header was read but not compared, so an object of another range justified the deletion of sources.
test("checkObject refuses a sound object whose TXIDs differ from its key", async () => {
  const { store, target, keys } = await compactionBench(9);
  const [made] = await compactInto(target, 1, new CompactionProgress());
  const { bytes, metadata } = await readObject(store, keys.get(4)!);
  await store.put(made!.key, { kind: "bytes", bytes }, { metadata });
  await failureOf(assertSoundObject(store, made!.key));
});

const OTHER = "ab".repeat(32);

/** Records the parts of an object that the judge hands to a receiver. */
class RecordingReceiver implements PageReceiver {
  readonly calls: string[] = [];

  begin(_key: string, { maxTxid }: LtxHeader): void {
    this.calls.push(`begin ${maxTxid}`);
  }

  page(pgno: number): void {
    this.calls.push(`page ${pgno}`);
  }

  end(_key: string, _trailer: LtxTrailer): void {
    this.calls.push("end");
  }
}

/** An increment of a bench as a source fetches it, with changes. */
async function fetchedIncrement(
  metadata: Readonly<Record<string, string>> = {},
  changed: (bytes: Uint8Array) => Uint8Array = (bytes) => bytes,
): Promise<FetchedObject> {
  const { store, keys } = await compactionBench(3);
  const object = await listedObject(store, keys.get(3)!);
  const stored = await readObject(store, object.key);
  const chunks = [changed(stored.bytes)];
  return { object, metadata: { ...stored.metadata, ...metadata }, chunks };
}

describe("checkObject with a receiver", () => {
  test("hands over the header, the pages and the end of a sound object", async () => {
    const receiver = new RecordingReceiver();
    const { findings, facts, sha256 } = await checkObject(await fetchedIncrement(), { receiver });
    expect([findings, facts?.metadata.sha256]).toEqual([[], hex(sha256!)]);
    expect([receiver.calls[0], receiver.calls.at(-1)]).toEqual(["begin 3", "end"]);
    expect(receiver.calls.length).toBeGreaterThan(2);
  });

  test.each([
    ["a wrong time", { "litestream-timestamp": "2031-01-01T00:00:00.000Z" }, "time-mismatch"],
    ["metadata that is no hash", { sha256: "?" }, "bad-metadata"],
  ])("hands over nothing of an object with %s", async (_, metadata, code) => {
    const receiver = new RecordingReceiver();
    const { findings } = await checkObject(await fetchedIncrement(metadata), { receiver });
    expect([findings.map((finding) => finding.code), receiver.calls]).toEqual([[code], []]);
  });

  test("never hands over the end of an object with a wrong SHA-256", async () => {
    const receiver = new RecordingReceiver();
    const { findings } = await checkObject(await fetchedIncrement({ sha256: OTHER }), { receiver });
    expect(findings[0]?.code).toBe("bad-sha256");
    expect(receiver.calls).not.toContain("end");
  });
});

test("checkObject stops reading at the listed size", async () => {
  const { object, metadata } = await fetchedIncrement();
  let sentBytes = 0;
  function* endless(): Generator<Uint8Array> {
    for (;;) {
      sentBytes += 1000;
      yield new Uint8Array(1000);
    }
  }
  const { findings } = await checkObject({ object, metadata, chunks: endless() });
  expect(findings.map(({ code }) => code)).toEqual(["bad-size"]);
  expect(sentBytes).toBeLessThanOrEqual(object.sizeBytes + 1000);
});

test("checkObject reads no byte of an object that is too small", async () => {
  const { object, metadata } = await fetchedIncrement();
  function* unread(): Generator<Uint8Array> {
    yield new Uint8Array(0);
    throw new Error("it was read");
  }
  const small = { ...object, sizeBytes: 99 };
  const { findings } = await checkObject({ object: small, metadata, chunks: unread() });
  expect(findings.map(({ code }) => code)).toEqual(["bad-size"]);
});

test("checkObject distinguishes damage in storage from an object written with a fault", async () => {
  const flipped = (bytes: Uint8Array): Uint8Array => bytes.map((byte, at) => (at === 130 ? byte ^ 1 : byte));
  const damaged = await checkObject(await fetchedIncrement({}, flipped));
  expect(damaged.findings[0]).toMatchObject({ code: "corrupt-object" });
  expect(damaged.findings[0]?.message).toContain("its SHA-256 is not the one that its metadata says");
  const written = await fetchedIncrement({ sha256: hex(damaged.sha256!) }, flipped);
  expect((await checkObject(written)).findings[0]?.message).toContain("its SHA-256 is right");
});

test("checkObject compares a known chain value of the previous object", async () => {
  const fetched = await fetchedIncrement();
  const codesAfter = async (txid: number, chain: string | null): Promise<string[]> => {
    const { findings } = await checkObject(fetched, { after: { txid, chain } });
    return findings.map(({ code }) => code);
  };
  expect(await codesAfter(2, OTHER)).toEqual(["broken-chain"]);
  expect(await codesAfter(2, null)).toEqual([]);
  // An object that overlaps the path continues no chain value of the path.
  expect(await codesAfter(3, OTHER)).toEqual([]);
});

test("checkObject proves a chain value from the previous one if the SHA-256 is lost", async () => {
  const { metadata, ...fetched } = await fetchedIncrement();
  const { sha256: _, ...kept } = metadata;
  expect((await checkObject({ ...fetched, metadata: kept })).findings).toEqual([]);
  const { findings } = await checkObject({ ...fetched, metadata: { ...kept, chain: OTHER } });
  expect(findings.map(({ code }) => code)).toEqual(["broken-chain"]);
});

test("checkEnds finds the same faults of a large object as checkListed, except in its pages", async () => {
  const store = new MemoryStore();
  const key = "app/0000/0000000000000002-0000000000000002.ltx";
  const metadata = { "litestream-timestamp": "2031-01-01T00:00:00.000Z" };
  await store.put(key, { kind: "bytes", bytes: largeIncrement() }, { metadata });
  const object = await listedObject(store, key);
  expect(object.sizeBytes).toBeGreaterThan(8192);
  for (const check of [checkEnds(store, object, undefined), checkListed(store, object, {}, undefined)]) {
    const { findings, facts } = await check;
    expect([findings.map(({ code }) => code), Number(facts?.header.maxTxid)]).toEqual([["time-mismatch"], 2]);
  }
  await flip(store, key, 4000);
  const atEnds = await checkEnds(store, object, undefined);
  const inFull = await checkListed(store, object, {}, undefined);
  expect(atEnds.findings.map(({ code }) => code)).toEqual(["time-mismatch"]);
  expect(inFull.findings.map(({ code }) => code)).toEqual(["time-mismatch", "corrupt-object"]);
});

test("unreadable metadata is bad metadata, not a corrupt object", async () => {
  const folder = tempFolder("sidecar");
  const store = new FileStore({ path: folder });
  const key = "app/ltx/0/0000000000000002-0000000000000002.ltx";
  await store.put(key, { kind: "bytes", bytes: largeIncrement() }, { metadata: { sha256: OTHER } });
  const object = await listedObject(store, key);
  writeFileSync(join(folder, `${key}.meta.json`), "{");
  for (const check of [checkEnds(store, object, undefined), checkListed(store, object, {}, undefined)]) {
    expect((await check).findings.map(({ code }) => code)).toEqual(["bad-metadata"]);
  }
});

test("readTime gives the header's time, and refuses one that key or metadata contradicts", async () => {
  const store = new MemoryStore();
  const key = "app/0000/0000000000000002-0000000000000002.ltx";
  const bytes = largeIncrement();
  await store.put(key, { kind: "bytes", bytes }, { metadata: {} });
  const object = await listedObject(store, key);
  expect(await readTime(store, object)).toBe(1_700_000_000_000);
  const elsewhere = { ...object, minTxid: 3 as Txid, maxTxid: 3 as Txid };
  expect((await failureOf(readTime(store, elsewhere))).message).toContain("by its header");
  const metadata = { "litestream-timestamp": "2031-01-01T00:00:00.000Z" };
  await store.put(key, { kind: "bytes", bytes }, { metadata });
  expect((await failureOf(readTime(store, object))).message).toContain("has time 2031");
});

/** An LTX file of 40 pages of incompressible bytes. */
function largeIncrement(): Uint8Array {
  const chunks: Uint8Array[] = [];
  const encoder = new LtxEncoder(
    {
      flags: FLAG_NO_CHECKSUM,
      pageSizeBytes: 512,
      commit: 40,
      minTxid: 2 as Txid,
      maxTxid: 2 as Txid,
      timestampMs: 1_700_000_000_000,
      preApplyChecksum: NO_CHECKSUM,
      ...{ walOffset: 0, walSizeBytes: 0, walSalt1: 0, walSalt2: 0, nodeId: 0n },
    },
    (bytes) => chunks.push(bytes.slice()),
  );
  const random = seededRandom(1);
  for (let pgno = 1; pgno <= 40; pgno++) {
    encoder.page(
      pgno,
      Uint8Array.from({ length: 512 }, () => Math.floor(random() * 256)),
    );
  }
  encoder.finish(NO_CHECKSUM);
  return new Uint8Array(Buffer.concat(chunks));
}
