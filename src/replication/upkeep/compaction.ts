/**
 * Compaction: contiguous objects of one level become one object of the next, and what verified objects have
 * replaced is deleted when its time has come.
 *
 * Order: merge into the spool (every source verified while it is read) → put create-only → read the new
 * object back from the store and verify it in full → only then may anything it covers be deleted, and only
 * after its lifetime. A crash anywhere leaves extra objects, never a gap. Sources come from the spool where
 * it still has them, else from the store through a temporary file, so memory stays bounded.
 */
import { closeSync, readSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { CompactionConfig } from "../../config/config.ts";
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex, parseHex32 } from "../../format/chain.ts";
import { formatTxid, levelPrefix, parseObjectKey } from "../../format/keys.ts";
import { LtxDecoder } from "../../format/ltx-decoder.ts";
import { type LtxSource, mergeLtx } from "../../format/ltx-merge.ts";
import type { Txid } from "../../format/types.ts";
import { createTemp, openOwn, writeWhole } from "../../local/own-file.ts";
import { isIntact, ltxPageSizeOrNull, type SpoolFile, SpoolWriter } from "../../local/spool.ts";
import { localFileOrNull } from "../../local/spool-cache.ts";
import { keyOf, type LtxObject, listLevel, withKey } from "../../storage/bucket/catalog.ts";
import {
  decodeMetadata,
  encodeMetadata,
  type WalrustMetadata,
} from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { HIGHEST_LEVEL, type Merge, planExpiry, planMergeOrNull } from "./compaction-plan.ts";
import { chainOf, lastCoveredOrNull, removeStray } from "./stray-merge.ts";
import { TxidRanges } from "./txid-ranges.ts";

/** The database to compact. */
export interface CompactionTarget {
  readonly store: ObjectStore;
  readonly name: string;
  readonly spoolFolder: string;
  readonly writer: string;
  readonly version: string;
  readonly env: Env;
}

/** What one merge made. */
export interface CompactedObject {
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly key: string;
  readonly bytes: number;
  /** Objects it replaces, and their bytes. */
  readonly sources: number;
  readonly sourceBytes: number;
}

/** How far each level has been made, and which of its objects were read back and verified. */
export class CompactionProgress {
  /** By level 1 to 3: the TXID up to which it covers the level below; null: not known yet. */
  readonly covered: (Txid | 0 | null)[] = [null, null, null, null];
  /** The object of each level that ends there, while it is not known that the next one may follow it. */
  readonly unproven: (LtxObject | null)[] = [null, null, null, null];
  readonly verified = new Set<string>();
}

/**
 * Makes what is new on the level below `level` into objects of `level`.
 * @throws WalrustError code "corrupt" or "integrity" naming a bad source, or a storage code
 */
export async function compactInto(
  target: CompactionTarget,
  level: number,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<CompactedObject[]> {
  const { store, name } = target;
  const options = signal === undefined ? {} : { signal };
  const covered = progress.covered[level] ?? (await lookUpCovered(target, level, progress, signal));
  const startAfter = `${levelPrefix(store.layout, name, level - 1)}${formatTxid((covered + 1) as Txid)}`;
  const sources = await listLevel(
    store,
    name,
    level - 1,
    covered === 0 ? options : { ...options, startAfter },
  );
  const made: CompactedObject[] = [];
  for (;;) {
    signal?.throwIfAborted();
    const merge = planMergeOrNull(sources, progress.covered[level] ?? 0, level);
    if (merge === null) return made;
    // Not known until it is done: a put that fails may have taken effect, and a longer merge would overlap
    // it.
    progress.covered[level] = null;
    if (!(await isContinued(target, merge, progress, signal))) return made;
    const object = await mergeObjects(target, merge, progress, signal);
    made.push(object);
    progress.covered[level] = object.maxTxid;
  }
}

/** How far a level has been made, as the store lists it. */
async function lookUpCovered(
  { store, name }: CompactionTarget,
  level: number,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<Txid | 0> {
  const objects = await listLevel(store, name, level, signal === undefined ? {} : { signal });
  let last: LtxObject | null = null;
  for (const object of objects) if (object.maxTxid > (last?.maxTxid ?? 0)) last = object;
  progress.unproven[level] = last;
  progress.covered[level] = last?.maxTxid ?? 0;
  return last?.maxTxid ?? 0;
}

/**
 * Whether a merge goes on from the object before it, which another writer may have put. One that is of
 * another history is removed when that is safe, and made anew the next time.
 * @throws as `removeStray`
 */
async function isContinued(
  target: CompactionTarget,
  merge: Merge,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<boolean> {
  const { store, spoolFolder } = target;
  const before = progress.unproven[merge.level] ?? null;
  const [first] = merge.sources;
  if (before === null || first === undefined || before.maxTxid + 1 !== merge.minTxid) return true;
  const chain = await chainOf(store, before.key, signal);
  const previousChain = await previousChainOf(store, spoolFolder, first, signal);
  if (chain !== null && previousChain !== null && chain !== previousChain) {
    await removeStray(target, before, previousChain, signal);
    return false;
  }
  progress.unproven[merge.level] = null;
  return true;
}

async function previousChainOf(
  store: ObjectStore,
  spoolFolder: string,
  object: LtxObject,
  signal?: AbortSignal,
): Promise<string | null> {
  const local = localFileOrNull(spoolFolder, object);
  if (local !== null && local.sizeBytes === object.sizeBytes) return hex(local.previousChain);
  const { metadata } = await store.head(object.key, signal === undefined ? {} : { signal });
  return decodeMetadata(object.key, metadata).previousChain;
}

/**
 * Opens the sources of a merge, up to the first one with another page size: a database that was replaced by
 * one with other pages goes on in a merge of its own.
 */
async function openSources(
  target: CompactionTarget,
  { sources }: Merge,
  signal?: AbortSignal,
): Promise<OpenSource[]> {
  const opened: OpenSource[] = [];
  try {
    for (const source of sources) {
      const open = await openSource(target, source, signal);
      if (opened[0] !== undefined && open.pageSizeBytes !== opened[0].pageSizeBytes) {
        open.close();
        break;
      }
      opened.push(open);
      await target.env.turn();
    }
    return opened;
  } catch (error) {
    for (const source of opened) source.close();
    throw error;
  }
}

/** Executes one merge, of as many of its sources as have one page size, and verifies what it made. */
async function mergeObjects(
  target: CompactionTarget,
  planned: Merge,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<CompactedObject> {
  const { store, name, spoolFolder } = target;
  const opened = await openSources(target, planned, signal);
  const taken = planned.sources.slice(0, opened.length);
  const merge: Merge = { ...planned, sources: taken, maxTxid: taken.at(-1)!.maxTxid };
  const spool = new SpoolWriter(spoolFolder, merge.level, merge.minTxid, merge.maxTxid);
  try {
    const { header } = mergeLtx(
      opened.map(({ read }) => read),
      (bytes) => spool.write(bytes),
    );
    const chain = opened.at(-1)!.chain;
    const file = spool.finish({ chain: chain === null ? CHAIN_ZERO : parseHex32(chain) });
    const key = keyOf(store, name, file);
    const metadata: WalrustMetadata = {
      timeMs: header.timestampMs,
      sha256: hex(file.sha256),
      chain,
      previousChain: opened[0]!.previousChain,
      // Without a chain it is as Litestream's objects are, and says nothing of a writer who would owe one.
      writer: chain === null ? null : target.writer,
      version: target.version,
    };
    try {
      const isOurs = await putMerged(store, key, file, metadata, signal);
      if (!isOurs) await assertSameHistory(store, key, chain, signal);
      await verifyOrRemove(store, key, isOurs, signal);
    } finally {
      rmSync(file.path, { force: true });
    }
    progress.verified.add(key);
    const sourceBytes = merge.sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    const { level, minTxid, maxTxid, sources } = merge;
    return { level, minTxid, maxTxid, key, bytes: file.sizeBytes, sources: sources.length, sourceBytes };
  } catch (error) {
    spool.discard();
    throw error;
  } finally {
    for (const source of opened) source.close();
  }
}

/**
 * Puts the merged object; one that exists is somebody's earlier try and is verified instead of written again.
 */
async function putMerged(
  store: ObjectStore,
  key: string,
  file: SpoolFile,
  metadata: WalrustMetadata,
  signal?: AbortSignal,
): Promise<boolean> {
  try {
    await store.put(
      key,
      { kind: "file", path: file.path, offset: 0, sizeBytes: file.sizeBytes },
      {
        metadata: encodeMetadata(metadata),
        createOnly: true,
        sha256: hex(file.sha256),
        contentType: "application/octet-stream",
        ...(metadata.timeMs === null ? {} : { modifiedMs: metadata.timeMs }),
        ...(signal === undefined ? {} : { signal }),
      },
    );
    return true;
  } catch (error) {
    if (!hasCode(error, "precondition")) throw error;
    return false;
  }
}

/** @throws WalrustError code "integrity" when what is stored at the key leads elsewhere */
async function assertSameHistory(
  store: ObjectStore,
  key: string,
  chain: string | null,
  signal?: AbortSignal,
): Promise<void> {
  const found = await chainOf(store, key, signal);
  if (found === null || chain === null || found === chain) return;
  throw new WalrustError("integrity", `${key} was merged from another history`, { context: { key } });
}

/** Reads a merged object back. One of ours that is not what was sent is removed: restores would prefer it. */
async function verifyOrRemove(
  store: ObjectStore,
  key: string,
  isOurs: boolean,
  signal?: AbortSignal,
): Promise<void> {
  try {
    await verifyObject(store, key, signal);
  } catch (error) {
    const isBad = hasCode(error, "corrupt") || hasCode(error, "integrity");
    if (isOurs && isBad) await store.delete([key], signal === undefined ? {} : { signal });
    throw error;
  }
}

/**
 * Reads an object back and checks its SHA-256, its header against its key, and all LTX checksums.
 * @throws WalrustError code "corrupt" or "integrity" naming the object
 */
export async function verifyObject(store: ObjectStore, key: string, signal?: AbortSignal): Promise<void> {
  const body = await store.get(key, signal === undefined ? {} : { signal });
  const metadata = decodeMetadata(key, body.metadata);
  const hasher = new Bun.CryptoHasher("sha256");
  const decoder = new LtxDecoder();
  for await (const chunk of body.chunks) {
    hasher.update(chunk);
    withKey(key, () => decoder.push(chunk));
    while (withKey(key, () => decoder.next())) {
      // Each page is checked by being decoded.
    }
  }
  withKey(key, () => decoder.finish());
  const { header } = decoder;
  const named = parseObjectKey(store.layout, key);
  if (header?.minTxid !== named?.minTxid || header?.maxTxid !== named?.maxTxid) {
    throw new WalrustError(
      "integrity",
      `${key} is TXID ${header?.minTxid} to ${header?.maxTxid} by its header`,
      {
        context: { key },
      },
    );
  }
  const sha256 = hasher.digest("hex");
  if (metadata.sha256 !== null && metadata.sha256 !== sha256) {
    throw new WalrustError(
      "integrity",
      `${key} has SHA-256 ${sha256}, its metadata says ${metadata.sha256}`,
      {
        context: { key },
      },
    );
  }
}

interface OpenSource {
  readonly read: LtxSource;
  /** Null when its header cannot be read; the merge reports that. */
  readonly pageSizeBytes: number | null;
  readonly chain: string | null;
  readonly previousChain: string | null;
  readonly close: () => void;
}

/** Opens a source for reading: from the spool if it is still there, else through a temporary file. */
async function openSource(
  target: CompactionTarget,
  source: LtxObject,
  signal?: AbortSignal,
): Promise<OpenSource> {
  const local = localFileOrNull(target.spoolFolder, source);
  if (local !== null && local.sizeBytes === source.sizeBytes && (await isIntact(local))) {
    const { chain, previousChain, sizeBytes } = local;
    return {
      ...openFile(local.path, sizeBytes, false),
      chain: hex(chain),
      previousChain: hex(previousChain),
    };
  }
  const name = `merge-${source.level}-${formatTxid(source.minTxid)}-${formatTxid(source.maxTxid)}.ltx`;
  const body = await target.store.get(source.key, signal === undefined ? {} : { signal });
  const metadata = decodeMetadata(source.key, body.metadata);
  const hasher = new Bun.CryptoHasher("sha256");
  const { fd, path } = createTemp(join(target.spoolFolder, name));
  try {
    for await (const chunk of body.chunks) {
      hasher.update(chunk);
      writeWhole(fd, chunk);
    }
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  } finally {
    closeSync(fd);
  }
  if (metadata.sha256 !== null && metadata.sha256 !== hasher.digest("hex")) {
    rmSync(path, { force: true });
    throw new WalrustError("integrity", `${source.key} is not what its SHA-256 says; it is not compacted`, {
      context: { key: source.key },
    });
  }
  const { chain, previousChain } = metadata;
  return { ...openFile(path, source.sizeBytes, true), chain, previousChain };
}

/**
 * A file as a merge source; opened at its first read, so that many sources need no descriptor each for long.
 */
function openFile(
  path: string,
  sizeBytes: number,
  isTemporary: boolean,
): Pick<OpenSource, "read" | "pageSizeBytes" | "close"> {
  let offset = 0;
  let fd: number | null = null;
  const read = (buffer: Uint8Array): number => {
    fd ??= openOwn(path);
    const count = readSync(fd, buffer, 0, Math.min(buffer.length, sizeBytes - offset), offset);
    offset += count;
    return count;
  };
  const close = (): void => {
    if (fd !== null) closeSync(fd);
    if (isTemporary) rmSync(path, { force: true });
  };
  return { read, pageSizeBytes: ltxPageSizeOrNull(path), close };
}

/** What became of replaced objects. */
export interface Expired {
  readonly deleted: readonly string[];
  /** The store's owner wants them kept. */
  readonly refused: readonly string[];
}

/**
 * Deletes what verified objects have replaced for longer than its lifetime.
 * @param objects a complete listing of levels 0 to 3
 * @returns the deleted keys, and those that the store refused to delete
 */
export async function expire(
  target: CompactionTarget,
  objects: readonly LtxObject[],
  policy: CompactionConfig,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<Expired> {
  const nowMs = target.env.nowMs();
  const candidates = planExpiry(objects, policy, () => true, nowMs);
  if (candidates.length === 0) return { deleted: [], refused: [] };
  await verifyReplacements(target, objects, candidates, progress, signal);
  const expired = planExpiry(objects, policy, ({ key }) => progress.verified.has(key), nowMs);
  const keys = expired.map(({ key }) => key);
  if (keys.length === 0) return { deleted: [], refused: [] };
  const kept = await target.store.delete(keys, signal === undefined ? {} : { signal });
  const refused = new Set(kept.map(({ key }) => key));
  const gone = expired.filter(({ key }) => !refused.has(key));
  forgetReplaced(objects, gone, progress);
  return { deleted: gone.map(({ key }) => key), refused: [...refused] };
}

/** Verifies the objects that cover the candidates, where that was not done yet (made before a restart). */
async function verifyReplacements(
  target: CompactionTarget,
  objects: readonly LtxObject[],
  candidates: readonly LtxObject[],
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<void> {
  const below = rangesBelow(candidates);
  const levels = Array.from({ length: HIGHEST_LEVEL + 1 }, (_, level) => {
    return objects.filter((object) => object.level === level);
  });
  for (const replacement of objects) {
    if (replacement.level < 1 || replacement.level > HIGHEST_LEVEL) continue;
    if (progress.verified.has(replacement.key) || !below[replacement.level]!.hasWithin(replacement)) continue;
    await verifyObject(target.store, replacement.key, signal);
    const last = lastCoveredOrNull(replacement, levels[replacement.level - 1]!);
    if (last !== null)
      await assertSameHistory(
        target.store,
        replacement.key,
        await chainOf(target.store, last.key, signal),
        signal,
      );
    progress.verified.add(replacement.key);
  }
}

/** A verified key whose sources are all gone needs no place in memory any more. */
function forgetReplaced(
  objects: readonly LtxObject[],
  expired: readonly LtxObject[],
  progress: CompactionProgress,
): void {
  const gone = new Set(expired.map(({ key }) => key));
  const below = rangesBelow(objects.filter(({ key }) => !gone.has(key)));
  for (const replacement of objects) {
    if (!progress.verified.has(replacement.key) || replacement.level > HIGHEST_LEVEL) continue;
    if (!below[replacement.level]!.hasWithin(replacement)) progress.verified.delete(replacement.key);
  }
}

/** For each level, the objects below it. */
function rangesBelow(objects: readonly LtxObject[]): TxidRanges<LtxObject>[] {
  return Array.from({ length: HIGHEST_LEVEL + 1 }, (_, level) => {
    return new TxidRanges(objects.filter((object) => object.level < level));
  });
}
