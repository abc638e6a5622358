/**
 * A database of a few small pages, of which each commit becomes an object, and its bytes at each TXID. SQLite
 * serializes the images; a test sets the times. Compaction and retention can thus run over simulated days and
 * be compared byte for byte.
 */
import { Database } from "bun:sqlite";
import { CHAIN_ZERO, hex, nextChain, sha256 } from "../../../src/format/chain.ts";
import { SNAPSHOT_LEVEL } from "../../../src/format/keys.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { type Checksum, NO_CHECKSUM, type Txid } from "../../../src/format/types.ts";
import { type SpoolFile, SpoolWriter } from "../../../src/local/spool.ts";
import { keyOf } from "../../../src/storage/bucket/catalog.ts";
import { encodeMetadata } from "../../../src/storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { databaseChecksum } from "../oracles/page-sums-oracle.ts";

const PAGE_SIZE = 512;

/** The writer of the objects of a tiny history. */
export const TINY_WRITER = "7".repeat(32);

/** A captured commit or snapshot, ready for a bucket or a spool. */
export interface TinyObject {
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly timeMs: number;
  readonly bytes: Uint8Array;
  readonly previousChain: Uint8Array | null;
  readonly chain: Uint8Array;
}

/** A database with the images of all its TXIDs. */
export class TinyHistory {
  /** The bytes of the database at each TXID. */
  readonly images = new Map<number, Buffer>();
  /** Chain value at each TXID. */
  readonly chains = new Map<number, Uint8Array>([[0, CHAIN_ZERO]]);
  readonly times = new Map<number, number>();
  txid = 0;
  readonly #database = new Database(":memory:");
  readonly #random: () => number;

  constructor(random: () => number) {
    this.#random = random;
    this.#database.run(`PRAGMA page_size = ${PAGE_SIZE}`);
    this.#database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, v)");
  }

  /**
   * Commits a random change; some changes shrink the database.
   * @returns the first snapshot or an increment
   */
  commit(timeMs: number): TinyObject {
    const dice = this.#random();
    const size = Math.floor(this.#random() * 900);
    if (dice < 0.06) this.#database.run("DELETE FROM t WHERE id % 3 > 0");
    if (dice < 0.03) this.#database.run("VACUUM");
    this.#database.run("INSERT INTO t (v) VALUES (?)", [`${this.txid} `.repeat(size / 4)]);
    if (dice > 0.7) this.#database.run("UPDATE t SET v = ? WHERE id % 5 = 1", [`changed ${this.txid}`]);
    this.txid++;
    this.images.set(this.txid, Buffer.from(this.#database.serialize()));
    this.times.set(this.txid, timeMs);
    return this.txid === 1 ? this.#object(SNAPSHOT_LEVEL, 1, 1) : this.#object(0, this.txid, this.txid);
  }

  /** Takes a snapshot of the newest TXID. */
  snapshot(): TinyObject {
    return this.#object(SNAPSHOT_LEVEL, 1, this.txid);
  }

  #object(level: number, minTxid: number, maxTxid: number): TinyObject {
    const timeMs = this.times.get(maxTxid)!;
    const before = minTxid === 1 ? null : this.images.get(minTxid - 1)!;
    const bytes = encode(before, this.images.get(maxTxid)!, minTxid, maxTxid, timeMs);
    const isLink = level === 0 || maxTxid === 1;
    const previousChain = isLink ? this.chains.get(minTxid - 1)! : null;
    if (previousChain !== null) this.chains.set(maxTxid, nextChain(previousChain, sha256(bytes)));
    const chain = this.chains.get(maxTxid)!;
    const [min, max] = [minTxid as Txid, maxTxid as Txid];
    return { level, minTxid: min, maxTxid: max, timeMs, bytes, previousChain, chain };
  }
}

/** Puts an object as the uploader does. */
export async function putTiny(store: ObjectStore, name: string, object: TinyObject): Promise<string> {
  const key = keyOf(store, name, object);
  const metadata = encodeMetadata({
    timeMs: object.timeMs,
    sha256: hex(sha256(object.bytes)),
    chain: hex(object.chain),
    previousChain: object.previousChain === null ? null : hex(object.previousChain),
    writer: TINY_WRITER,
    version: "test",
  });
  const body = { kind: "bytes", bytes: object.bytes } as const;
  await store.put(key, body, { metadata, createOnly: true, modifiedMs: object.timeMs });
  return key;
}

/** Writes an object into a spool folder as a capture does. */
export function spoolTiny(folder: string, object: TinyObject): SpoolFile {
  const { level, minTxid, maxTxid, bytes, previousChain, chain } = object;
  const writer = new SpoolWriter(folder, level, minTxid, maxTxid);
  writer.write(bytes);
  return writer.finish(previousChain === null ? { chain } : { previousChain });
}

function encode(
  before: Buffer | null,
  image: Buffer,
  minTxid: number,
  maxTxid: number,
  timestampMs: number,
): Uint8Array {
  const chunks: Uint8Array[] = [];
  const header = {
    flags: 0,
    pageSizeBytes: PAGE_SIZE,
    commit: image.length / PAGE_SIZE,
    minTxid: minTxid as Txid,
    maxTxid: maxTxid as Txid,
    timestampMs,
    preApplyChecksum: before === null ? NO_CHECKSUM : checksumOf(before),
    walOffset: 0,
    walSizeBytes: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  const encoder = new LtxEncoder(header, (bytes) => chunks.push(bytes.slice()));
  for (let offset = 0; offset < image.length; offset += PAGE_SIZE) {
    const page = image.subarray(offset, offset + PAGE_SIZE);
    const old = before?.subarray(offset, offset + PAGE_SIZE);
    if (old === undefined || !old.equals(page)) encoder.page(offset / PAGE_SIZE + 1, page);
  }
  encoder.finish(checksumOf(image));
  return new Uint8Array(Buffer.concat(chunks));
}

function checksumOf(image: Buffer): Checksum {
  return databaseChecksum(image, PAGE_SIZE) as Checksum;
}
