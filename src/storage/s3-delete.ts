/**
 * Deleting many keys with DeleteObjects, 1,000 a request. The answer is 200 even when keys could not be
 * deleted, so the errors in it are what counts.
 */
import { WalrustError } from "../errors.ts";
import type { S3Client } from "./s3-client.ts";
import { s3Error } from "./s3-errors.ts";
import { encodeXmlText, xmlElements, xmlTextOrNull } from "./s3-xml.ts";
import { sha256Hex } from "./sigv4.ts";

const KEYS_PER_REQUEST_MAX = 1_000;

/**
 * Deletes whole keys. @throws WalrustError that names the first key that is still there, and how many are.
 */
export async function deleteS3Keys(
  client: S3Client,
  fullKeys: readonly string[],
  action: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  for (let index = 0; index < fullKeys.length; index += KEYS_PER_REQUEST_MAX) {
    await deleteBatch(client, fullKeys.slice(index, index + KEYS_PER_REQUEST_MAX), action, signal);
  }
}

async function deleteBatch(
  client: S3Client,
  fullKeys: readonly string[],
  action: string,
  signal: AbortSignal | undefined,
): Promise<void> {
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
  const errors = [...xmlElements(answer.text, "Error")].filter(
    (xml) => xmlTextOrNull(xml, "Code") !== "NoSuchKey",
  );
  if (errors.length === 0) return;
  const first = errors[0]!;
  const key = xmlTextOrNull(first, "Key") ?? "";
  const s3Code = xmlTextOrNull(first, "Code") ?? "";
  const s3Message = xmlTextOrNull(first, "Message") ?? "";
  const status = s3Code === "AccessDenied" ? 403 : 200;
  const cause = s3Error({ action, status, s3Code, s3Message, requestId: "", bucketRegion: null });
  throw new WalrustError(
    cause.code,
    `Cannot ${action}: ${errors.length} of ${fullKeys.length} objects are still there, ` +
      `the first is ${key}: ${s3Code} (${s3Message})`,
    { context: { key, s3Code, failedCount: errors.length }, retryable: cause.retryable },
  );
}
