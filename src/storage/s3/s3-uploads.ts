/**
 * Finds and aborts multipart uploads that never ended. A lost answer to CreateMultipartUpload leaves an
 * upload whose id nobody knows, and a process that dies leaves an upload with parts. Such uploads cost money,
 * and no listing of objects shows them.
 *
 * The upload book lists the uploads that this process works on. These uploads never count as abandoned.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { answerCodeOf, answerStatusOf } from "../contract/request-errors.ts";
import { documentOf } from "./s3-answer.ts";
import type { S3Client } from "./s3-client.ts";
import { type XmlElement, xmlElements, xmlTextOrNull } from "./s3-xml.ts";

const PAGES_MAX = 20;

/** An upload in the bucket that has not ended. */
export interface S3Upload {
  readonly fullKey: string;
  readonly uploadId: string;
  /** When the upload began, on the store's clock. */
  readonly initiatedMs: number;
}

/** The multipart uploads of this process. */
export class UploadBook {
  readonly #open = new Set<string>();
  /** Keys with a CreateMultipartUpload on its way, and how many. */
  readonly #creating = new Map<string, number>();
  /** Keys at which an upload with an unknown id may have begun. */
  readonly #lost = new Set<string>();

  /** Runs a CreateMultipartUpload, which resolves to the id of the upload. */
  async creating(fullKey: string, create: () => Promise<string>): Promise<string> {
    this.#creating.set(fullKey, (this.#creating.get(fullKey) ?? 0) + 1);
    try {
      const uploadId = await create();
      this.#open.add(uploadId);
      return uploadId;
    } catch (error) {
      if (mayHaveTakenEffect(error)) this.#lost.add(fullKey);
      throw error;
    } finally {
      const left = (this.#creating.get(fullKey) ?? 1) - 1;
      if (left === 0) this.#creating.delete(fullKey);
      else this.#creating.set(fullKey, left);
    }
  }

  /** This process continues an upload that began earlier. */
  continued(uploadId: string): void {
    this.#open.add(uploadId);
  }

  /** An upload was completed, aborted or given up, or waits for its next attempt. */
  ended(uploadId: string): void {
    this.#open.delete(uploadId);
  }

  /** Whether an upload at this key may have been left behind since the last call. */
  takeLost(fullKey: string): boolean {
    return this.#lost.delete(fullKey);
  }

  /** Whether this process works on an upload, or may be about to. */
  isOurs({ fullKey, uploadId }: S3Upload): boolean {
    return this.#open.has(uploadId) || this.#creating.has(fullKey);
  }
}

/** Whether a request that failed may have taken effect: a refusal of the store has none. */
function mayHaveTakenEffect(error: unknown): boolean {
  const status = answerStatusOf(error);
  return !(error instanceof WalrustError) || status === 0 || status >= 500;
}

/**
 * The uploads below a prefix that have not ended, or null when the store does not list them. At most 20 pages
 * are read: the next sweep finds the rest.
 * @throws WalrustError when the store cannot be reached or refuses the keys
 */
export async function listS3Uploads(
  client: S3Client,
  fullPrefix: string,
  action: string,
  signal: AbortSignal | undefined,
): Promise<S3Upload[] | null> {
  const uploads: S3Upload[] = [];
  let markers: [string, string][] = [];
  for (let page = 0; page < PAGES_MAX; page++) {
    const query: [string, string][] = [
      ["uploads", ""],
      ["max-uploads", "1000"],
      ["prefix", fullPrefix],
    ];
    query.push(...markers);
    let result: XmlElement;
    try {
      const answer = await client.send({ action, method: "GET", fullKey: null, query, signal });
      result = documentOf(answer, "ListMultipartUploadsResult", action);
    } catch (error) {
      if (isUnsupported(error)) return null;
      throw error;
    }
    for (const upload of xmlElements(result, "Upload")) {
      const fullKey = xmlTextOrNull(upload, "Key") ?? "";
      const uploadId = xmlTextOrNull(upload, "UploadId") ?? "";
      const initiatedMs = Date.parse(xmlTextOrNull(upload, "Initiated") ?? "");
      const isUsable = uploadId !== "" && Number.isFinite(initiatedMs) && fullKey.startsWith(fullPrefix);
      if (isUsable) uploads.push({ fullKey, uploadId, initiatedMs });
    }
    const keyMarker = xmlTextOrNull(result, "NextKeyMarker");
    const idMarker = xmlTextOrNull(result, "NextUploadIdMarker");
    if (xmlTextOrNull(result, "IsTruncated") !== "true" || !keyMarker) break;
    markers = [["key-marker", keyMarker]];
    if (idMarker) markers.push(["upload-id-marker", idMarker]);
  }
  return uploads;
}

/** Whether a store refuses to list uploads, to everybody or to us. */
function isUnsupported(error: unknown): boolean {
  if (hasCode(error, "missing-bucket")) return false;
  return [400, 403, 404, 405, 501].includes(answerStatusOf(error));
}

/** Aborts an upload; an upload that is gone counts as aborted. */
export async function abortS3Upload(
  client: S3Client,
  { fullKey, uploadId }: Pick<S3Upload, "fullKey" | "uploadId">,
  signal: AbortSignal | undefined,
): Promise<void> {
  const action = `abort the upload of ${fullKey}`;
  try {
    await client.send({ action, method: "DELETE", fullKey, query: [["uploadId", uploadId]], signal });
  } catch (error) {
    if (answerCodeOf(error) !== "NoSuchUpload" && !hasCode(error, "not-found")) throw error;
  }
}

/** Aborts all uploads at a key that this process does not work on. */
export async function abortUnowned(
  client: S3Client,
  fullKey: string,
  book: UploadBook,
  signal: AbortSignal | undefined,
): Promise<void> {
  const uploads = (await listS3Uploads(client, fullKey, `list the uploads of ${fullKey}`, signal)) ?? [];
  for (const upload of uploads) {
    if (upload.fullKey === fullKey && !book.isOurs(upload)) await abortS3Upload(client, upload, signal);
  }
}
