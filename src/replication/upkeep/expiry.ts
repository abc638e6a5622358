/**
 * Expires the sources of merges: deletes them when their lifetime is over.
 *
 * A source is deleted only after the object that supersedes it was read back. That object must be sound in
 * every way that a restore demands, and no object beside it may contradict it. It must be proven
 * (recovery/object) by its SHA-256. If the storage lost the SHA-256, a merge of the sources must equal the
 * object. That judgement may be a week old, and the list of objects may be what this process remembers. So
 * right before the deletion, a HEAD of each object that stays shows that it is still the one that was judged,
 * and that it is as old as was remembered.
 */
import type { CompactionConfig } from "../../config/config.ts";
import { WalrustError } from "../../errors.ts";
import { LtxDecoder } from "../../format/ltx-decoder.ts";
import { mergeLtx } from "../../format/ltx-merge.ts";
import { checkListed } from "../../recovery/object/check-object.ts";
import { ContentDigest } from "../../recovery/object/content-digest.ts";
import type { ObjectFacts } from "../../recovery/object/object-links.ts";
import { evidenceFindings, WitnessIndex } from "../../recovery/object/object-witnesses.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import { type CompactionProgress, type CompactionTarget, isMarkOf, markOrNull } from "./compaction.ts";
import { HIGHEST_LEVEL, planExpiry, type Replaced } from "./compaction-plan.ts";
import { closeSources, openMergeSources } from "./merge-sources.ts";
import { coveringOrNull } from "./stray-merge.ts";
import { TxidRanges } from "./txid-ranges.ts";

/** The clocks of this host and of the store may differ by this much. */
const CLOCK_SKEW_MS = 60_000;

/** The outcome for expired objects. */
export interface Expired {
  readonly deleted: readonly string[];
  /** Keys that the store refused to delete, as under an object lock. */
  readonly refused: readonly string[];
}

/**
 * Deletes the objects that verified objects have superseded for longer than their lifetime.
 * @param objects levels 0 to 3, complete: listed or remembered
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
  const candidates = planExpiry(objects, policy, () => true, nowMs).map(({ source }) => source);
  if (candidates.length === 0) return { deleted: [], refused: [] };
  const judged = await verifyReplacements(target, objects, candidates, progress, signal);
  const replaced = planExpiry(objects, policy, ({ key }) => progress.verified.has(key), nowMs);
  const youngerMs = new Map<LtxObject, number>();
  for (const object of new Set(replaced.map(({ replacement }) => replacement))) {
    if (judged.has(object.key)) continue;
    youngerMs.set(object, await assertStillThere(target, object, progress, signal));
  }
  const isOver = ({ replacement, expiresMs }: Replaced): boolean =>
    nowMs + CLOCK_SKEW_MS >= expiresMs + (youngerMs.get(replacement) ?? 0);
  const expired = replaced.filter(isOver).map(({ source }) => source);
  const keys = expired.map(({ key }) => key);
  if (keys.length === 0) return { deleted: [], refused: [] };
  const kept = await target.store.delete(keys, signal === undefined ? {} : { signal });
  const refused = new Set(kept.map(({ key }) => key));
  const gone = expired.filter(({ key }) => !refused.has(key));
  forgetReplaced(objects, gone, progress);
  return { deleted: gone.map(({ key }) => key), refused: [...refused] };
}

/**
 * Checks that an object is still the one that this process has judged before.
 * @returns how much younger the store states it to be than remembered, in ms: our clock may have been wrong
 * at the put. A store without such a time gives less than 0.
 * @throws WalrustError code "not-found" or "integrity" naming the object, or a storage code
 */
async function assertStillThere(
  { store }: CompactionTarget,
  { key, modifiedMs, storedMs = modifiedMs }: LtxObject,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<number> {
  const mark = progress.verified.get(key) ?? null;
  // An object that fails here has to be judged anew.
  progress.verified.delete(key);
  const head = await store.head(key, { signal });
  const { sha256 } = decodeMetadata(key, head.metadata);
  if (!isMarkOf(mark, sha256, head)) {
    const message = `${key} is not the object any more that was verified; its sources are retained`;
    throw new WalrustError("integrity", message, { context: { key } });
  }
  progress.verified.set(key, mark);
  return (head.storedMs ?? head.modifiedMs) - storedMs;
}

/**
 * Judges the objects that cover the candidates, and that a HEAD cannot show to be judged by this process.
 * @returns the keys of the objects that were judged now, and are proven
 */
async function verifyReplacements(
  target: CompactionTarget,
  objects: readonly LtxObject[],
  candidates: readonly LtxObject[],
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<ReadonlySet<string>> {
  const below = rangesBelow(candidates);
  const index = new WitnessIndex(objects);
  const judged = new Set<string>();
  for (const replacement of objects) {
    if (replacement.level < 1 || replacement.level > HIGHEST_LEVEL) continue;
    // An object that cannot be recognized is judged again.
    if ((progress.verified.get(replacement.key) ?? null) !== null) continue;
    progress.verified.delete(replacement.key);
    if (!below[replacement.level]!.hasWithin(replacement)) continue;
    const facts = await provenOrNull(target, objects, replacement, index, signal);
    if (facts === null) continue;
    progress.verified.set(
      replacement.key,
      markOrNull(facts.metadata.sha256, replacement.sizeBytes, undefined),
    );
    judged.add(replacement.key);
  }
  return judged;
}

/**
 * The facts of an object that may supersede its sources.
 * @returns null when nothing contradicts the object, but nothing proves it either
 * @throws WalrustError code "corrupt" or "integrity" naming an unsound object, or a storage code
 */
async function provenOrNull(
  target: CompactionTarget,
  objects: readonly LtxObject[],
  replacement: LtxObject,
  index: WitnessIndex,
  signal?: AbortSignal,
): Promise<ObjectFacts | null> {
  const { store, name, env } = target;
  const { facts, findings } = await checkListed(store, replacement, {}, signal);
  if (findings[0] !== undefined) throw findings[0].error;
  const evidence = await evidenceFindings(store, facts!, index, signal);
  const contradiction = evidence.find(({ severity }) => severity === "error");
  if (contradiction !== undefined) throw contradiction.error;
  if (evidence.length === 0) return facts;
  const sources = coveringOrNull(
    replacement,
    objects.filter(({ level }) => level === replacement.level - 1),
  );
  if (sources === null) {
    env.log.info(`${replacement.key} is not proven; its sources are retained`, { database: name });
    return null;
  }
  if ((await contentOfMerge(target, sources, signal)) === (await contentOf(target, replacement, signal))) {
    return facts;
  }
  throw new WalrustError(
    "integrity",
    `${replacement.key} lost its SHA-256 in the storage, and its content differs from its sources`,
    {
      hint: `\`walrust verify ${name} --read-data\` shows what can be restored`,
      context: { key: replacement.key },
    },
  );
}

/** The digest of the content of a stored object. */
async function contentOf(
  { store }: CompactionTarget,
  object: LtxObject,
  signal?: AbortSignal,
): Promise<string | null> {
  const receiver = new ContentDigest();
  const { findings } = await checkListed(store, object, { receiver }, signal);
  if (findings[0] !== undefined) throw findings[0].error;
  return receiver.value;
}

/** The digest of the content of a merge, without writing more than temporary files. */
async function contentOfMerge(
  target: CompactionTarget,
  objects: readonly LtxObject[],
  signal?: AbortSignal,
): Promise<string | null> {
  const opened = await openMergeSources(target, objects, signal);
  const digest = new ContentDigest();
  const decoder = new LtxDecoder();
  let isBegun = false;
  try {
    const { header, trailer } = mergeLtx(
      opened.map(({ read }) => read),
      (bytes) => {
        decoder.push(bytes);
        while (decoder.next()) {
          if (!isBegun) digest.begin("", decoder.header!);
          isBegun = true;
          digest.page(decoder.pgno, decoder.page);
        }
      },
    );
    if (!isBegun) digest.begin("", header);
    digest.end("", trailer);
    return digest.value;
  } finally {
    closeSources(opened);
  }
}

/** Forgets verified keys whose sources are all deleted. */
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

/** The objects below each level. */
function rangesBelow(objects: readonly LtxObject[]): TxidRanges<LtxObject>[] {
  return Array.from({ length: HIGHEST_LEVEL + 1 }, (_, level) => {
    return new TxidRanges(objects.filter((object) => object.level < level));
  });
}
