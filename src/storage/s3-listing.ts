/**
 * Listing a bucket with ListObjectsV2: pages of 1,000, lazily, with what a store may get wrong checked. A
 * listing that ends early or is out of order would look like missing backups, so both are errors.
 */
import { WalrustError } from "../errors.ts";
import { compareKeys } from "./object-rules.ts";
import type { S3Client } from "./s3-client.ts";
import { decodeXmlText, xmlElementOrNull, xmlElements, xmlTextOrNull } from "./s3-xml.ts";

/** What to list. */
export interface S3ListRequest {
  readonly action: string;
  /** Prefix in the bucket. */
  readonly fullPrefix: string;
  readonly startAfter?: string | undefined;
  /** "/" to get folders instead of what is in them. */
  readonly delimiter?: string;
  readonly signal?: AbortSignal | undefined;
}

/** An object in the bucket, with its whole key. */
export interface S3ListedObject {
  readonly fullKey: string;
  readonly sizeBytes: number;
  readonly modifiedMs: number;
}

/** One page of a listing. */
export interface S3ListPage {
  readonly objects: readonly S3ListedObject[];
  /** Common prefixes; they end in the delimiter. */
  readonly folders: readonly string[];
}

/** The pages of a listing. @throws WalrustError "missing-bucket", "auth" or "storage". */
export async function* s3ListPages(client: S3Client, request: S3ListRequest): AsyncGenerator<S3ListPage> {
  let token: string | null = null;
  let lastKey = "";
  while (true) {
    const xml = await sendPage(client, request, token);
    const page = parsePage(xml, request);
    for (const { fullKey } of page.objects) {
      if (lastKey !== "" && compareKeys(fullKey, lastKey) <= 0) {
        throw unusable(request, `${fullKey} is listed after ${lastKey}, expected ascending keys`);
      }
      lastKey = fullKey;
    }
    yield page;
    if (xmlTextOrNull(xml, "IsTruncated") !== "true") return;
    const nextToken: string | null = xmlTextOrNull(xml, "NextContinuationToken");
    if (nextToken === null || nextToken === token)
      throw unusable(request, "it is cut off without a way to go on");
    token = nextToken;
  }
}

async function sendPage(client: S3Client, request: S3ListRequest, token: string | null): Promise<string> {
  const query: [string, string][] = [
    ["list-type", "2"],
    ["max-keys", "1000"],
    ["encoding-type", "url"],
    ["prefix", request.fullPrefix],
  ];
  if (request.delimiter !== undefined) query.push(["delimiter", request.delimiter]);
  if (token !== null) query.push(["continuation-token", token]);
  else if (request.startAfter !== undefined) query.push(["start-after", request.startAfter]);
  const { action, signal } = request;
  const answer = await client.send({ action, method: "GET", fullKey: null, query, signal });
  if (xmlElementOrNull(answer.text, "ListBucketResult") === null) {
    throw unusable(request, "the answer is no listing");
  }
  return answer.text;
}

function parsePage(xml: string, request: S3ListRequest): S3ListPage {
  const decode = xmlTextOrNull(xml, "EncodingType") === "url" ? decodeUrlText : (text: string) => text;
  const objects: S3ListedObject[] = [];
  for (const content of xmlElements(xml, "Contents")) {
    const fullKey = decode(xmlTextOrNull(content, "Key") ?? "");
    const sizeBytes = Number(xmlTextOrNull(content, "Size") ?? Number.NaN);
    const modifiedMs = Date.parse(xmlTextOrNull(content, "LastModified") ?? "");
    if (!Number.isSafeInteger(sizeBytes) || !Number.isFinite(modifiedMs)) {
      throw unusable(request, `the entry of ${JSON.stringify(fullKey)} lacks size or time`);
    }
    if (!fullKey.startsWith(request.fullPrefix)) {
      throw unusable(request, `it names ${JSON.stringify(fullKey)}, which is outside the prefix`);
    }
    objects.push({ fullKey, sizeBytes, modifiedMs });
  }
  const folders: string[] = [];
  for (const content of xmlElements(xml, "CommonPrefixes")) {
    folders.push(decode(decodeXmlText(xmlElementOrNull(content, "Prefix") ?? "")));
  }
  return { objects, folders };
}

/** `encoding-type=url` is form encoding: "+" is a space. */
function decodeUrlText(text: string): string {
  return decodeURIComponent(text.replaceAll("+", " "));
}

function unusable(request: S3ListRequest, reason: string): WalrustError {
  return new WalrustError(
    "storage",
    `Cannot ${request.action}: the store's listing cannot be used: ${reason}`,
  );
}
