/**
 * Decides whether an answer is the store's. A captive portal, a load balancer or a wrong endpoint answers 200
 * to everything; taken for the store, it would acknowledge uploads that nobody holds. So a status alone
 * proves nothing: a request has succeeded if and only if the answer carries what S3 promises for it.
 *
 *     PUT of an object or a part    status 200 and an ETag
 *     GET, HEAD of an object        an ETag, a Last-Modified or metadata
 *     CompleteMultipartUpload,      status 200 and their result document
 *     CreateMultipartUpload,
 *     DeleteObjects, listings
 *     DELETE                        status 204, or 200 without a document of something else
 *
 * No answer of S3 to these requests is HTML. An answer that fails this test is "not the store": an error that
 * is tried again, because such answers end when the network or the balancer is well again.
 */
import { WalrustError } from "../../errors.ts";
import { parseXmlOrNull, type XmlElement } from "./s3-xml.ts";

/** The name in an error's context of what came instead. */
const NOT_THE_STORE = "notTheStore";

const HINT =
  "Something between this machine and the store answered in its place (the sign-in page of a network, a " +
  "proxy, a load balancer without a backend), or the endpoint is no S3 endpoint: " +
  "check the endpoint and the network";

/** What of an answer is judged. */
export interface JudgedAnswer {
  readonly status: number;
  readonly headers: Headers;
}

/**
 * The error for an answer that is not the store's.
 * @param action as in "put k to s3://bucket"
 * @param found what came, as in "200 without an ETag"
 * @param hint where more is known of the cause
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

/** What came instead of an answer of the store, as in "200 without an ETag". */
export function strangeAnswerOf(error: WalrustError): string {
  return String(error.context[NOT_THE_STORE] ?? "");
}

/**
 * Whether an answer is a page for people: HTML with a body. A server may call an empty body HTML, and answer
 * 5xx for a store that will be back; neither stands in the store's place.
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
  // Objects of ours are no HTML; this is for HEAD, whose answer has no body.
  if (isHtml(headers)) throw notTheStore(action, `${status} with an HTML page`);
  if (status !== 200 && status !== 206) throw notTheStore(action, `${status}, expected 200`);
  if (headers.has("etag") || headers.has("last-modified")) return;
  for (const name of headers.keys()) if (name.startsWith("x-amz-meta-")) return;
  throw notTheStore(action, `${status} without an ETag and a Last-Modified`);
}

/**
 * The root element of an answer's document. It may be an `<Error>`: S3 sends one with status 200, too, and
 * the caller reads it.
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

/** The MD5 that an ETag is, as 32 hex digits, or null: those of parts, of encrypted objects are none. */
export function md5OfEtagOrNull(etag: string): string | null {
  return /^(?:W\/)?"?([0-9a-fA-F]{32})"?$/.exec(etag)?.[1]?.toLowerCase() ?? null;
}
