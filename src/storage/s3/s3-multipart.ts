/**
 * Uploads a big object in parts: create, parts of 8 MB or more with three on their way, complete. Nothing is
 * visible before the completion, which carries If-None-Match.
 *
 * If the caller gives a memory, the upload can be continued: after a failure that a later attempt may not
 * meet, the upload stays in the store, and the next attempt, of this process or another, sends only the parts
 * that the store lacks. After any other failure the upload is aborted, so that no parts stay behind and cost
 * money. An upload is completed only with parts that were compared with the file (s3-parts.ts). No upload is
 * continued or aborted here but one that this process began or whose id the memory holds.
 *
 * Each part is read from the file twice in chunks of 256 KB, once to hash it and once to send it: memory does
 * not depend on the size. The store refuses a part that changed in between, because its hash is signed.
 */
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
import { putBodySha256, putBodySize } from "../contract/object-body.ts";
import type { PutLimit } from "../contract/put-limit.ts";
import { answerCodeOf, answerStatusOf, isThrottling } from "../contract/request-errors.ts";
import { NO_RETRY, type RetryContext, withRetry } from "../contract/retry.ts";
import type { PutBody } from "../contract/store.ts";
import type { UploadMemory } from "../contract/upload-memory.ts";
import { SharedPermit } from "../guard/semaphore.ts";
import { documentOf, notTheStore } from "./s3-answer.ts";
import type { S3Client } from "./s3-client.ts";
import { s3Error } from "./s3-errors.ts";
import {
  isListingBroken,
  listS3Parts,
  type Part,
  partBody,
  planParts,
  type StoredPart,
  sameEtagOrNull,
  subjectOf,
} from "./s3-parts.ts";
import { type PutQuirks, sendBody } from "./s3-send.ts";
import { abortS3Upload, abortUnowned, type UploadBook } from "./s3-uploads.ts";
import { encodeXmlText, type XmlElement, xmlTextOrNull } from "./s3-xml.ts";
import { sha256Hex } from "./sigv4.ts";

/** Objects up to this size go in one request. */
export const SINGLE_PUT_SIZE_MAX = 16 * 1024 * 1024;

const PARTS_IN_FLIGHT_MAX = 3;
const NO_PARTS: ReadonlyMap<number, StoredPart> = new Map();
/** The longest time to abort an upload whose caller has given up. */
const ABORT_LIMIT_MS = 2_000;
/**
 * Each CreateMultipartUpload whose answer is lost leaves an upload behind: its retries wait longer than those
 * of other requests.
 */
const CREATE_BASE_FACTOR = 8;

/** One upload. */
export interface MultipartUpload {
  readonly client: S3Client;
  readonly action: string;
  readonly fullKey: string;
  readonly body: PutBody;
  /** Headers of the object: metadata, content type, storage class, encryption. */
  readonly headers: Readonly<Record<string, string>>;
  /** Whether the completion carries If-None-Match. */
  readonly isCreateOnly: boolean;
  /** The retries of each of its requests. */
  readonly retry: RetryContext;
  /**
   * Whether the object in the store is the one being uploaded: called when a repeated completion finds the
   * upload gone, and when the answer to a completion leaves a doubt.
   */
  readonly isDone: () => Promise<boolean>;
  /** How the store takes bodies. */
  readonly quirks: PutQuirks;
  /** The uploads of this process. */
  readonly book: UploadBook;
  /** Called when parts stay in the store because the upload could not be aborted. */
  readonly onLeftParts: (reason: string) => void;
  /** The whole upload takes one place while any of its requests is on its way. */
  readonly putLimit?: PutLimit | undefined;
  /** Remembers the upload over failures and restarts. */
  readonly continued?: ContinuedUpload | undefined;
  /** Reports the bytes of each part that the store has. */
  readonly onSent?: ((byteCount: number) => void) | undefined;
}

/** The memory of an upload, and its place by which a memory is recognized. */
export interface ContinuedUpload {
  readonly memory: UploadMemory;
  /** `location` of the store, and the key relative to the store's root. */
  readonly location: string;
  readonly key: string;
  /** SHA-256 of the body. */
  readonly sha256: string;
}

/** An upload under way, and the parts that the store had before. */
interface OpenUpload {
  readonly uploadId: string;
  readonly stored: ReadonlyMap<number, StoredPart>;
  /** ETags in the answers to earlier attempts. */
  readonly etags: ReadonlyMap<number, string>;
}

/** How far an attempt has come. */
interface Progress {
  /** Parts that this attempt has sent. */
  sentCount: number;
  isCompleting: boolean;
}

/** Runs an attempt in the upload's place. */
type InSlot = <T>(attempt: () => Promise<T>, signal: AbortSignal | undefined) => Promise<T>;

/**
 * Uploads an object in parts. @throws what the requests throw, "precondition" from the completion among them.
 */
export async function putMultipart(upload: MultipartUpload): Promise<void> {
  const { retry, putLimit, continued } = upload;
  const slot = putLimit === undefined ? null : new SharedPermit(putLimit);
  const inSlot: InSlot = (attempt, signal) => (slot === null ? attempt() : slot.run(attempt, signal));
  const parts = planParts(putBodySize(upload.body));
  const open = (await continueOrNull(upload, parts, inSlot)) ?? (await begin(upload, parts, inSlot));
  const { uploadId } = open;
  const progress: Progress = { sentCount: 0, isCompleting: false };
  try {
    const etags = await sendParts(upload, parts, open, progress, inSlot);
    progress.isCompleting = true;
    await withRetry(retry, (attemptIndex) =>
      inSlot(() => completeUpload(upload, uploadId, etags, attemptIndex), retry.signal),
    );
    continued?.memory.end();
  } catch (error) {
    if (continued === undefined || !mayContinue(error, progress, retry.signal)) {
      await abortUpload(upload, uploadId);
      continued?.memory.end();
    }
    throw error;
  } finally {
    upload.book.ended(uploadId);
  }
  // The object exists now: no other upload to its key can be completed any more.
  if (upload.book.takeLost(upload.fullKey)) await abortOthers(upload);
}

/**
 * Whether a later attempt may succeed with the parts that the store has by now. Not after a conflict at the
 * completion: S3 then asks for a new upload. And not if the store has failed to complete the same parts
 * before.
 */
function mayContinue(error: unknown, progress: Progress, signal: AbortSignal | undefined): boolean {
  if (answerCodeOf(error) === "NoSuchUpload") return false;
  if (progress.isCompleting) {
    if (answerCodeOf(error) === "ConditionalRequestConflict") return false;
    const isFailure = [409, 500].includes(answerStatusOf(error)) && !isThrottling(error);
    if (isFailure && progress.sentCount === 0) return false;
  }
  const isPassing = error instanceof WalrustError && (error.retryable || error.code === "auth");
  return isPassing || signal?.aborted === true;
}

/** Begins an upload, and remembers it. */
async function begin(upload: MultipartUpload, parts: readonly Part[], inSlot: InSlot): Promise<OpenUpload> {
  const { retry, continued, headers } = upload;
  const create = (): Promise<string> => upload.book.creating(upload.fullKey, () => createUpload(upload));
  const policy = { ...retry.policy, baseDelayMs: retry.policy.baseDelayMs * CREATE_BASE_FACTOR };
  const uploadId = await withRetry({ ...retry, policy }, () => inSlot(create, retry.signal));
  if (continued !== undefined) {
    const { location, key, sha256 } = continued;
    continued.memory.begin({ location, key, uploadId, subject: subjectOf(sha256, parts, headers) });
  }
  return { uploadId, stored: NO_PARTS, etags: new Map() };
}

/**
 * The remembered upload, if the store still has it and it is of the same bytes. An upload of other bytes, or
 * at another key, is aborted.
 */
async function continueOrNull(
  upload: MultipartUpload,
  parts: readonly Part[],
  inSlot: InSlot,
): Promise<OpenUpload | null> {
  const { client, fullKey, headers, retry, continued, book } = upload;
  const remembered = continued?.memory.readOrNull() ?? null;
  if (continued === undefined || remembered === null) return null;
  // An upload in another bucket is out of reach.
  if (remembered.location !== continued.location) return null;
  const { uploadId, etags, key } = remembered;
  const isSameKey = key === continued.key;
  const isSame = isSameKey && remembered.subject === subjectOf(continued.sha256, parts, headers);
  const list = () => inSlot(() => listS3Parts(client, { fullKey, uploadId }, retry.signal), retry.signal);
  const stored = isSame ? await listedOrNone(retry, list) : "unlisted";
  if (typeof stored !== "string") {
    book.continued(uploadId);
    retry.env.log.debug(`continuing the upload of ${fullKey}: the store has ${stored.size} parts`);
    return { uploadId, stored, etags };
  }
  const root = fullKey.slice(0, fullKey.length - continued.key.length);
  if (stored === "unlisted") await abortUpload({ ...upload, fullKey: root + key }, uploadId);
  continued.memory.end();
  return null;
}

/**
 * Lists parts. Without a listing that works the upload is continued all the same, and all parts are sent
 * again.
 */
async function listedOrNone<T>(retry: RetryContext, list: () => Promise<T>): Promise<T | typeof NO_PARTS> {
  try {
    return await withRetry(retry, list);
  } catch (error) {
    if (!isListingBroken(error)) throw error;
    retry.env.log.debug(`all parts are sent again: ${errorMessage(error)}`);
    return NO_PARTS;
  }
}

/** Best effort: the next sweep of the upkeep finds the rest. */
async function abortOthers({ client, fullKey, retry, book }: MultipartUpload): Promise<void> {
  try {
    await abortUnowned(client, fullKey, book, retry.signal);
  } catch (error) {
    retry.env.log.debug(`unfinished uploads of ${fullKey} stay: ${errorMessage(error)}`);
  }
}

async function createUpload(upload: MultipartUpload): Promise<string> {
  const { client, action, fullKey, headers, retry } = upload;
  const answer = await client.send({
    action,
    method: "POST",
    fullKey,
    query: [["uploads", ""]],
    headers,
    signal: retry.signal,
  });
  const result = documentOf(answer, "InitiateMultipartUploadResult", action);
  throwIfError(result, action);
  const uploadId = xmlTextOrNull(result, "UploadId");
  if (uploadId !== null && uploadId !== "") return uploadId;
  throw notTheStore(action, "200 without an upload id");
}

/** Sends all parts, three at a time; the first failure stops the others. @returns the ETags in order */
async function sendParts(
  upload: MultipartUpload,
  parts: readonly Part[],
  open: OpenUpload,
  progress: Progress,
  inSlot: InSlot,
): Promise<string[]> {
  const etags: string[] = new Array(parts.length);
  const stopper = new AbortController();
  const { signal: callerSignal } = upload.retry;
  const signal =
    callerSignal === undefined ? stopper.signal : AbortSignal.any([callerSignal, stopper.signal]);
  let nextIndex = 0;
  async function work(): Promise<void> {
    while (nextIndex < parts.length) {
      const part = parts[nextIndex++]!;
      etags[part.number - 1] = (await storedEtagOrNull(upload, part, open)) ?? (await sendOne(part));
      upload.onSent?.(part.sizeBytes);
    }
  }
  async function sendOne(part: Part): Promise<string> {
    const send = (): Promise<string> => sendPart(upload, open.uploadId, part, signal);
    const etag = await withRetry({ ...upload.retry, signal }, () => inSlot(send, signal));
    progress.sentCount++;
    upload.continued?.memory.addPart(part.number, etag);
    return etag;
  }
  const workers = Array.from({ length: PARTS_IN_FLIGHT_MAX }, () =>
    work().catch((error) => {
      stopper.abort(error);
      throw error;
    }),
  );
  const results = await Promise.allSettled(workers);
  callerSignal?.throwIfAborted();
  const failure = stopper.signal.aborted ? stopper.signal.reason : undefined;
  if (results.some((result) => result.status === "rejected")) throw failure;
  return etags;
}

/** The ETag of a part that the store had before; null when the part has to be sent. */
async function storedEtagOrNull(
  { body }: MultipartUpload,
  part: Part,
  { stored, etags }: OpenUpload,
): Promise<string | null> {
  const found = stored.get(part.number);
  if (found === undefined) return null;
  return await sameEtagOrNull(found, part, partBody(body, part), etags.get(part.number));
}

async function sendPart(
  { client, action, fullKey, body: whole, quirks }: MultipartUpload,
  uploadId: string,
  part: Part,
  signal: AbortSignal,
): Promise<string> {
  const body = partBody(whole, part);
  const request = {
    action,
    method: "PUT",
    fullKey,
    query: [
      ["partNumber", String(part.number)],
      ["uploadId", uploadId],
    ],
    body,
    sha256: await putBodySha256(body),
    signal,
  } as const;
  // At the completion the store compares the ETags with its parts.
  return (await sendBody(client, request, quirks)).etag;
}

async function completeUpload(
  upload: MultipartUpload,
  uploadId: string,
  etags: readonly string[],
  attemptIndex: number,
): Promise<void> {
  try {
    await sendCompletion(upload, uploadId, etags);
  } catch (error) {
    // An earlier attempt, or one that fetch repeated by itself, may have taken effect although its answer was
    // lost.
    const isRefused = hasCode(error, "precondition") && attemptIndex > 0;
    const isGone = answerCodeOf(error) === "NoSuchUpload";
    if ((isRefused || isGone) && (await upload.isDone())) return;
    throw error;
  }
}

async function sendCompletion(
  upload: MultipartUpload,
  uploadId: string,
  etags: readonly string[],
): Promise<void> {
  const { client, action, fullKey, isCreateOnly, retry } = upload;
  const parts = etags.map(
    (etag, index) => `<Part><PartNumber>${index + 1}</PartNumber><ETag>${encodeXmlText(etag)}</ETag></Part>`,
  );
  const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
  const xml = `<CompleteMultipartUpload xmlns="${namespace}">${parts.join("")}</CompleteMultipartUpload>`;
  const bytes = new TextEncoder().encode(xml);
  const answer = await client.send({
    action,
    method: "POST",
    fullKey,
    query: [["uploadId", uploadId]],
    headers: { "content-type": "application/xml", ...(isCreateOnly ? { "if-none-match": "*" } : {}) },
    body: { kind: "bytes", bytes },
    sha256: sha256Hex(bytes),
    signal: retry.signal,
  });
  const result = documentOf(answer, "CompleteMultipartUploadResult", action);
  throwIfError(result, action);
  const key = xmlTextOrNull(result, "Key");
  const isOther = key !== null && key !== fullKey && !decodedKeys(key).includes(fullKey);
  // A store may omit the ETag or spell the key in its own way: then the object decides.
  if (!isOther && (xmlTextOrNull(result, "ETag") ?? "") !== "") return;
  if (await upload.isDone()) return;
  throw notTheStore(action, isOther ? `a completion of ${key}` : "a completion without an ETag");
}

/** The keys that a spelling of a store may stand for. */
function decodedKeys(key: string): string[] {
  try {
    return [decodeURIComponent(key), decodeURIComponent(key.replaceAll("+", " "))];
  } catch {
    return [];
  }
}

/** S3 sends the status before its work is done: a failure can follow a 200. */
function throwIfError(result: XmlElement, action: string): void {
  if (result.name !== "Error") return;
  const s3Code = xmlTextOrNull(result, "Code") ?? "";
  const s3Message = xmlTextOrNull(result, "Message") ?? "";
  const status = s3Code === "PreconditionFailed" ? 412 : 500;
  throw s3Error({ action, status, s3Code, s3Message, requestId: "", bucketRegion: null });
}

/**
 * Best effort: the caller throws the failure that led here. A caller that has given up waits for two seconds
 * at most.
 */
async function abortUpload(upload: MultipartUpload, uploadId: string): Promise<void> {
  const { client, fullKey, retry, onLeftParts } = upload;
  const limit = new AbortController();
  const isHurried = retry.signal?.aborted === true;
  if (isHurried) void retry.env.sleep(ABORT_LIMIT_MS, limit.signal).then(() => limit.abort());
  const policy = isHurried ? NO_RETRY : retry.policy;
  try {
    await withRetry({ ...retry, policy, signal: limit.signal }, () =>
      abortS3Upload(client, { fullKey, uploadId }, limit.signal),
    );
  } catch (error) {
    onLeftParts(errorMessage(error));
  } finally {
    limit.abort();
  }
}
