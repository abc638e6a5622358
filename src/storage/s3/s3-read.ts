/**
 * Reads the answer to a GET or HEAD: the head of an object, and its body as chunks that are exactly as long
 * as they have to be. Gateways that send a body in chunks of HTTP, or nothing with a HEAD, do not tell
 * the size: then it is asked for elsewhere.
 */
import { WalrustError } from "../../errors.ts";
import { objectBody } from "../contract/object-body.ts";
import type { ByteRange, ObjectBody, ObjectHead } from "../contract/store.ts";
import type { S3Stream } from "./s3-client.ts";

/** What the names of headers with user metadata begin with. */
export const METADATA_HEADER = "x-amz-meta-";

/** The size that an answer tells, or null. */
export function sizeOrNull(headers: Headers): number | null {
  const text = headers.get("content-length");
  const sizeBytes = text === null || text === "" ? Number.NaN : Number(text);
  return Number.isSafeInteger(sizeBytes) && sizeBytes >= 0 ? sizeBytes : null;
}

/** The head of an object, from the headers of an answer. */
export function headOf(key: string, headers: Headers, sizeBytes: number): ObjectHead {
  const metadata: Record<string, string> = {};
  for (const [name, value] of headers) {
    if (name.startsWith(METADATA_HEADER)) metadata[name.slice(METADATA_HEADER.length)] = value;
  }
  const modifiedMs = Date.parse(headers.get("last-modified") ?? "");
  return { key, sizeBytes, modifiedMs: Number.isFinite(modifiedMs) ? modifiedMs : 0, metadata };
}

/** The body of a whole object of this size. */
export function wholeBody(key: string, stream: S3Stream, sizeBytes: number, action: string): ObjectBody {
  return objectBody(headOf(key, stream.headers, sizeBytes), exactChunks(stream, sizeBytes, action));
}

/** The body of a range. @throws WalrustError "storage" when it is another range than was asked for */
export function rangeBody(key: string, stream: S3Stream, range: ByteRange, action: string): ObjectBody {
  const { headers, status } = stream;
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get("content-range") ?? "");
  const totalBytes = Number(match?.[3]);
  const lengthBytes = Math.min(range.length, totalBytes - range.offset);
  const isAsked = match !== null && Number(match[1]) === range.offset;
  const answerSizeBytes = sizeOrNull(headers) ?? lengthBytes;
  if (status !== 206 || !isAsked || answerSizeBytes !== lengthBytes) {
    throw new WalrustError("storage", `Cannot ${action}: the store did not answer with the range asked for`);
  }
  return objectBody(headOf(key, headers, totalBytes), exactChunks(stream, lengthBytes, action));
}

/** The chunks of a body, which has to be exactly as long as it was announced. */
async function* exactChunks(
  stream: S3Stream,
  expectedBytes: number,
  action: string,
): AsyncGenerator<Uint8Array> {
  let receivedBytes = 0;
  for await (const chunk of stream.chunks) {
    receivedBytes += chunk.byteLength;
    if (receivedBytes > expectedBytes) break;
    yield chunk;
  }
  if (receivedBytes === expectedBytes) return;
  const what = receivedBytes > expectedBytes ? "it goes on after" : `it ended at ${receivedBytes} of`;
  throw new WalrustError("storage", `Cannot ${action}: ${what} ${expectedBytes} bytes`, { retryable: true });
}
