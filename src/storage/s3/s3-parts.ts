/**
 * The parts of a multipart upload: how a body is cut, and which parts of an unfinished upload the store
 * already has.
 *
 * A stored part counts if and only if the store lists it with the size of the part, and
 *  1. its ETag is the one that the store answered when walrust sent this part: the request was signed with
 *     the hash of the bytes, or
 *  2. its ETag is the MD5 of the bytes.
 * Any other part is sent again, which replaces it.
 */
import { answerCodeOf, answerStatusOf, isThrottling } from "../contract/request-errors.ts";
import type { PutBody } from "../contract/store.ts";
import { documentOf, isNotTheStore, md5OfEtagOrNull, notTheStore } from "./s3-answer.ts";
import type { S3Client } from "./s3-client.ts";
import { putBodyMd5 } from "./s3-send.ts";
import { type XmlElement, xmlElements, xmlTextOrNull } from "./s3-xml.ts";
import { sha256Hex } from "./sigv4.ts";

/** The smallest part; parts are bigger only if there would be more than 10,000. */
export const PART_SIZE_MIN = 8 * 1024 * 1024;

const PART_COUNT_MAX = 10_000;
const MEBIBYTE = 1024 * 1024;

/** A part of a body; numbers count from 1. */
export interface Part {
  readonly number: number;
  readonly offset: number;
  readonly sizeBytes: number;
}

/** A part that the store lists. */
export interface StoredPart {
  readonly etag: string;
  readonly sizeBytes: number;
}

/** Cuts `sizeBytes` into parts: at least 8 MB each but for the last, at most 10,000. */
export function planParts(sizeBytes: number): Part[] {
  const neededBytes = Math.ceil(sizeBytes / PART_COUNT_MAX / MEBIBYTE) * MEBIBYTE;
  const partSizeBytes = Math.max(PART_SIZE_MIN, neededBytes);
  const parts: Part[] = [];
  for (let offset = 0; offset < sizeBytes; offset += partSizeBytes) {
    parts.push({ number: parts.length + 1, offset, sizeBytes: Math.min(partSizeBytes, sizeBytes - offset) });
  }
  return parts;
}

/** The bytes of a part. */
export function partBody(body: PutBody, { offset, sizeBytes }: Part): PutBody {
  if (body.kind === "file") return { ...body, offset: body.offset + offset, sizeBytes };
  return { kind: "bytes", bytes: body.bytes.subarray(offset, offset + sizeBytes) };
}

/**
 * A digest of all that an upload depends on. An upload may be continued only with the same subject.
 * @param sha256 of the whole body
 * @param headers of the object: an upload has them from its begin
 */
export function subjectOf(
  sha256: string,
  parts: readonly Part[],
  headers: Readonly<Record<string, string>>,
): string {
  const named = Object.entries(headers).sort(([a], [b]) => (a < b ? -1 : 1));
  const text = JSON.stringify([sha256, parts.map(({ sizeBytes }) => sizeBytes), named]);
  return sha256Hex(new TextEncoder().encode(text));
}

/**
 * Lists the parts of an upload, by number. Parts may be missing, because a listing that does not go on ends.
 * @returns "gone" when the store does not know the upload, "unlisted" when the store lists no parts
 * @throws WalrustError when the store cannot be reached, or `isListingBroken`
 */
export async function listS3Parts(
  client: S3Client,
  { fullKey, uploadId }: { readonly fullKey: string; readonly uploadId: string },
  signal: AbortSignal | undefined,
): Promise<ReadonlyMap<number, StoredPart> | "gone" | "unlisted"> {
  const parts = new Map<number, StoredPart>();
  const action = `list the parts of ${fullKey}`;
  let marker = 0;
  for (;;) {
    const query: [string, string][] = [
      ["uploadId", uploadId],
      ["max-parts", "1000"],
    ];
    if (marker > 0) query.push(["part-number-marker", String(marker)]);
    let result: XmlElement;
    try {
      const answer = await client.send({ action, method: "GET", fullKey, query, signal });
      result = documentOf(answer, "ListPartsResult", action);
    } catch (error) {
      if (answerCodeOf(error) === "NoSuchUpload") return "gone";
      if ([400, 403, 404, 405, 501].includes(answerStatusOf(error))) return "unlisted";
      throw error;
    }
    if (result.name === "Error") throw notTheStore(action, "200 with an error");
    for (const part of xmlElements(result, "Part")) addPart(parts, part);
    if (xmlTextOrNull(result, "IsTruncated") !== "true") return parts;
    const next = Number(xmlTextOrNull(result, "NextPartNumberMarker") ?? Number.NaN);
    // Markers ascend up to the largest number of a part, so the listing ends.
    if (!(next > marker && next <= PART_COUNT_MAX)) return parts;
    marker = next;
  }
}

/**
 * Whether a failure to list parts may last for ever: the store answers, and does not say that it is busy.
 */
export function isListingBroken(error: unknown): boolean {
  return isNotTheStore(error) || (answerStatusOf(error) === 500 && !isThrottling(error));
}

function addPart(parts: Map<number, StoredPart>, part: XmlElement): void {
  const number = Number(xmlTextOrNull(part, "PartNumber") ?? Number.NaN);
  const sizeBytes = Number(xmlTextOrNull(part, "Size") ?? Number.NaN);
  const etag = xmlTextOrNull(part, "ETag") ?? "";
  if (Number.isInteger(number) && etag !== "") parts.set(number, { etag, sizeBytes });
}

/**
 * The ETag by which a stored part is completed; null when it does not hold these bytes for certain.
 * @param rememberedEtag the ETag in the answer to this part, if it is known
 */
export async function sameEtagOrNull(
  stored: StoredPart,
  { sizeBytes }: Part,
  body: PutBody,
  rememberedEtag: string | undefined,
): Promise<string | null> {
  if (stored.sizeBytes !== sizeBytes) return null;
  if (rememberedEtag !== undefined && bare(rememberedEtag) === bare(stored.etag)) return rememberedEtag;
  const md5 = md5OfEtagOrNull(stored.etag);
  return md5 !== null && md5 === (await putBodyMd5(body)) ? stored.etag : null;
}

/** An ETag without its quotes, which some stores leave out of a listing. */
function bare(etag: string): string {
  return etag.replaceAll('"', "");
}
