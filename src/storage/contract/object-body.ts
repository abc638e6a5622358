/**
 * The bodies of gets and puts: collects chunks, and reads a region of a local file in bounded memory.
 */
import { type FileHandle, open } from "node:fs/promises";
import { errorMessage, WalrustError } from "../../errors.ts";
import type { ObjectBody, ObjectHead, PutBody } from "./store.ts";

/** The size of the buffer through which a file is read. */
export const CHUNK_SIZE_BYTES = 256 * 1024;

/** An ObjectBody over `chunks`; its `bytes()` collects them. */
export function objectBody(head: ObjectHead, chunks: AsyncIterable<Uint8Array>): ObjectBody {
  return { ...head, chunks, bytes: () => collectChunks(chunks) };
}

/** An ObjectBody over bytes that do not change while it is read. */
export function objectBodyOfBytes(head: ObjectHead, bytes: Uint8Array): ObjectBody {
  return { ...head, chunks: oneChunk(bytes), bytes: async () => bytes.slice() };
}

async function* oneChunk(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  if (bytes.byteLength > 0) yield bytes;
}

/** All chunks in one array: each chunk is copied before the next one is requested. */
export async function collectChunks(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const copies: Uint8Array[] = [];
  for await (const chunk of chunks) copies.push(chunk.slice());
  if (copies.length === 1) return copies[0]!;
  return new Uint8Array(Buffer.concat(copies));
}

/** The size of the content of a put. */
export function putBodySize(body: PutBody): number {
  return body.kind === "bytes" ? body.bytes.byteLength : body.sizeBytes;
}

/** The chunks of the content of a put; a chunk is valid until the next one is requested. */
export function putBodyChunks(body: PutBody): AsyncIterable<Uint8Array> {
  if (body.kind === "bytes") return oneChunk(body.bytes);
  return fileChunks(body.path, body.offset, body.sizeBytes);
}

/** The SHA-256 of the content of a put, as 64 hex digits. */
export async function putBodySha256(body: PutBody): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  if (body.kind === "bytes") return hasher.update(body.bytes).digest("hex");
  for await (const chunk of putBodyChunks(body)) hasher.update(chunk);
  return hasher.digest("hex");
}

/**
 * Reads `sizeBytes` at `offset` of a local file in chunks of 256 KB that share one buffer.
 *
 * @throws WalrustError "storage" when the file cannot be read or ends before the region does.
 */
export async function* fileChunks(
  path: string,
  offset: number,
  sizeBytes: number,
): AsyncGenerator<Uint8Array> {
  const file = await openSource(path);
  try {
    yield* handleChunks(file, path, offset, sizeBytes);
  } finally {
    await file.close();
  }
}

async function openSource(path: string): Promise<FileHandle> {
  try {
    return await open(path, "r");
  } catch (cause) {
    throw new WalrustError("storage", `Cannot read ${path}: ${errorMessage(cause)}`, { cause });
  }
}

/** As `fileChunks`, over an open file that stays open. */
export async function* handleChunks(
  file: FileHandle,
  path: string,
  offset: number,
  sizeBytes: number,
): AsyncGenerator<Uint8Array> {
  const buffer = new Uint8Array(Math.min(CHUNK_SIZE_BYTES, sizeBytes));
  let position = offset;
  const end = offset + sizeBytes;
  while (position < end) {
    const wantedBytes = Math.min(buffer.byteLength, end - position);
    const { bytesRead } = await file.read(buffer, 0, wantedBytes, position);
    if (bytesRead === 0) {
      throw new WalrustError("storage", `Cannot read ${path}: it ends at byte ${position}, expected ${end}`);
    }
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}
