/**
 * A source for replicas, made of objects from whole images of a database, one image for each TXID. A test
 * thus knows the bytes of a replica at each TXID without the code that captures or restores.
 */
import { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CHAIN_ZERO, hex, nextChain, sha256 } from "../../../src/format/chain.ts";
import { pageChecksum, xorChecksum } from "../../../src/format/crc64.ts";
import { FLAG_NO_CHECKSUM } from "../../../src/format/ltx.ts";
import { LtxEncoder } from "../../../src/format/ltx-encoder.ts";
import { CHECKSUM_FLAG, type Checksum, NO_CHECKSUM, type Txid } from "../../../src/format/types.ts";
import { keyOf, listObjects } from "../../../src/storage/bucket/catalog.ts";
import { buildManifest, writeManifest } from "../../../src/storage/bucket/manifest.ts";
import { encodeMetadata } from "../../../src/storage/contract/object-metadata.ts";
import type { ObjectMetadata, ObjectStore } from "../../../src/storage/contract/store.ts";

const FIRST_TIME_MS = Date.UTC(2026, 0, 1);
const WRITER = "0".repeat(32);

/** A history that publishes each state of a database as an object. */
export class SourceHistory {
  /** The bytes of the database at each TXID. */
  readonly images = new Map<number, Buffer>();
  readonly #chains = new Map<number, Uint8Array>([[0, CHAIN_ZERO]]);
  txid = 0;

  /** @param isLitestream objects without chain, SHA-256 and database checksums, and level 0 from TXID 1 on */
  constructor(
    readonly store: ObjectStore,
    readonly name = "app",
    readonly isLitestream = false,
  ) {}

  get newest(): Buffer {
    return this.images.get(this.txid)!;
  }

  /**
   * Publishes a state as the next TXID.
   * @param claimed the state whose database checksum the object carries; another state than `image` makes the
   * object lie
   * @returns the key of the object
   */
  async publish(image: Buffer, claimed: Buffer = image): Promise<string> {
    const txid = ++this.txid;
    this.images.set(txid, image);
    if (txid > 1 || this.isLitestream) return this.put(0, txid, txid, claimed);
    return this.put(9, 1, 1);
  }

  /** Puts the object of a range of TXIDs on a level. */
  async put(level: number, minTxid: number, maxTxid: number, claimed?: Buffer): Promise<string> {
    const images: Buffer[] = [];
    for (let txid = Math.max(1, minTxid - 1); txid <= maxTxid; txid++) images.push(this.images.get(txid)!);
    const postApply = this.isLitestream ? NO_CHECKSUM : checksumOf(claimed ?? images.at(-1)!);
    const bytes = encode(images, minTxid, maxTxid, postApply);
    const range = { level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid };
    const key = keyOf(this.store, this.name, range);
    const isLink = level === 0 || maxTxid === 1;
    if (isLink) this.#chains.set(maxTxid, nextChain(this.#chains.get(minTxid - 1)!, sha256(bytes)));
    await this.store.put(
      key,
      { kind: "bytes", bytes },
      { metadata: this.#metadata(bytes, minTxid, maxTxid) },
    );
    return key;
  }

  /** Merges TXIDs into one object on a level and deletes the increments that the object replaces. */
  async compact(level: number, minTxid: number, maxTxid: number): Promise<void> {
    await this.put(level, minTxid, maxTxid);
    const keys: string[] = [];
    for (let txid = minTxid; txid <= maxTxid; txid++) {
      const range = { level: 0, minTxid: txid as Txid, maxTxid: txid as Txid };
      keys.push(keyOf(this.store, this.name, range));
    }
    await this.store.delete(keys);
  }

  /** Puts a snapshot of the newest TXID and deletes every other object. */
  async snapshotAndPrune(): Promise<void> {
    const objects = await listObjects(this.store, this.name);
    await this.put(9, 1, this.txid);
    const kept = keyOf(this.store, this.name, { level: 9, minTxid: 1 as Txid, maxTxid: this.txid as Txid });
    await this.store.delete(objects.map(({ key }) => key).filter((key) => key !== kept));
  }

  /** Writes the manifest as walrust does; the manifest names the newest TXID. */
  async writeManifest(): Promise<void> {
    const objects = await listObjects(this.store, this.name);
    const txid = this.txid as Txid;
    const chain = hex(this.#chains.get(txid)!);
    const mark = {
      pageSizeBytes: pageSizeOf(this.newest),
      txid,
      timeMs: timeOf(txid),
      chain,
      writer: WRITER,
    };
    await writeManifest(this.store, buildManifest(this.name, objects, mark));
  }

  #metadata(bytes: Uint8Array, minTxid: number, maxTxid: number): ObjectMetadata {
    if (this.isLitestream) return {};
    return encodeMetadata({
      timeMs: timeOf(maxTxid),
      sha256: hex(sha256(bytes)),
      chain: hex(this.#chains.get(maxTxid)!),
      previousChain: hex(this.#chains.get(minTxid - 1)!),
      writer: WRITER,
      version: "test",
    });
  }
}

function timeOf(txid: number): number {
  return FIRST_TIME_MS + txid * 1000;
}

function pageSizeOf(image: Buffer): number {
  const stored = image.readUInt16BE(16);
  return stored === 1 ? 65_536 : stored;
}

function pagesOf(image: Buffer): Buffer[] {
  const size = pageSizeOf(image);
  return Array.from({ length: image.length / size }, (_, index) =>
    image.subarray(index * size, (index + 1) * size),
  );
}

function checksumOf(image: Buffer): Checksum {
  return pagesOf(image).reduce<Checksum>(
    (sum, page, index) => xorChecksum(sum, pageChecksum(index + 1, page)),
    CHECKSUM_FLAG,
  );
}

/** The numbers of the pages that differ between successive images; all pages if the page size changes. */
function changedPgnos(images: readonly Buffer[]): Set<number> {
  const changed = new Set<number>();
  for (const [step, image] of images.entries()) {
    if (step === 0) continue;
    const before = images[step - 1]!;
    const old = pageSizeOf(before) === pageSizeOf(image) ? pagesOf(before) : [];
    for (const [index, page] of pagesOf(image).entries()) {
      // A zero page that the database grew by needs no frame, unless an earlier image had another content
      // there.
      const isHole = images.length === 2 && index >= old.length && page.every((byte) => byte === 0);
      if (!isHole && old[index]?.equals(page) !== true) changed.add(index + 1);
    }
  }
  return changed;
}

/**
 * Encodes an LTX file that leads from the first image over all others to the last. From TXID 1 on, the file
 * holds the whole last image.
 */
function encode(
  images: readonly Buffer[],
  minTxid: number,
  maxTxid: number,
  postApplyChecksum: Checksum,
): Uint8Array {
  const isUnchecked = postApplyChecksum === NO_CHECKSUM;
  const isSnapshot = minTxid === 1;
  const image = images.at(-1)!;
  const pages = pagesOf(image);
  const changed = isSnapshot ? null : changedPgnos(images);
  const chunks: Uint8Array[] = [];
  const header = {
    flags: isUnchecked ? FLAG_NO_CHECKSUM : 0,
    pageSizeBytes: pageSizeOf(image),
    commit: pages.length,
    minTxid: minTxid as Txid,
    maxTxid: maxTxid as Txid,
    timestampMs: timeOf(maxTxid),
    preApplyChecksum: isUnchecked || isSnapshot ? NO_CHECKSUM : checksumOf(images[0]!),
    walOffset: 0,
    walSizeBytes: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
  };
  const encoder = new LtxEncoder(header, (bytes) => chunks.push(bytes.slice()));
  for (const [index, page] of pages.entries()) {
    if (changed === null || changed.has(index + 1)) encoder.page(index + 1, page);
  }
  encoder.finish(postApplyChecksum);
  return new Uint8Array(Buffer.concat(chunks));
}

/** The database of an application whose states are published. */
export class SourceDatabase {
  readonly path: string;
  database: Database;

  constructor(folder: string, pageSizeBytes = 4096) {
    this.path = join(folder, "source.db");
    this.database = new Database(this.path);
    this.database.run(`PRAGMA page_size = ${pageSizeBytes}`);
    this.database.run("PRAGMA journal_mode = WAL");
  }

  /** Runs statements and returns the bytes of the database after them. */
  after(...statements: string[]): Buffer {
    for (const sql of statements) this.database.run(sql);
    const [row] = this.database.query("PRAGMA wal_checkpoint(TRUNCATE)").values() as number[][];
    if (row?.[0] !== 0) throw new Error("the source could not be checkpointed");
    return readFileSync(this.path);
  }

  close(): void {
    this.database.close(true);
  }
}
