/**
 * Sending the body of an object or of a part, and what a store shows of what it got: whether it asks for
 * Content-MD5, and whether the ETag and the checksum it answers with are those of the bytes that were sent.
 */
import { WalrustError } from "../../errors.ts";
import { putBodyChunks } from "../contract/object-body.ts";
import { answerCodeOf, answerStatusOf } from "../contract/request-errors.ts";
import type { PutBody } from "../contract/store.ts";
import { md5OfEtagOrNull, putEtag } from "./s3-answer.ts";
import type { S3Answer, S3Client, S3Request } from "./s3-client.ts";

/** What is known of a store; kept from request to request. */
export interface PutHabit {
  /** Whether bodies carry Content-MD5: configured, or asked for by a bucket with Object Lock. */
  needsMd5: boolean;
  /** Whether ETags that look like an MD5 were found to be something else. */
  hasOpaqueEtags: boolean;
}

/** A request with a body whose SHA-256 is known. */
export type BodyRequest = S3Request & { readonly body: PutBody; readonly sha256: string };

/** What the store says of the bytes it got; "unsure": an ETag that looks like an MD5 is not theirs. */
export type Receipt = "same" | "unsure";

/**
 * Sends a body, with Content-MD5 if the store wants it.
 * @throws WalrustError what the request throws, and "not the store" for an answer without an ETag
 */
export async function sendBody(
  client: S3Client,
  request: BodyRequest,
  habit: PutHabit,
): Promise<{ readonly answer: S3Answer; readonly etag: string }> {
  const send = async (hasMd5: boolean): Promise<S3Answer> => {
    if (!hasMd5) return await client.send(request);
    const md5 = Buffer.from(await putBodyMd5(request.body), "hex").toString("base64");
    return await client.send({ ...request, headers: { ...request.headers, "content-md5": md5 } });
  };
  // Parts that are on their way at once may each be told.
  const hadMd5 = habit.needsMd5;
  let answer: S3Answer;
  try {
    answer = await send(hadMd5);
  } catch (error) {
    if (hadMd5 || !asksForMd5(error)) throw error;
    habit.needsMd5 = true;
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
 * Compares what the store answered with what was sent. An ETag is the MD5 of the bytes with most stores, but
 * not with all, and not of objects under a KMS key: a difference proves nothing.
 */
export async function receiptOf(
  { headers }: S3Answer,
  etag: string,
  { body, sha256 }: BodyRequest,
  habit: PutHabit,
): Promise<Receipt> {
  const checksum = headers.get("x-amz-checksum-sha256");
  if (checksum !== null)
    return Buffer.from(checksum, "base64").toString("hex") === sha256 ? "same" : "unsure";
  const md5 = md5OfEtagOrNull(etag);
  const isEncrypted =
    headers.has("x-amz-server-side-encryption-customer-algorithm") ||
    (headers.get("x-amz-server-side-encryption") ?? "").startsWith("aws:");
  if (md5 === null || isEncrypted || habit.hasOpaqueEtags) return "same";
  return md5 === (await putBodyMd5(body)) ? "same" : "unsure";
}

/** The MD5 of a body, as 32 hex digits. */
export async function putBodyMd5(body: PutBody): Promise<string> {
  const hasher = new Bun.CryptoHasher("md5");
  if (body.kind === "bytes") return hasher.update(body.bytes).digest("hex");
  for await (const chunk of putBodyChunks(body)) hasher.update(chunk);
  return hasher.digest("hex");
}
