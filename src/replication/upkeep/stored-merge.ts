/**
 * Checks a merged object in the store, right after its put: our own, by a checksum of the store or by a
 * download, or one that exists at its key.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import { type SpoolFile, spoolChunks } from "../../local/spool.ts";
import { checkListed, checkObject, type ObjectVerdict } from "../../recovery/object/check-object.ts";
import { judgeConfirmed } from "../../recovery/object/confirmed-object.ts";
import { ContentDigest } from "../../recovery/object/content-digest.ts";
import type { ObjectFacts } from "../../recovery/object/object-links.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { encodeMetadata, type WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import type { ContentChecksum } from "../../storage/contract/store.ts";
import type { CompactionProgress, CompactionTarget } from "./compaction.ts";

/** Bytes of a file that are judged before other work gets its turn. */
const TURN_BYTES = 1 << 20;

/** A merged file, and the object that it became or should have become. */
export interface PutMerge {
  readonly key: string;
  readonly file: SpoolFile;
  readonly metadata: WalrustMetadata;
}

/** A sound object in the store, and the checksum that the store stated when it was judged, if any. */
export interface StoredMerge {
  readonly facts: ObjectFacts;
  readonly checksum: ContentChecksum | undefined;
}

/**
 * Checks an object that was just put. If the store states a checksum of the bytes that it received, nothing
 * is downloaded (recovery/object/confirmed-object.ts). An object that differs from the sent file is removed,
 * because restores would prefer it to its sources.
 * @throws WalrustError code "corrupt" or "integrity" naming the object, or a storage code
 */
export async function checkOwnMerge(
  target: Pick<CompactionTarget, "store" | "env">,
  put: PutMerge,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<StoredMerge> {
  const { store } = target;
  const { key, file } = put;
  const object = { key, ...rangeOf(file), sizeBytes: file.sizeBytes, modifiedMs: 0 };
  const confirmed = await confirmedOrNull(target, put, object, progress, signal);
  const verdict = confirmed?.verdict ?? (await checkListed(store, object, {}, signal));
  const { findings, facts, sha256 } = verdict;
  const [first] = findings;
  const isSame = sha256 !== null && hex(sha256) === hex(file.sha256);
  if (first === undefined && facts !== null && isSame) return { facts, checksum: confirmed?.checksum };
  await store.delete([key], signal === undefined ? {} : { signal });
  throw first?.error ?? new WalrustError("integrity", `${key} is not what was sent`, { context: { key } });
}

/** The verdict on an object by the store's checksum; null when the store confirms nothing. */
async function confirmedOrNull(
  { store, env }: Pick<CompactionTarget, "store" | "env">,
  { key, file, metadata }: PutMerge,
  object: LtxObject,
  progress: CompactionProgress,
  signal?: AbortSignal,
): Promise<{ verdict: ObjectVerdict; checksum: ContentChecksum | undefined } | null> {
  if (file.sizeBytes >= progress.unconfirmedBytes) return null;
  const head = await store.head(key, { signal });
  const chunks = inTurns(spoolChunks(file), () => env.turn());
  const verdict = await judgeConfirmed({ object, metadata: encodeMetadata(metadata), chunks }, head);
  if (verdict !== null) return { verdict, checksum: head.checksum };
  progress.unconfirmedBytes = file.sizeBytes;
  return null;
}

/** Chunks between which other work gets its turn. */
async function* inTurns(chunks: Iterable<Uint8Array>, turn: () => Promise<void>): AsyncGenerator<Uint8Array> {
  let bytes = 0;
  for (const chunk of chunks) {
    yield chunk;
    bytes += chunk.length;
    if (bytes < TURN_BYTES) continue;
    bytes = 0;
    await turn();
  }
}

/**
 * Checks the object that exists at the key of a merge: from an earlier attempt of ours, or another process's
 * merge of the same sources. It counts only if it is sound, leads from the same chain value to the same chain
 * value, and has the same content, page by page.
 * @throws WalrustError code "corrupt" or "integrity" naming the object, or a storage code
 */
export async function readSameMerge(
  { store, env }: Pick<CompactionTarget, "store" | "env">,
  { key, file, metadata: merged }: PutMerge,
  signal?: AbortSignal,
): Promise<StoredMerge> {
  const { sizeBytes, modifiedMs, checksum } = await store.head(key, signal === undefined ? {} : { signal });
  const object = { key, ...rangeOf(file), sizeBytes, modifiedMs };
  const digest = new ContentDigest();
  const { findings, facts, sha256 } = await checkListed(store, object, { receiver: digest }, signal);
  const [first] = findings;
  if (first !== undefined) throw first.error;
  const { metadata } = facts!;
  const isSameChain =
    isSameOrMissing(metadata.chain, merged.chain) &&
    isSameOrMissing(metadata.previousChain, merged.previousChain);
  const isSameFile = sha256 !== null && hex(sha256) === hex(file.sha256);
  if (isSameChain && (isSameFile || digest.value === (await contentOf(file, env))))
    return { facts: facts!, checksum };
  throw new WalrustError("integrity", `${key} was merged from another history`, { context: { key } });
}

function isSameOrMissing(a: string | null, b: string | null): boolean {
  return a === null || b === null || a === b;
}

/** The digest of the content of a merged file. */
async function contentOf(file: SpoolFile, env: Pick<Env, "turn">): Promise<string | null> {
  const receiver = new ContentDigest();
  const { path, sizeBytes } = file;
  const object = { key: path, ...rangeOf(file), sizeBytes, modifiedMs: 0 };
  const chunks = inTurns(spoolChunks(file), () => env.turn());
  await checkObject({ object, metadata: {}, chunks }, { receiver });
  return receiver.value;
}

function rangeOf({ level, minTxid, maxTxid }: SpoolFile): Pick<LtxObject, "level" | "minTxid" | "maxTxid"> {
  return { level, minTxid, maxTxid };
}
