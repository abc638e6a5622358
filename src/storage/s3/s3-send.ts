/**
 * Sends the body of an object or of a part, with Content-MD5 if the bucket asks for it, and compares the ETag
 * and the checksum in the answer with the bytes that were sent.
 */
import { WalrustError } from "../../errors.ts";
import { putBodyChunks } from "../contract/object-body.ts";
import { answerCodeOf, answerStatusOf } from "../contract/request-errors.ts";
import type { PutBody } from "../contract/store.ts";
import { hasEncryptedEtag, md5OfEtagOrNull, putEtag } from "./s3-answer.ts";
import type { S3Answer, S3Client, S3Request } from "./s3-client.ts";

/** How a store takes bodies; learned from its answers. */
export interface PutQuirks {
  /**
   * Whether bodies carry Content-MD5: by the configuration, or because a bucket with Object Lock asks for it.
   */
  needsMd5: boolean;
  /** Whether an ETag that looked like an MD5 was something else. */
  hasOpaqueEtags: boolean;
}

/** A request with a body whose SHA-256 is known. */
export type BodyRequest = S3Request & { readonly body: PutBody; readonly sha256: string };

/** Whether the store has the bytes; "unsure": its ETag looks like an MD5, but is not that of the bytes. */
export type Receipt = "same" | "unsure";

/**
 * Sends a body, with Content-MD5 if the store asks for it.
 * @throws WalrustError what the request throws, and "not the store" for an answer without an ETag
 */
export async function sendBody(
  client: S3Client,
  request: BodyRequest,
  quirks: PutQuirks,
): Promise<{ readonly answer: S3Answer; readonly etag: string }> {
  const send = async (hasMd5: boolean): Promise<S3Answer> => {
    if (!hasMd5) return await client.send(request);
    const md5 = Buffer.from(await putBodyMd5(request.body), "hex").toString("base64");
    return await client.send({ ...request, headers: { ...request.headers, "content-md5": md5 } });
  };
  // Several parts that are on their way may each learn it.
  const hadMd5 = quirks.needsMd5;
  let answer: S3Answer;
  try {
    answer = await send(hadMd5);
  } catch (error) {
    if (hadMd5 || !asksForMd5(error)) throw error;
    quirks.needsMd5 = true;
    answer = await send(true);
  }
  return { answer, etag: putEtag(answer, request.action) };
}

/** Whether a refusal asks for Content-MD5, as buckets with a default retention do. */
function asksForMd5(error: unknown): boolean {
  if (!(error instanceof WalrustError) || answerStatusOf(error) !== 400) return false;
  return /MissingContentMD5/i.test(answerCodeOf(error)) || /content-md5/i.test(error.message);
}

/**
 * Compares the answer with the bytes that were sent. Most stores answer the MD5 of the bytes as ETag, but not
 * all do, and none does for an object under a KMS key: a difference proves nothing.
 */
export async function receiptOf(
  { headers }: S3Answer,
  etag: string,
  { body, sha256 }: BodyRequest,
  quirks: PutQuirks,
): Promise<Receipt> {
  const checksum = headers.get("x-amz-checksum-sha256");
  if (checksum !== null)
    return Buffer.from(checksum, "base64").toString("hex") === sha256 ? "same" : "unsure";
  const md5 = md5OfEtagOrNull(etag);
  if (md5 === null || hasEncryptedEtag(headers) || quirks.hasOpaqueEtags) return "same";
  return md5 === (await putBodyMd5(body)) ? "same" : "unsure";
}

/** The MD5 of a body, as 32 hex digits. */
export async function putBodyMd5(body: PutBody): Promise<string> {
  const hasher = new Bun.CryptoHasher("md5");
  if (body.kind === "bytes") return hasher.update(body.bytes).digest("hex");
  for await (const chunk of putBodyChunks(body)) hasher.update(chunk);
  return hasher.digest("hex");
}
