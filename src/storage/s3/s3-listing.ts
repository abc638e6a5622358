/**
 * Lists a bucket with ListObjectsV2, in pages of up to 1,000 entries, and checks each page. A listing that
 * ends early would look like missing backups, so it is an error.
 *
 * Keys are requested unencoded, without `encoding-type=url`: some stores confirm this parameter and do not
 * encode, which turns `a+b` into `a b`. Encoding exists for control characters, which XML 1.0 cannot carry.
 * No key of ours has one, and a foreign key that a store distorts belongs to no database. Some stores encode
 * unasked: such a page is decoded if every entry on it can be encoded text, otherwise no entry is decoded.
 *
 * A listing without end is an error: a token that comes again, 200 pages in a row without an entry, or more
 * than 1,000,000 entries.
 */
import { WalrustError } from "../../errors.ts";
import { documentOf } from "./s3-answer.ts";
import type { S3Client } from "./s3-client.ts";
import type { XmlElement } from "./s3-xml.ts";

/** Delete markers make pages without entries: some such pages in a row are no fault. */
const EMPTY_PAGES_MAX = 200;
/** A compacted database has some 4,000 objects, a destination some thousands of databases. */
const ENTRIES_MAX = 1_000_000;

/** The objects to list. */
export interface S3ListRequest {
  readonly action: string;
  /** Prefix in the bucket. */
  readonly fullPrefix: string;
  readonly startAfter?: string | undefined;
  /** Continues a listing: `nextToken` of an earlier page. */
  readonly token?: string | null;
  /** "/" lists folders instead of the objects in them. */
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
  /** In the order of the store, which need not be sorted. */
  readonly objects: readonly S3ListedObject[];
  /** Common prefixes; they end in the delimiter. */
  readonly folders: readonly string[];
  /** The number of objects and folders, those outside the prefix too. */
  readonly entryCount: number;
  /** Null on the last page. */
  readonly nextToken: string | null;
}

/** The pages of a listing. @throws WalrustError "missing-bucket", "auth" or "storage". */
export async function* s3ListPages(client: S3Client, request: S3ListRequest): AsyncGenerator<S3ListPage> {
  let { token = null } = request;
  const seenTokens = new Set<number | bigint>();
  let emptyPages = 0;
  let entryCount = 0;
  while (true) {
    const result = await sendPage(client, request, token);
    const page = parsePage(result, request);
    entryCount += page.entryCount;
    emptyPages = page.entryCount === 0 ? emptyPages + 1 : 0;
    yield page;
    token = page.nextToken;
    if (token === null) return;
    const tokenHash = Bun.hash(token);
    if (seenTokens.has(tokenHash))
      throw unusable(request, "it goes in circles: a continuation token came again");
    seenTokens.add(tokenHash);
    if (emptyPages >= EMPTY_PAGES_MAX) {
      throw unusable(request, `it does not end: ${emptyPages} pages in a row have no entry`);
    }
    if (entryCount >= ENTRIES_MAX) {
      throw unusable(request, `it does not end: expected fewer than ${ENTRIES_MAX} entries`);
    }
  }
}

async function sendPage(client: S3Client, request: S3ListRequest, token: string | null): Promise<XmlElement> {
  const query: [string, string][] = [
    ["list-type", "2"],
    ["max-keys", "1000"],
    ["prefix", request.fullPrefix],
  ];
  if (request.delimiter !== undefined) query.push(["delimiter", request.delimiter]);
  if (token !== null) query.push(["continuation-token", token]);
  else if (request.startAfter !== undefined) query.push(["start-after", request.startAfter]);
  const { action, signal } = request;
  const answer = await client.send({ action, method: "GET", fullKey: null, query, signal });
  const result = documentOf(answer, "ListBucketResult", action);
  if (result.name === "Error") throw unusable(request, "the answer is an error");
  return result;
}

function parsePage(result: XmlElement, request: S3ListRequest): S3ListPage {
  const contents = result.children.filter(({ name }) => name === "Contents");
  const prefixes = result.children.filter(({ name }) => name === "CommonPrefixes");
  const texts = [
    ...contents.map((content) => textOf(content, "Key") ?? ""),
    ...prefixes.map((content) => textOf(content, "Prefix") ?? ""),
  ];
  const entries = decodeEntries(texts, request.fullPrefix, textOf(result, "EncodingType") === "url");
  const isInside = (entry: string): boolean => entry.startsWith(request.fullPrefix);
  const outside = entries.filter((entry) => !isInside(entry));
  // A strange folder among those requested hides none of ours; a store that ignores the prefix hides all.
  const isOfFolders = request.delimiter !== undefined;
  if (outside.length > 0 && (!isOfFolders || outside.length === entries.length)) {
    throw unusable(request, `it names ${JSON.stringify(outside[0])}, which is outside the prefix`);
  }
  return {
    objects: isOfFolders ? [] : contents.map((content, index) => objectOf(content, entries[index]!, request)),
    folders: entries.slice(contents.length).filter(isInside),
    entryCount: entries.length,
    nextToken: nextTokenOrNull(result, request),
  };
}

function nextTokenOrNull(result: XmlElement, request: S3ListRequest): string | null {
  if (textOf(result, "IsTruncated") !== "true") return null;
  const token = textOf(result, "NextContinuationToken");
  if (token === null || token === "")
    throw unusable(request, "it is truncated, but has no continuation token");
  return token;
}

function objectOf(content: XmlElement, fullKey: string, request: S3ListRequest): S3ListedObject {
  const sizeBytes = Number(textOf(content, "Size") ?? Number.NaN);
  const modifiedMs = Date.parse(textOf(content, "LastModified") ?? "");
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < 0 || !Number.isFinite(modifiedMs)) {
    throw unusable(request, `the entry of ${JSON.stringify(fullKey)} lacks size or time`);
  }
  // A copy: a substring of the answer would keep the whole page in memory.
  return { fullKey: Buffer.from(fullKey).toString(), sizeBytes, modifiedMs };
}

/**
 * The keys of a page's entries. `isMarked`: the page claims that they are URL-encoded. The claim counts only
 * if the entries decode to different keys below the prefix, and none holds a character that every encoder
 * encodes.
 */
export function decodeEntries(entries: readonly string[], fullPrefix: string, isMarked: boolean): string[] {
  if (!isMarked) return [...entries];
  const decoded = new Set<string>();
  for (const entry of entries) {
    const key = urlDecodedOrNull(entry);
    // Two texts that decode to one key are no encodings: each key has only one.
    if (key === null || !key.startsWith(fullPrefix) || decoded.has(key)) return [...entries];
    decoded.add(key);
  }
  return [...decoded];
}

/** Decodes form encoding, in which "+" is a space. */
function urlDecodedOrNull(text: string): string | null {
  if (!/^[!#-;=?-[\]_a-z~]*$/i.test(text)) return null;
  try {
    return decodeURIComponent(text.replaceAll("+", " "));
  } catch {
    return null;
  }
}

/** The text of the first child `name`, or null. */
function textOf(element: XmlElement, name: string): string | null {
  return element.children.find((child) => child.name === name)?.text ?? null;
}

function unusable(request: S3ListRequest, reason: string): WalrustError {
  return new WalrustError(
    "storage",
    `Cannot ${request.action}: the store's listing cannot be used: ${reason}`,
  );
}
