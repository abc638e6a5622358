/**
 * Publishes a spool file: puts it create-only as an object with its metadata.
 *
 * Invariants:
 * 1. A file counts as published when its put resolved, or when the key holds an object with our SHA-256,
 *    because an earlier attempt took effect. A later snapshot also counts when the key holds one of the same
 *    state, for snapshots of one state may differ in their WAL fields.
 * 2. An object that differs is never replaced. The caller learns its writer and decides.
 * 3. A file that is read from the disk is hashed again before it is sent. Bytes that differ from the footer's
 *    hash are never sent.
 */
import { closeSync, existsSync, readSync } from "node:fs";
import { hasCode } from "../../errors.ts";
import { hex, isChainLink } from "../../format/chain.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE, LTX_TRAILER_FIELDS, LTX_TRAILER_SIZE } from "../../format/ltx.ts";
import { openOwn, openOwnOrNull } from "../../local/own-file.ts";
import { isIntact, type SpoolFile, type SpoolFileName, spoolChunks } from "../../local/spool.ts";
import { takeBodyOrNull } from "../../local/spool-bodies.ts";
import { checkListed } from "../../recovery/object/check-object.ts";
import { keyOf, listLevel } from "../../storage/bucket/catalog.ts";
import {
  decodeMetadata,
  encodeMetadata,
  type WalrustMetadata,
} from "../../storage/contract/object-metadata.ts";
import type { PutReservation } from "../../storage/contract/put-limit.ts";
import type { ObjectHead, ObjectStore, PutBody, PutOptions } from "../../storage/contract/store.ts";
import { Semaphore } from "../../storage/guard/semaphore.ts";
import { UploadRecord } from "./upload-record.ts";

/**
 * Files up to this size are sent from memory, larger ones from disk: while the store fails, every database
 * holds one file for its put.
 */
const IN_MEMORY_SIZE = 64 << 10;
/** Files up to this size are hashed at once, larger ones in slices beside other work, a few at a time. */
const SYNC_HASH_SIZE = 4 << 20;
/** The upload of a larger file may take parts, and is continued after a failure. */
const CONTINUED_SIZE_MIN = SYNC_HASH_SIZE;
const HASHED_AT_ONCE = 2;
const hashing = new Semaphore(HASHED_AT_ONCE);

/** The outcome for a file. */
export type PublishOutcome =
  | { readonly kind: "published"; readonly key: string; readonly timeMs: number }
  /** The spool file is damaged: it was not sent. */
  | { readonly kind: "damaged"; readonly reason: string }
  /** The key holds another object. */
  | TakenKey;

/** A key that holds another object than the file. */
export interface TakenKey {
  readonly kind: "taken";
  readonly key: string;
  /** The writer and the hash that its metadata names. */
  readonly writer: string | null;
  readonly sha256: string | null;
}

/** The writer of a database, and the store that it writes to. */
export interface Publisher {
  readonly store: ObjectStore;
  readonly name: string;
  readonly writer: string;
  readonly version: string;
  /** The last acknowledged link of the chain, if this process sent it. */
  readonly lastLink?: PublishedLink | null;
}

/** An acknowledged link of the chain. */
export interface PublishedLink extends SpoolFileName {
  /** 64 hex digits. */
  readonly sha256: string;
}

/**
 * Uploads one file.
 * @param reservation a place among all uploads, if one was reserved; the put uses it up
 * @throws WalrustError with a storage code when the store refuses after its retries; the file stays in the
 * spool
 */
export async function publish(
  publisher: Publisher,
  file: SpoolFile,
  signal?: AbortSignal,
  reservation?: PutReservation,
): Promise<PublishOutcome> {
  const { store, name, writer, version } = publisher;
  const key = keyOf(store, name, file);
  const body = await bodyOrNull(file);
  if (body === null) return { kind: "damaged", reason: `${file.path} is not what was captured` };
  const timeMs = timestampOf(file, body);
  const sha256 = hex(file.sha256);
  const metadata = encodeMetadata({
    timeMs,
    sha256,
    chain: hex(file.chain),
    previousChain: isChainLink(file) ? hex(file.previousChain) : null,
    writer,
    version,
  });
  const uploadMemory = file.sizeBytes > CONTINUED_SIZE_MIN ? new UploadRecord(file.path) : null;
  const options: PutOptions = {
    metadata,
    createOnly: true,
    modifiedMs: timeMs,
    contentType: "application/octet-stream",
    sha256,
    ...(signal === undefined ? {} : { signal }),
    ...(reservation === undefined ? {} : { reservation }),
    ...(uploadMemory === null ? {} : { uploadMemory }),
  };
  try {
    const isGuarded = isChainLink(file) && store.capabilities.conditionalPut === "no";
    const before = isGuarded ? await replacedOrNull(publisher, signal) : null;
    if (before !== null) return before;
    await store.put(key, body, options);
    uploadMemory?.end();
    const other = isGuarded ? await otherWriterOrNull(publisher, file, key, signal) : null;
    return other ?? { kind: "published", key, timeMs };
  } catch (error) {
    if (!hasCode(error, "precondition")) throw error;
    const head = await store.head(key, signal === undefined ? {} : { signal });
    // The key exists, so the remembered upload cannot be completed any more. Reconciliation aborts it.
    uploadMemory?.end();
    const metadata = decodeMetadata(key, head.metadata);
    const isLost = metadata.sha256 === null && metadata.writer === null;
    const found = isLost ? await contentOf(store, head, file, signal) : metadata;
    return judgeTaken(key, found, file, timeMs);
  }
}

/**
 * Finds another writer after a put to a store that does not enforce create-only writes, where the other one's
 * check may precede our put and its own put follow it.
 *
 * Say the other writer has replaced our acknowledged object N. If we put N + 1 before it checks for objects
 * beyond N, it finds ours and stops. Otherwise we put N + 1 after its N, and then find its N in place of
 * ours. So when both check after each put, neither is overwritten without one of them stopping.
 */
async function otherWriterOrNull(
  publisher: Publisher,
  file: SpoolFile,
  key: string,
  signal: AbortSignal | undefined,
): Promise<TakenKey | null> {
  return (await replacedOrNull(publisher, signal)) ?? (await beyondOrNull(publisher, file, key, signal));
}

/** The object at the key of our last acknowledged link, if it is not that link any more. */
async function replacedOrNull(
  { store, name, lastLink = null }: Publisher,
  signal: AbortSignal | undefined,
): Promise<TakenKey | null> {
  if (lastLink === null) return null;
  const key = keyOf(store, name, lastLink);
  try {
    const { metadata } = await store.head(key, signal === undefined ? {} : { signal });
    const { sha256, writer } = decodeMetadata(key, metadata);
    const isOurs = sha256 === null || sha256 === lastLink.sha256;
    return isOurs ? null : { kind: "taken", key, writer, sha256 };
  } catch (error) {
    // The link expired after a merge, or was deleted, which reconciliation reports.
    if (hasCode(error, "not-found")) return null;
    throw error;
  }
}

/** The first object beyond the file, which another writer must have put. */
async function beyondOrNull(
  { store, name }: Publisher,
  file: SpoolFile,
  key: string,
  signal: AbortSignal | undefined,
): Promise<TakenKey | null> {
  const options = { startAfter: key, ...(signal === undefined ? {} : { signal }) };
  const others = await listLevel(store, name, 0, options);
  const next = others.find(({ minTxid }) => minTxid > file.maxTxid);
  if (next === undefined) return null;
  const { metadata } = await store.head(next.key, signal === undefined ? {} : { signal });
  const { sha256, writer } = decodeMetadata(next.key, metadata);
  return { kind: "taken", key: next.key, writer, sha256 };
}

/**
 * Reads and judges an object whose metadata the store has lost, and decides whose it is. A later snapshot of
 * the same state counts as ours, by the checksum of the database, which the judge has compared with its
 * pages.
 */
async function contentOf(
  store: ObjectStore,
  { key, sizeBytes, modifiedMs }: ObjectHead,
  file: SpoolFile,
  signal: AbortSignal | undefined,
): Promise<Pick<WalrustMetadata, "sha256" | "chain" | "writer">> {
  const { level, minTxid, maxTxid } = file;
  const object = { key, level, minTxid, maxTxid, sizeBytes, modifiedMs };
  const { facts, findings, sha256 } = await checkListed(store, object, {}, signal);
  const isSound = facts !== null && findings.length === 0;
  const isSameState = isSound && !isChainLink(file) && facts.postApplyChecksum === postApplyChecksumOf(file);
  return {
    sha256: sha256 === null ? null : hex(sha256),
    chain: isSameState ? hex(file.chain) : null,
    writer: null,
  };
}

/** The checksum of the database that a file leads to: the same for every snapshot of one state. */
function postApplyChecksumOf(file: SpoolFile): bigint {
  const trailer = new Uint8Array(LTX_TRAILER_SIZE);
  const fd = openOwn(file.path);
  const position = file.offset + file.sizeBytes - LTX_TRAILER_SIZE;
  try {
    readSync(fd, trailer, 0, LTX_TRAILER_SIZE, position);
  } finally {
    closeSync(fd);
  }
  return new DataView(trailer.buffer).getBigUint64(LTX_TRAILER_FIELDS.postApplyChecksum[0]);
}

/** The bytes to send, or null when their hash is not the footer's. */
async function bodyOrNull(file: SpoolFile): Promise<PutBody | null> {
  if (file.sizeBytes > IN_MEMORY_SIZE) {
    if (!existsSync(file.path)) return null;
    const { path, offset, sizeBytes } = file;
    const isSmall = sizeBytes <= SYNC_HASH_SIZE;
    const isSame = isSmall ? isIntactNow(file) : await hashing.run(() => isIntact(file));
    return isSame ? { kind: "file", path, offset, sizeBytes } : null;
  }
  // These bytes were hashed when the file was written.
  const held = takeBodyOrNull(file);
  if (held !== null) return { kind: "bytes", bytes: held };
  const bytes = readWhole(file);
  if (bytes === null) return null;
  const sha256 = new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
  return sha256 === hex(file.sha256) ? { kind: "bytes", bytes } : null;
}

/** The LTX bytes of a small file, or null when the file is gone or has become shorter. */
function readWhole(file: SpoolFile): Uint8Array | null {
  const fd = openOwnOrNull(file.path);
  if (fd === null) return null;
  const bytes = new Uint8Array(file.sizeBytes);
  try {
    return readSync(fd, bytes, 0, bytes.length, file.offset) === bytes.length ? bytes : null;
  } finally {
    closeSync(fd);
  }
}

function isIntactNow(file: SpoolFile): boolean {
  const hasher = new Bun.CryptoHasher("sha256");
  try {
    for (const chunk of spoolChunks(file)) hasher.update(chunk);
  } catch (error) {
    // The file has become shorter.
    if (hasCode(error, "database")) return false;
    throw error;
  }
  return hasher.digest("hex") === hex(file.sha256);
}

/** The capture time in the LTX header. */
function timestampOf(file: SpoolFile, body: PutBody): number {
  if (body.kind === "bytes") return decodeLtxHeader(body.bytes.subarray(0, LTX_HEADER_SIZE)).timestampMs;
  const header = new Uint8Array(LTX_HEADER_SIZE);
  const fd = openOwn(file.path);
  try {
    readSync(fd, header, 0, LTX_HEADER_SIZE, file.offset);
  } finally {
    closeSync(fd);
  }
  return decodeLtxHeader(header).timestampMs;
}

function judgeTaken(
  key: string,
  { sha256, chain, writer }: Pick<WalrustMetadata, "sha256" | "chain" | "writer">,
  file: SpoolFile,
  timeMs: number,
): PublishOutcome {
  const isSame = sha256 === hex(file.sha256) || (!isChainLink(file) && chain === hex(file.chain));
  return isSame ? { kind: "published", key, timeMs } : { kind: "taken", key, writer, sha256 };
}
