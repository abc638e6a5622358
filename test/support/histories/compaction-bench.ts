/**
 * A bucket with a tiny history to compact. A test chooses the objects that the spool holds too. A judge
 * applies the objects one by one with the LTX decoder alone.
 */
import { mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { LtxDecoder } from "../../../src/format/ltx-decoder.ts";
import { SENT_FOLDER } from "../../../src/local/spool.ts";
import type { CompactionTarget } from "../../../src/replication/upkeep/compaction.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { readObject } from "../oracles/history-oracle.ts";
import { recordingEnv } from "../recording-log.ts";
import { seededRandom } from "../seeded-random.ts";
import { FaultyStore } from "../servers/faulty-store.ts";
import { MemoryStore } from "../servers/memory-store.ts";
import { tempFolder } from "../temp.ts";
import { putTiny, spoolTiny, TINY_WRITER, TinyHistory } from "./tiny-history.ts";

/** When TXID 1 of a bench was captured. */
export const BENCH_START_MS = Date.UTC(2026, 2, 1, 12);

/** A history, its store, and the compaction under test. */
export interface CompactionBench {
  readonly history: TinyHistory;
  readonly store: FaultyStore;
  readonly target: CompactionTarget;
  /** Sets the clock. */
  setNow(nowMs: number): void;
  /** Keys of level 0, by TXID. */
  readonly keys: ReadonlyMap<number, string>;
}

/**
 * Puts TXIDs 1 to `count` into a store, captured one second apart.
 * @param isLocal whether the spool holds a TXID too
 */
export async function compactionBench(
  count: number,
  isLocal: (txid: number) => boolean = () => false,
  store: ObjectStore = new MemoryStore(),
): Promise<CompactionBench> {
  const history = new TinyHistory(seededRandom(count));
  let nowMs = BENCH_START_MS + count * 1000;
  const { env } = recordingEnv({ nowMs: () => nowMs, turn: () => Promise.resolve() });
  const faulty = new FaultyStore(store);
  const spoolFolder = tempFolder("spool");
  mkdirSync(join(spoolFolder, SENT_FOLDER));
  const keys = new Map<number, string>();
  for (let txid = 1; txid <= count; txid++) {
    const object = history.commit(BENCH_START_MS + txid * 1000);
    keys.set(txid, await putTiny(faulty, "app", object));
    if (!isLocal(txid)) continue;
    const { path } = spoolTiny(spoolFolder, object);
    renameSync(path, join(spoolFolder, SENT_FOLDER, basename(path)));
  }
  faulty.calls.length = 0;
  const target = { store: faulty, name: "app", spoolFolder, writer: TINY_WRITER, version: "test", env };
  return { history, store: faulty, target, keys, setNow: (ms) => void (nowMs = ms) };
}

/** The image after applying an object to the image `before`, page by page. */
export async function applied(store: ObjectStore, key: string, before: Uint8Array): Promise<Uint8Array> {
  const { bytes } = await readObject(store, key);
  const decoder = new LtxDecoder();
  decoder.push(bytes);
  const pages = new Map<number, Uint8Array>();
  while (decoder.next()) pages.set(decoder.pgno, decoder.page.slice());
  decoder.finish();
  const { commit, pageSizeBytes } = decoder.header!;
  const image = new Uint8Array(commit * pageSizeBytes);
  image.set(before.subarray(0, Math.min(before.length, image.length)));
  for (const [pgno, page] of pages) image.set(page, (pgno - 1) * pageSizeBytes);
  return image;
}

/** Flips one bit of the bytes of an object in a memory store. */
export async function flip(store: ObjectStore, key: string, offset: number): Promise<void> {
  const { bytes, metadata } = await readObject(store, key);
  bytes[offset]! ^= 1;
  await store.put(key, { kind: "bytes", bytes }, { metadata });
}
