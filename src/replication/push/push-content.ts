/**
 * The bytes and the metadata of what is pushed: a captured file of the spool, or an object of the bucket.
 *
 * The spool is only read, and nothing in it waits for a push: a file may be gone at any moment. A file whose
 * bytes are not those of its hash is not sent.
 */
import { closeSync, readSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { hex, isChainLink } from "../../format/chain.ts";
import { decodeLtxHeader, LTX_HEADER_SIZE } from "../../format/ltx.ts";
import { openOwnOrNull } from "../../local/own-file.ts";
import { isIntact, SENT_FOLDER, type SpoolFile } from "../../local/spool.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { fileChunks } from "../../storage/contract/object-body.ts";
import { encodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectMetadata, ObjectStore } from "../../storage/contract/store.ts";

/** Files up to this size are sent from memory. */
const IN_MEMORY_SIZE = 64 << 10;

/** Bytes to push. */
export interface PushContent {
  readonly sizeBytes: number;
  readonly metadata: ObjectMetadata;
  readonly body: Uint8Array | AsyncIterable<Uint8Array>;
}

/** The author of an object, for its metadata. */
export interface PushAuthor {
  readonly writer: string;
  readonly version: string;
}

/** Opens a captured file; null when it is gone or damaged. */
export async function spoolContentOrNull(file: SpoolFile, author: PushAuthor): Promise<PushContent | null> {
  // An uploaded file is moved to the uploaded ones.
  const sent = join(dirname(file.path), SENT_FOLDER, basename(file.path));
  return (await contentOrNull(file, author)) ?? (await contentOrNull({ ...file, path: sent }, author));
}

async function contentOrNull(file: SpoolFile, { writer, version }: PushAuthor): Promise<PushContent | null> {
  const { path, offset, sizeBytes } = file;
  try {
    const isSmall = sizeBytes <= IN_MEMORY_SIZE;
    const bytes = readOrNull(path, offset, isSmall ? sizeBytes : LTX_HEADER_SIZE);
    if (bytes === null) return null;
    const isSame = isSmall ? hashOf(bytes) === hex(file.sha256) : await isIntact(file);
    if (!isSame) return null;
    const metadata = encodeMetadata({
      timeMs: decodeLtxHeader(bytes.subarray(0, LTX_HEADER_SIZE)).timestampMs,
      sha256: hex(file.sha256),
      chain: hex(file.chain),
      previousChain: isChainLink(file) ? hex(file.previousChain) : null,
      writer,
      version,
    });
    return { sizeBytes, metadata, body: isSmall ? bytes : fileChunks(path, offset, sizeBytes) };
  } catch {
    // Removed or replaced while it was read: the bucket has what the spool lost.
    return null;
  }
}

/** Opens an object of the bucket. @throws WalrustError with a storage code */
export async function bucketContent(
  store: ObjectStore,
  { key, sizeBytes }: LtxObject,
  signal: AbortSignal,
): Promise<PushContent> {
  const { chunks, metadata } = await store.get(key, { signal });
  return { sizeBytes, metadata, body: chunks };
}

function readOrNull(path: string, offset: number, length: number): Uint8Array | null {
  const fd = openOwnOrNull(path);
  if (fd === null) return null;
  const bytes = new Uint8Array(length);
  try {
    return readSync(fd, bytes, 0, length, offset) === length ? bytes : null;
  } finally {
    closeSync(fd);
  }
}

function hashOf(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}
