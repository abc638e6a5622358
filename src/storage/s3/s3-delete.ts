/**
 * Deletes keys with DeleteObjects, 1,000 a request, or one by one if the store does not know that request.
 *
 * - The answer of DeleteObjects is 200 even when keys could not be deleted: the errors in its document count.
 * - A store may refuse to delete a key, because of a retention or a missing permission. The key is kept: that
 *   is a policy of its owner and no failure. Every other reason is a failure.
 * - If a store refuses DeleteObjects as a whole (501, 405, 403, 400), it gets a DELETE for each key. If these
 *   DELETEs work, or if the store does not know DeleteObjects, it gets no DeleteObjects any more.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { answerCodeOf, answerStatusOf } from "../contract/request-errors.ts";
import type { KeptKey } from "../contract/store.ts";
import { documentOf, isNotTheStore, notTheStore, rootElementOrNull } from "./s3-answer.ts";
import type { S3Client } from "./s3-client.ts";
import { s3Error } from "./s3-errors.ts";
import { encodeXmlText, type XmlElement, xmlTextOrNull } from "./s3-xml.ts";
import { sha256Hex } from "./sigv4.ts";

/** The most keys that one DeleteObjects names. */
export const KEYS_PER_REQUEST_MAX = 1_000;
/** Deletes of single keys on their way at once. */
const SINGLES_AT_ONCE = 8;

/** Statuses of a store that has no DeleteObjects, or forbids it to our access key. */
const REFUSED_STATUS: ReadonlySet<number> = new Set([400, 403, 404, 405, 501]);

/** S3's codes for a delete that a policy or a retention forbids. */
const KEPT_CODES: ReadonlySet<string> = new Set([
  "AccessDenied",
  "AllAccessDisabled",
  "MethodNotAllowed",
  "ObjectLocked",
  "InvalidObjectState",
  "ObjectLockedException",
  "WORMProtected",
  "FileImmutable",
]);

/** How a store deletes; learned from its answers. */
export interface DeleteQuirks {
  /** Whether keys are deleted one by one. */
  isSingle: boolean;
}

/**
 * Deletes whole keys.
 * @returns the keys that the store refuses to delete, each with its reason
 * @throws WalrustError that names the first key that was not deleted for another reason, and their number
 */
export async function deleteS3Keys(
  client: S3Client,
  fullKeys: readonly string[],
  action: string,
  quirks: DeleteQuirks,
  signal: AbortSignal | undefined,
): Promise<KeptKey[]> {
  const kept: KeptKey[] = [];
  for (let index = 0; index < fullKeys.length; index += KEYS_PER_REQUEST_MAX) {
    const batch = fullKeys.slice(index, index + KEYS_PER_REQUEST_MAX);
    kept.push(...(await deleteBatch(client, batch, action, quirks, signal)));
  }
  return kept;
}

async function deleteBatch(
  client: S3Client,
  fullKeys: readonly string[],
  action: string,
  quirks: DeleteQuirks,
  signal: AbortSignal | undefined,
): Promise<KeptKey[]> {
  if (quirks.isSingle) return await deleteSingly(client, fullKeys, action, signal);
  let refusal: WalrustError;
  try {
    return await deleteTogether(client, fullKeys, action, signal);
  } catch (error) {
    if (!isRefused(error)) throw error;
    refusal = error;
  }
  const kept = await deleteSingly(client, fullKeys, action, signal);
  // A store that keeps all these keys may still delete others together.
  quirks.isSingle = kept.length < fullKeys.length || answerStatusOf(refusal) === 501;
  return kept;
}

/** Whether a store refuses DeleteObjects as such, so that single deletes may work. */
function isRefused(error: unknown): error is WalrustError {
  if (!(error instanceof WalrustError) || error.retryable || isNotTheStore(error)) return false;
  if (hasCode(error, "missing-bucket")) return false;
  if (["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"].includes(answerCodeOf(error)))
    return false;
  return REFUSED_STATUS.has(answerStatusOf(error));
}

async function deleteTogether(
  client: S3Client,
  fullKeys: readonly string[],
  action: string,
  signal: AbortSignal | undefined,
): Promise<KeptKey[]> {
  const objects = fullKeys.map((key) => `<Object><Key>${encodeXmlText(key)}</Key></Object>`).join("");
  const namespace = "http://s3.amazonaws.com/doc/2006-03-01/";
  const xml = `<Delete xmlns="${namespace}"><Quiet>true</Quiet>${objects}</Delete>`;
  const bytes = new TextEncoder().encode(xml);
  const answer = await client.send({
    action,
    method: "POST",
    fullKey: null,
    query: [["delete", ""]],
    headers: {
      "content-type": "application/xml",
      "content-md5": new Bun.CryptoHasher("md5").update(bytes).digest("base64"),
    },
    body: { kind: "bytes", bytes },
    sha256: sha256Hex(bytes),
    signal,
  });
  const result = documentOf(answer, "DeleteResult", action);
  const kept: KeptKey[] = [];
  const failures: { key: string; s3Code: string; s3Message: string }[] = [];
  for (const error of errorsOf(result)) {
    const key = xmlTextOrNull(error, "Key") ?? "";
    const s3Code = xmlTextOrNull(error, "Code") ?? "";
    const s3Message = xmlTextOrNull(error, "Message") ?? "";
    if (s3Code === "NoSuchKey") continue;
    if (isKept(s3Code, s3Message)) kept.push({ key, reason: reasonOf(s3Code, s3Message) });
    else failures.push({ key, s3Code, s3Message });
  }
  const [first] = failures;
  if (first === undefined) return kept;
  const { key, s3Code, s3Message } = first;
  const cause = s3Error({ action, status: 200, s3Code, s3Message, requestId: "", bucketRegion: null });
  throw new WalrustError(
    cause.code,
    `Cannot ${action}: ${failures.length} of ${fullKeys.length} objects were not deleted, ` +
      `the first is ${key}: ${reasonOf(s3Code, s3Message)}`,
    { context: { key, s3Code, failedCount: failures.length }, retryable: cause.retryable },
  );
}

/** The errors of single keys; an error in the place of a result is about all keys. */
function errorsOf(result: XmlElement): XmlElement[] {
  return result.name === "Error" ? [result] : result.children.filter(({ name }) => name === "Error");
}

/** Deletes key by key, eight at once; the first failure ends it. */
async function deleteSingly(
  client: S3Client,
  fullKeys: readonly string[],
  action: string,
  signal: AbortSignal | undefined,
): Promise<KeptKey[]> {
  const kept: KeptKey[] = [];
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < fullKeys.length) {
      const key = fullKeys[next++]!;
      const reason = await deleteOne(client, key, `${action}: ${key}`, signal);
      if (reason !== null) kept.push({ key, reason });
    }
  };
  const workers = Array.from({ length: Math.min(SINGLES_AT_ONCE, fullKeys.length) }, work);
  const failed = (await Promise.allSettled(workers)).find(({ status }) => status === "rejected");
  if (failed?.status === "rejected") throw failed.reason;
  return kept;
}

/** @returns the reason why the store keeps the key, or null when it is deleted */
async function deleteOne(
  client: S3Client,
  fullKey: string,
  action: string,
  signal: AbortSignal | undefined,
): Promise<string | null> {
  try {
    const answer = await client.send({ action, method: "DELETE", fullKey, signal });
    const isPlain = answer.text.trim() === "" || rootElementOrNull(answer.text) !== null;
    if ((answer.status === 204 || answer.status === 200) && isPlain) return null;
    throw notTheStore(action, `${answer.status} with a body that is no XML, expected 204`);
  } catch (error) {
    if (hasCode(error, "not-found")) return null;
    const s3Code = answerCodeOf(error);
    const isForbidden = answerStatusOf(error) === 403 || answerStatusOf(error) === 405;
    const isAboutKeys = ["InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken"].includes(s3Code);
    if (isNotTheStore(error) || isAboutKeys) throw error;
    if (!(error instanceof WalrustError) || !(isForbidden || isKept(s3Code, error.message))) throw error;
    return error.message.replace(/^.*: the store answered /, "");
  }
}

/** Whether a refusal is a decision of the owner: a policy, a retention, a legal hold. */
function isKept(s3Code: string, s3Message: string): boolean {
  return KEPT_CODES.has(s3Code) || /object.?lock|retention|legal.?hold|worm|immutab/i.test(s3Message);
}

function reasonOf(s3Code: string, s3Message: string): string {
  return s3Message === "" || s3Message === s3Code ? s3Code : `${s3Code} (${s3Message})`;
}
