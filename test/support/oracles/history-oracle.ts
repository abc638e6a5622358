/**
 * Replays the objects of one database in a bucket and proves every claim: SHA-256, chain, times, contiguous
 * TXIDs, pre-apply and post-apply checksums. From src it uses the LTX decoder alone.
 */
import { expect } from "bun:test";
import { LtxDecoder } from "../../../src/format/ltx-decoder.ts";
import type { ObjectMetadata, ObjectStore } from "../../../src/storage/contract/store.ts";
import { pageChecksum } from "./page-sums-oracle.ts";

/** One point of a history: the database's bytes at a TXID. */
export interface HistoryPoint {
  readonly txid: number;
  readonly timeMs: number;
  readonly key: string;
  readonly image: Uint8Array;
  /** Page numbers in the object. */
  readonly pgnos: readonly number[];
  /** The checksum of each page of the image, in order. */
  readonly sums: readonly bigint[];
  readonly chain: string;
}

interface RawObject {
  readonly key: string;
  readonly bytes: Uint8Array;
  readonly metadata: ObjectMetadata;
}

const KEY = /(?:^|\/)(?:000|ltx\/)([0-9])\/([0-9a-f]{16})-([0-9a-f]{16})\.ltx$/;

/** The keys of a database's objects at a level, in order. */
export async function keysAt(store: ObjectStore, name: string, level: number): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list(`${name}/`)) {
    if (Number(KEY.exec(key)?.[1] ?? Number.NaN) === level) keys.push(key);
  }
  return keys.sort();
}

/** All keys of a destination, in order. */
export async function allKeys(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list("")) keys.push(key);
  return keys;
}

/** The metadata and bytes of one object. */
export async function readObject(store: ObjectStore, key: string): Promise<RawObject> {
  const body = await store.get(key);
  return { key, bytes: await body.bytes(), metadata: body.metadata };
}

/**
 * Replays the first snapshot and every level-0 object, and proves each claim with an expectation. A later
 * snapshot has to equal the image at its TXID.
 */
export async function provenHistory(store: ObjectStore, name: string): Promise<HistoryPoint[]> {
  const snapshots = await keysAt(store, name, 9);
  const first = snapshots.find((key) => KEY.exec(key)![3] === "1".padStart(16, "0"));
  const keys = [...(first === undefined ? [] : [first]), ...(await keysAt(store, name, 0))];
  const points: HistoryPoint[] = [];
  for (const key of keys) {
    points.push(applyLink(await readObject(store, key), points.at(-1) ?? null));
  }
  for (const key of snapshots) {
    const snapshot = applyTo(await readObject(store, key), null);
    const point = points.find(({ txid }) => txid === snapshot.txid);
    if (point === undefined) throw new Error(`${key} is a snapshot of no TXID of the history`);
    expect(Buffer.compare(snapshot.image, point.image)).toBe(0);
    expect([key, snapshot.metadata["chain"]]).toEqual([key, point.chain]);
  }
  return points;
}

/** The newest image of a proven history. */
export async function newestImage(store: ObjectStore, name: string): Promise<Uint8Array> {
  const newest = (await provenHistory(store, name)).at(-1);
  if (newest === undefined) throw new Error(`nothing is stored of ${name}`);
  return newest.image;
}

function applyLink(object: RawObject, before: HistoryPoint | null): HistoryPoint {
  const applied = applyTo(object, before);
  const previous = before?.chain ?? "0".repeat(64);
  const sha256 = new Bun.CryptoHasher("sha256").update(object.bytes).digest("hex");
  const chain = new Bun.CryptoHasher("sha256")
    .update(Buffer.from(previous, "hex"))
    .update(Buffer.from(sha256, "hex"))
    .digest("hex");
  const { metadata, key } = object;
  expect([key, metadata["sha256"], metadata["prev-chain"], metadata["chain"]]).toEqual([
    key,
    sha256,
    previous,
    chain,
  ]);
  // Captures that waited behind an upload form one link; links never overlap.
  expect([key, Number.parseInt(KEY.exec(key)![2]!, 16)]).toEqual([key, (before?.txid ?? 0) + 1]);
  expect(applied.timeMs).toBeGreaterThanOrEqual(before?.timeMs ?? 0);
  return { ...applied, chain };
}

function applyTo(
  { key, bytes, metadata }: RawObject,
  before: HistoryPoint | null,
): Omit<HistoryPoint, "chain"> & { metadata: ObjectMetadata } {
  const decoder = new LtxDecoder();
  decoder.push(bytes);
  const pages = new Map<number, Uint8Array>();
  while (decoder.next()) pages.set(decoder.pgno, decoder.page.slice());
  const trailer = decoder.finish();
  const header = decoder.header!;
  const size = header.pageSizeBytes;
  const image = new Uint8Array(header.commit * size);
  if (before !== null) image.set(before.image.subarray(0, Math.min(before.image.length, image.length)));
  for (const [pgno, page] of pages) image.set(page, (pgno - 1) * size);
  const sums = Array.from({ length: header.commit }, (_, index) => {
    const known = pages.has(index + 1) ? undefined : before?.sums[index];
    return known ?? pageChecksum(index + 1, image.subarray(index * size, (index + 1) * size));
  });
  const [, , min, max] = KEY.exec(key)!;
  expect([header.minTxid, header.maxTxid] as number[]).toEqual([
    Number.parseInt(min!, 16),
    Number.parseInt(max!, 16),
  ]);
  expect([key, header.flags]).toEqual([key, 0]);
  const pre = before === null ? 0n : checksumOf(before.sums);
  expect([key, header.preApplyChecksum as bigint]).toEqual([key, pre]);
  expect([key, trailer.postApplyChecksum as bigint]).toEqual([key, checksumOf(sums)]);
  expect(metadata["litestream-timestamp"]).toBe(new Date(header.timestampMs).toISOString());
  const { maxTxid: txid, timestampMs: timeMs } = header;
  return { txid, timeMs, key, image, pgnos: [...pages.keys()], sums, metadata };
}

/** The XOR of all page checksums with bit 63 set. No test database reaches the lock page. */
function checksumOf(sums: readonly bigint[]): bigint {
  return sums.reduce((xor, sum) => xor ^ sum, 0n) | (1n << 63n);
}
