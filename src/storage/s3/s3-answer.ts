/**
 * Judges and reads the answers of S3.
 *
 * A captive portal, a load balancer or a wrong endpoint answers 200 to everything; taken for the store, it
 * would acknowledge uploads that nobody holds. So a status alone proves nothing: a request has succeeded if
 * and only if the answer carries what S3 promises for it.
 *
 *     PUT of an object or a part    status 200 and an ETag
 *     GET, HEAD of an object        an ETag, a Last-Modified or metadata
 *     CompleteMultipartUpload,      status 200 and their result document
 *     CreateMultipartUpload,
 *     DeleteObjects, listings
 *     DELETE                        status 204, or 200 without a document of something else
 *
 * No answer of S3 to these requests is HTML. An answer that fails this test is "not the store": a retryable
 * error, because such answers end when the network or the balancer works again.
 *
 * A body is read to exactly the length that was announced. Gateways that send it with chunked encoding, or
 * send no length with a HEAD, do not announce it; the caller then asks for the size elsewhere.
 */
import { WalrustError } from "../../errors.ts";
import { objectBody } from "../contract/object-body.ts";
import type { ByteRange, ContentChecksum, ObjectBody, ObjectHead } from "../contract/store.ts";
import type { S3Stream } from "./s3-client.ts";
import { parseXmlOrNull, type XmlElement } from "./s3-xml.ts";

/** The name, in an error's context, of the answer that came instead. */
const NOT_THE_STORE = "notTheStore";

const HINT =
  "Something between this machine and the store answered in its place (the sign-in page of a network, a " +
  "proxy, a load balancer without a backend), or the endpoint is no S3 endpoint: " +
  "check the endpoint and the network";

/** The part of an answer that is judged. */
export interface JudgedAnswer {
  readonly status: number;
  readonly headers: Headers;
}

/**
 * The error for an answer that is not the store's.
 * @param action as in "put k to s3://bucket"
 * @param found the answer that came, as in "200 without an ETag"
 * @param hint names the cause, if it is known
 */
export function notTheStore(action: string, found: string, hint = HINT): WalrustError {
  return new WalrustError("storage", `Cannot ${action}: the answer is not the store's: ${found}`, {
    hint,
    context: { [NOT_THE_STORE]: found },
    retryable: true,
  });
}

/** Whether an error stands for an answer that is not the store's. */
export function isNotTheStore(error: unknown): error is WalrustError {
  return error instanceof WalrustError && error.context[NOT_THE_STORE] !== undefined;
}

/** The answer that came instead of the store's, as in "200 without an ETag". */
export function strangeAnswerOf(error: WalrustError): string {
  return String(error.context[NOT_THE_STORE] ?? "");
}

/**
 * Whether an answer is a page for people: HTML with a body. An empty body that is called HTML is none, nor is
 * an HTML page with 5xx, which a server sends for a store that will be back.
 */
export function isPage(method: string, { status, headers }: JudgedAnswer): boolean {
  const isEmpty = method === "HEAD" || status === 204 || headers.get("content-length") === "0";
  return !isEmpty && (status < 500 || status === 501) && isHtml(headers);
}

function isHtml(headers: Headers): boolean {
  return /^\s*(text\/html|application\/xhtml\+xml)\b/i.test(headers.get("content-type") ?? "");
}

/** The ETag of an object or a part that was put. @throws WalrustError "not the store" */
export function putEtag(answer: JudgedAnswer, action: string): string {
  const { status, headers } = answer;
  if (status !== 200) throw notTheStore(action, `${status}, expected 200 and an ETag`);
  const etag = headers.get("etag") ?? "";
  if (etag === "" || etag === '""') throw notTheStore(action, "200 without an ETag");
  return etag;
}

/** @throws WalrustError "not the store" unless the headers are those of an object */
export function assertObjectAnswer(answer: JudgedAnswer, action: string): void {
  const { status, headers } = answer;
  // No object of ours is HTML. `isPage` does not see a HEAD, whose answer has no body.
  if (isHtml(headers)) throw notTheStore(action, `${status} with an HTML page`);
  if (status !== 200 && status !== 206) throw notTheStore(action, `${status}, expected 200`);
  if (headers.has("etag") || headers.has("last-modified")) return;
  for (const name of headers.keys()) if (name.startsWith("x-amz-meta-")) return;
  throw notTheStore(action, `${status} without an ETag and a Last-Modified`);
}

/**
 * The root element of an answer's document. It may be an `<Error>`, which S3 sends with status 200 too; the
 * caller reads it.
 * @throws WalrustError "not the store" for any other element than `root`
 */
export function documentOf(
  answer: JudgedAnswer & { readonly text: string },
  root: string,
  action: string,
): XmlElement {
  const { status, text } = answer;
  const [found] = parseXmlOrNull(text)?.children ?? [];
  if (status === 200 && (found?.name === root || found?.name === "Error")) return found;
  const other = text === "" ? "no body" : "a body that is no document of S3";
  const what = found === undefined ? other : `a <${found.name.slice(0, 80)}>`;
  throw notTheStore(action, `${status} with ${what}, expected 200 and a <${root}>`);
}

/** The name of a document's root element without its prefix, or null. */
export function rootElementOrNull(xml: string): string | null {
  return parseXmlOrNull(xml)?.children[0]?.name ?? null;
}

/** The MD5 that an ETag looks like, as 32 hex digits, or null. ETags of multipart uploads are no MD5s. */
export function md5OfEtagOrNull(etag: string): string | null {
  return /^(?:W\/)?"?([0-9a-fA-F]{32})"?$/.exec(etag)?.[1]?.toLowerCase() ?? null;
}

/** Whether an object is under a KMS or customer's key, so that its ETag is no MD5 of its content. */
export function hasEncryptedEtag(headers: Headers): boolean {
  return (
    headers.has("x-amz-server-side-encryption-customer-algorithm") ||
    (headers.get("x-amz-server-side-encryption") ?? "").startsWith("aws:")
  );
}

/**
 * The checksum of the content that an answer states, or null: a SHA-256 of the whole object, or an ETag that
 * looks like an MD5. A multipart upload has a checksum of checksums, which ends in the number of parts.
 */
export function checksumOrNull(headers: Headers, hasOpaqueEtags: boolean): ContentChecksum | null {
  const sha256 = headers.get("x-amz-checksum-sha256") ?? "";
  if (/^[0-9a-zA-Z+/]{43}=$/.test(sha256)) {
    return { algorithm: "sha256", hex: Buffer.from(sha256, "base64").toString("hex") };
  }
  const md5 = hasOpaqueEtags || hasEncryptedEtag(headers) ? null : md5OfEtagOrNull(headers.get("etag") ?? "");
  return md5 === null ? null : { algorithm: "md5", hex: md5 };
}

/** The prefix of headers with user metadata. */
export const METADATA_HEADER = "x-amz-meta-";

/** The size that an answer announces, or null. */
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

/** The body of a range. @throws WalrustError "storage" when the answer is another range than requested */
export function rangeBody(key: string, stream: S3Stream, range: ByteRange, action: string): ObjectBody {
  const { headers, status } = stream;
  const match = /^bytes (\d+)-(\d+)\/(\d+)$/.exec(headers.get("content-range") ?? "");
  const totalBytes = Number(match?.[3]);
  const lengthBytes = Math.min(range.length, totalBytes - range.offset);
  const isAsked = match !== null && Number(match[1]) === range.offset;
  const answerSizeBytes = sizeOrNull(headers) ?? lengthBytes;
  if (status !== 206 || !isAsked || answerSizeBytes !== lengthBytes) {
    throw new WalrustError(
      "storage",
      `Cannot ${action}: the store answered with another range than requested`,
    );
  }
  return objectBody(headOf(key, headers, totalBytes), exactChunks(stream, lengthBytes, action));
}

/** The chunks of a body. @throws WalrustError "storage" when it is longer or shorter than announced */
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
  const found = receivedBytes > expectedBytes ? "it is longer than" : `it ended at byte ${receivedBytes} of`;
  const message = `Cannot ${action}: ${found} ${expectedBytes} bytes`;
  throw new WalrustError("storage", message, { retryable: true });
}
