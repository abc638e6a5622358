/**
 * Compacts: merges contiguous objects of one level into one object of the next level.
 *
 * Order: judge every source while it is read → merge into the spool → put create-only → judge the new object
 * as it is in the store (stored-merge.ts) → expire the sources (expiry.ts) after their lifetime. A crash at
 * any point leaves extra objects, never a gap.
 */
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import { CHAIN_ZERO, hex, parseHex32 } from "../../format/chain.ts";
import { formatTxid, levelPrefix } from "../../format/keys.ts";
import { type MergedLtx, mergeLtxInSlices } from "../../format/ltx-merge.ts";
import type { Txid } from "../../format/types.ts";
import { removeSpoolFile, type SpoolFile, SpoolWriter } from "../../local/spool.ts";
import { intactCopyOrNull, localCopyOrNull } from "../../local/spool-cache.ts";
import { keyOf, type LtxObject, listLevel } from "../../storage/bucket/catalog.ts";
import {
  decodeMetadata,
  encodeMetadata,
  type WalrustMetadata,
} from "../../storage/contract/object-metadata.ts";
import type { ContentChecksum, ListOptions, ObjectHead, ObjectStore } from "../../storage/contract/store.ts";
import { SpilledIndex } from "../capture/spilled-index.ts";
import { type Merge, planMergeOrNull } from "./compaction-plan.ts";
import {
  closeSources,
  type MergeSource,
  mergeStreamed,
  openMergeSources,
  type SourceChain,
  STREAMED_SIZE_MIN,
} from "./merge-sources.ts";
import { checkOwnMerge, readSameMerge } from "./stored-merge.ts";
import { chainOf, removeStray } from "./stray-merge.ts";

/** The database to compact. */
export interface CompactionTarget {
  readonly store: ObjectStore;
  readonly name: string;
  readonly spoolFolder: string;
  readonly writer: string;
  readonly version: string;
  readonly env: Env;
  /**
   * Whether every listing asks the store: a person who asks for a compaction may know of objects that this
   * process does not remember. Otherwise remembered objects are enough to find work.
   */
  readonly isListedAnew?: boolean;
}

/** How a listing that looks for work is made. */
export function lookingForWork(
  { isListedAnew = false }: Pick<CompactionTarget, "isListedAnew">,
  signal: AbortSignal | undefined,
): Pick<ListOptions, "isRemembered" | "signal"> {
  return { isRemembered: !isListedAnew, signal };
}

/** The object that a merge made. */
export interface CompactedObject {
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly key: string;
  readonly bytes: number;
  /** The number of its sources, and their bytes. */
  readonly sources: number;
  readonly sourceBytes: number;
  readonly durationMs: number;
}

/** Retained snapshots that were read, by TXID: sound ones with their marks, damaged ones, and times. */
interface ReadSnapshots {
  readonly sound: Map<Txid, number>;
  readonly damaged: Set<Txid>;
  /**
   * The capture time of each snapshot whose header was read and agrees with its metadata; and the size that
   * the snapshot had.
   */
  readonly times: Map<Txid, { readonly timeMs: number; readonly sizeBytes: number }>;
}

/** Digits of a checksum of which a number holds the sum exactly. */
const MARK_DIGITS = 12;

/**
 * A number that shows whether an object is still the one that was judged, in less memory than a SHA-256: its
 * size, plus the beginning of the SHA-256 that its metadata names, plus that of the checksum that the store
 * stated then, if any. Null without a SHA-256: such an object cannot be recognized, and has to be judged
 * anew.
 */
export function markOrNull(
  sha256: string | null,
  sizeBytes: number,
  checksum: ContentChecksum | undefined,
): number | null {
  if (sha256 === null) return null;
  return sizeBytes + beginningOf(sha256) + (checksum === undefined ? 0 : beginningOf(checksum.hex));
}

function beginningOf(hexDigits: string): number {
  return Number.parseInt(hexDigits.slice(0, MARK_DIGITS), 16);
}

/** Whether a mark is that of this object, by the checksum that the store states or, without one then, not. */
export function isMarkOf(mark: number | null, sha256: string | null, head: ObjectHead): boolean {
  const { sizeBytes, checksum } = head;
  const marks = [markOrNull(sha256, sizeBytes, checksum), markOrNull(sha256, sizeBytes, undefined)];
  return mark !== null && marks.includes(mark);
}

/** How far each level goes, and which of its objects were read back and verified. */
export class CompactionProgress {
  /** By level 1 to 3: the TXID up to which the level covers the one below; null: not known. */
  readonly covered: (Txid | 0 | null)[] = [null, null, null, null];
  /** The last object of each level, until it is shown that the next merge continues its history. */
  readonly unproven: (LtxObject | null)[] = [null, null, null, null];
  /** The size from which on the store does not confirm the bytes of an object, as far as it is known. */
  unconfirmedBytes = Number.POSITIVE_INFINITY;
  #verified: Map<string, number | null> | null = null;
  #snapshots: ReadSnapshots | null = null;

  /** Keys of objects that were read back and are sound, with their marks. */
  get verified(): Map<string, number | null> {
    this.#verified ??= new Map();
    return this.#verified;
  }

  /** Retained snapshots that were read back. */
  get snapshots(): ReadSnapshots {
    this.#snapshots ??= { sound: new Map(), damaged: new Set(), times: new Map() };
    return this.#snapshots;
  }
}

/**
 * Merges the new objects of the level below into objects of `level`.
 * @throws WalrustError code "corrupt" or "integrity" naming a bad source, or a storage code
 */
export async function compactInto(
  target: CompactionTarget,
  level: number,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<CompactedObject[]> {
  const { store, name } = target;
  const options = lookingForWork(target, signal);
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
    // Not known until the merge is done: a put that fails may have taken effect, and a longer merge would
    // overlap its object.
    progress.covered[level] = null;
    const beganMs = target.env.monotonicMs();
    if (!(await isContinued(target, merge, progress, signal))) return made;
    const object = await mergeObjects(target, merge, progress, signal);
    made.push({ ...object, durationMs: target.env.monotonicMs() - beganMs });
    progress.covered[level] = object.maxTxid;
  }
}

/** Finds out how far a level goes. */
async function lookUpCovered(
  target: CompactionTarget,
  level: number,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<Txid | 0> {
  const objects = await listLevel(target.store, target.name, level, lookingForWork(target, signal));
  let last: LtxObject | null = null;
  for (const object of objects) if (object.maxTxid > (last?.maxTxid ?? 0)) last = object;
  progress.unproven[level] = last;
  progress.covered[level] = last?.maxTxid ?? 0;
  return last?.maxTxid ?? 0;
}

/**
 * Whether a merge continues the history of the object before it, which another writer may have put. An object
 * of another history is removed when that is safe, and the next compaction makes it anew.
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
  const local = localCopyOrNull(spoolFolder, object);
  if (local !== null) return hex(local.previousChain);
  const { metadata } = await store.head(object.key, signal === undefined ? {} : { signal });
  return decodeMetadata(object.key, metadata).previousChain;
}

/** Merges as many of the sources as have one page size, and verifies the new object. */
async function mergeObjects(
  target: CompactionTarget,
  planned: Merge,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<Omit<CompactedObject, "durationMs">> {
  const { merge, file, metadata } = await writeMerge(target, planned, signal);
  const key = keyOf(target.store, target.name, file);
  try {
    const put = { key, file, metadata };
    const { facts, checksum } = (await putMerged(target.store, key, file, metadata, signal))
      ? await checkOwnMerge(target, put, progress, signal)
      : await readSameMerge(target, put, signal);
    const { object, metadata: found } = facts;
    progress.verified.set(key, markOrNull(found.sha256, object.sizeBytes, checksum));
  } finally {
    removeSpoolFile(file);
  }
  const sourceBytes = merge.sources.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const { level, minTxid, maxTxid, sources } = merge;
  return { level, minTxid, maxTxid, key, bytes: file.sizeBytes, sources: sources.length, sourceBytes };
}

/** A merged file, ready to be put, and the sources that it holds. */
interface WrittenMerge {
  readonly merge: Merge;
  readonly file: SpoolFile;
  readonly metadata: WalrustMetadata;
}

async function writeMerge(
  target: CompactionTarget,
  planned: Merge,
  signal?: AbortSignal,
): Promise<WrittenMerge> {
  const opened = (await isStreamed(target, planned))
    ? []
    : await openMergeSources(target, planned.sources, signal);
  const taken = planned.sources.slice(0, Math.max(1, opened.length));
  const merge: Merge = { ...planned, sources: taken, maxTxid: taken.at(-1)!.maxTxid };
  const spool = new SpoolWriter(target.spoolFolder, merge.level, merge.minTxid, merge.maxTxid);
  try {
    const { header, chain, previousChain } =
      opened.length === 0
        ? await mergeStreamed(target, taken[0]!, spool, signal)
        : await mergeOpened(opened, spool, target, signal);
    const file = spool.finish({ chain: chain === null ? CHAIN_ZERO : parseHex32(chain) });
    const metadata: WalrustMetadata = {
      timeMs: header.timestampMs,
      sha256: hex(file.sha256),
      chain,
      previousChain,
      // Without a chain value, as after Litestream, no writer is named: writers of ours owe one.
      writer: chain === null ? null : target.writer,
      version: target.version,
    };
    return { merge, file, metadata };
  } catch (error) {
    spool.discard();
    throw error;
  } finally {
    closeSources(opened);
  }
}

/** Whether the only source of a merge is read from the store as a stream. */
async function isStreamed({ spoolFolder }: CompactionTarget, { sources }: Merge): Promise<boolean> {
  const [first, second] = sources;
  if (first === undefined || second !== undefined || first.sizeBytes < STREAMED_SIZE_MIN) return false;
  return (await intactCopyOrNull(spoolFolder, first)) === null;
}

/** Merges in slices, between which other databases get their turn. @throws the reason of `signal` */
async function mergeOpened(
  sources: readonly MergeSource[],
  spool: SpoolWriter,
  { spoolFolder, env }: Pick<CompactionTarget, "spoolFolder" | "env">,
  signal: AbortSignal | undefined,
): Promise<MergedLtx & SourceChain> {
  const reads = sources.map(({ read }) => read);
  const indexStore = new SpilledIndex(spoolFolder);
  try {
    const steps = mergeLtxInSlices(reads, (bytes) => spool.write(bytes), { indexStore });
    for (let step = steps.next(); ; step = steps.next()) {
      if (step.done) {
        const { previousChain } = sources[0]!;
        return { ...step.value, chain: sources.at(-1)!.chain, previousChain };
      }
      await env.turn();
      signal?.throwIfAborted();
    }
  } finally {
    indexStore.close();
  }
}

/**
 * Puts the merged object.
 * @returns false when an object exists at the key: an earlier attempt, or another process's merge
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
      { kind: "file", path: file.path, offset: file.offset, sizeBytes: file.sizeBytes },
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
