/**
 * A history of a database in a MemoryStore, made of real LTX objects with walrust's metadata. It has
 * increments, snapshots, compactions and prunings like those of a watch, but needs no database. Further
 * functions damage the history.
 */
import type { Env } from "../../../src/env.ts";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { CHAIN_ZERO, hex, nextChain, sha256 } from "../../../src/format/chain.ts";
import { manifestKey, objectKey, parseObjectKey } from "../../../src/format/keys.ts";
import type { LtxHeader } from "../../../src/format/ltx.ts";
import { type LtxSource, mergeLtx } from "../../../src/format/ltx-merge.ts";
import { NO_CHECKSUM, type Txid } from "../../../src/format/types.ts";
import { type LtxObject, listObjects } from "../../../src/storage/bucket/catalog.ts";
import { buildManifest, writeManifest } from "../../../src/storage/bucket/manifest.ts";
import type { ObjectMetadata } from "../../../src/storage/contract/store.ts";
import {
  encodeSample,
  pagesChecksum,
  type SamplePage,
  sampleHeader,
  samplePage,
} from "../../format/samples.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

/** The time of TXID 0; each TXID is a second later. */
export const START_MS = Date.UTC(2026, 0, 1);

/** Long after every capture: no object is young any more. */
export const LATER_MS = Date.UTC(2026, 5, 1);

/** An env whose clock stands at LATER_MS and whose random is seeded. */
export function verifyEnv(seed = 1): Env {
  return { ...systemEnv(SILENT_LOG), nowMs: () => LATER_MS, random: seededRandom(seed) };
}

const PAGE_SIZE = 512;
const WRITER = "0123456789abcdef0123456789abcdef";

/** The bytes and metadata of an object. */
export interface StoredObject {
  readonly bytes: Uint8Array;
  readonly metadata: ObjectMetadata;
}

/** A database's history and its location in a store. */
export class History {
  readonly store: MemoryStore;
  readonly name: string;
  txid = 0;
  readonly #random: () => number;
  #pages: SamplePage[] = [];
  /** Chain value by TXID. */
  readonly #chains = new Map<number, Uint8Array>([[0, CHAIN_ZERO]]);

  private constructor(store: MemoryStore, name: string, seed: number) {
    this.store = store;
    this.name = name;
    this.#random = seededRandom(seed);
  }

  /** Begins a history with its first snapshot. */
  static async begin(options: { layout?: "s3" | "file"; seed?: number; pageCount?: number } = {}) {
    const store = new MemoryStore({ layout: options.layout ?? "s3" });
    const history = new History(store, "shop/app", options.seed ?? 1);
    const seed = (options.seed ?? 1) * 100_000;
    for (let pgno = 1; pgno <= (options.pageCount ?? 4); pgno++) {
      history.#pages.push([pgno, samplePage(PAGE_SIZE, seed + pgno)]);
    }
    history.txid = 1;
    await history.#put(9, 1, 1, encodeSample(history.#header(1, 1), history.#pages));
    return history;
  }

  /** Adds `count` increments of one TXID each; some grow the database, some shrink it. */
  async increments(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      const before = pagesChecksum(this.#pages);
      const txid = ++this.txid;
      const changed = this.#change(txid);
      const header = { ...this.#header(txid, txid), preApplyChecksum: before };
      await this.#put(0, txid, txid, encodeSample(header, changed, pagesChecksum(this.#pages)));
    }
  }

  /** Changes the pages as a transaction would. @returns the pages that an increment holds */
  #change(txid: number): SamplePage[] {
    const size = this.#pages.length;
    const newSize = Math.max(2, size + Math.floor(this.#random() * 4) - 1);
    const isChanged = (pgno: number): boolean => pgno > size || this.#random() < 0.3 || pgno === 1;
    const next: SamplePage[] = [];
    const changed: SamplePage[] = [];
    for (let pgno = 1; pgno <= newSize; pgno++) {
      const isNew = isChanged(pgno);
      const page: SamplePage = isNew
        ? [pgno, samplePage(PAGE_SIZE, txid * 1000 + pgno)]
        : this.#pages[pgno - 1]!;
      next.push(page);
      if (isNew) changed.push(page);
    }
    this.#pages = next;
    return changed;
  }

  /** Adds a snapshot of the current state. */
  async snapshot(): Promise<void> {
    if (this.txid === 1) return;
    await this.#put(9, 1, this.txid, encodeSample(this.#header(1, this.txid), this.#pages));
  }

  /** Merges contiguous objects, oldest first, into one of `level`. */
  async compact(level: number, sources: readonly LtxObject[]): Promise<void> {
    const parts: Uint8Array[] = [];
    const stored = await Promise.all(sources.map(({ key }) => this.read(key)));
    mergeLtx(
      stored.map(({ bytes }) => sourceOf(bytes)),
      (bytes) => parts.push(bytes.slice()),
    );
    const bytes = new Uint8Array(Buffer.concat(parts));
    await this.#put(level, sources[0]!.minTxid, sources.at(-1)!.maxTxid, bytes);
  }

  async manifest(): Promise<void> {
    const objects = await this.objects();
    const chain = hex(this.#chains.get(this.txid)!);
    const timeMs = START_MS + this.txid * 1000;
    const mark = { pageSizeBytes: PAGE_SIZE, txid: this.txid as Txid, timeMs, chain, writer: WRITER };
    await writeManifest(this.store, buildManifest(this.name, objects, mark));
  }

  objects(): Promise<LtxObject[]> {
    return listObjects(this.store, this.name);
  }

  /** The objects of a level, oldest first. */
  async level(level: number): Promise<LtxObject[]> {
    const objects = (await this.objects()).filter((object) => object.level === level);
    return objects.sort((a, b) => a.maxTxid - b.maxTxid);
  }

  key(level: number, minTxid: number, maxTxid = minTxid): string {
    return objectKey(this.store.layout, this.name, level, minTxid as Txid, maxTxid as Txid);
  }

  get manifestKey(): string {
    return manifestKey(this.name);
  }

  async read(key: string): Promise<StoredObject> {
    const body = await this.store.get(key);
    return { bytes: await body.bytes(), metadata: body.metadata };
  }

  /** Writes an object as an editor of the bucket would. */
  async write(key: string, { bytes, metadata }: StoredObject): Promise<void> {
    await this.store.put(key, { kind: "bytes", bytes }, { metadata, modifiedMs: START_MS });
  }

  /** Rewrites an object's bytes or metadata without adjusting the other. */
  async edit(key: string, change: (stored: StoredObject) => Partial<StoredObject>): Promise<void> {
    const stored = await this.read(key);
    await this.write(key, { ...stored, ...change(stored) });
  }

  async delete(...keys: string[]): Promise<void> {
    await this.store.delete(keys);
  }

  #header(minTxid: number, maxTxid: number): LtxHeader {
    return sampleHeader({
      pageSizeBytes: PAGE_SIZE,
      commit: this.#pages.length,
      minTxid: minTxid as Txid,
      maxTxid: maxTxid as Txid,
      timestampMs: START_MS + maxTxid * 1000,
      preApplyChecksum: NO_CHECKSUM,
    });
  }

  async #put(level: number, minTxid: number, maxTxid: number, bytes: Uint8Array): Promise<void> {
    const digest = sha256(bytes);
    const isLink = level === 0 || maxTxid === 1;
    const previous = this.#chains.get(minTxid - 1)!;
    if (isLink) this.#chains.set(maxTxid, nextChain(previous, digest));
    const metadata: Record<string, string> = {
      "litestream-timestamp": new Date(START_MS + maxTxid * 1000).toISOString(),
      sha256: hex(digest),
      chain: hex(this.#chains.get(maxTxid)!),
      "walrust-writer": WRITER,
      "walrust-version": "test",
    };
    if (level !== 9 || maxTxid === 1) metadata["prev-chain"] = hex(previous);
    await this.write(this.key(level, minTxid, maxTxid), { bytes, metadata });
  }
}

function sourceOf(bytes: Uint8Array): LtxSource {
  let offset = 0;
  return (target) => {
    const count = Math.min(target.length, bytes.length - offset);
    target.set(bytes.subarray(offset, offset + count));
    offset += count;
    return count;
  };
}

/**
 * A store of files that Litestream wrote: `<level>-<min>-<max>.ltx` → bytes. Their metadata is empty, or a
 * timestamp.
 */
export async function litestreamStore(
  layout: "s3" | "file",
  files: ReadonlyMap<string, Uint8Array>,
  timeOf: (bytes: Uint8Array) => number,
): Promise<MemoryStore> {
  const store = new MemoryStore({ layout });
  for (const [name, bytes] of files) {
    const [, level, rest] = /^([0-9])-(.+)$/.exec(name)!;
    const key = layout === "s3" ? `app/000${level}/${rest}` : `app/ltx/${level}/${rest}`;
    if (parseObjectKey(layout, key) === null) throw new Error(`${name} is no LTX file`);
    const timeMs = timeOf(bytes);
    const metadata: ObjectMetadata =
      layout === "s3" ? { "litestream-timestamp": new Date(timeMs).toISOString() } : {};
    await store.put(key, { kind: "bytes", bytes }, { metadata, modifiedMs: timeMs });
  }
  return store;
}
