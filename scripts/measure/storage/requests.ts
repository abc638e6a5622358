/**
 * Recognises the requests that pass the line to the storage. PURE.
 */

/** Kind of an S3 request, with the level of the object for a put. */
export type RequestKind =
  | "put increment"
  | "put merged"
  | "put snapshot"
  | "put manifest"
  | "get"
  | "head"
  | "list"
  | "delete"
  | "other";

const REQUEST_LINE = /^(PUT|GET|HEAD|POST|DELETE) (\S+) HTTP\/1\.1\r\n/;
/** The longest request line: a key of a few hundred bytes. */
const LINE_BYTES_MAX = 2_048;

/** The kind of the request that begins with these bytes; null if no request begins here. */
export function requestKindOrNull(bytes: Uint8Array): RequestKind | null {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(bytes.length, LINE_BYTES_MAX)).toString(
    "latin1",
  );
  const [, method, target = ""] = text.match(REQUEST_LINE) ?? [];
  switch (method) {
    case undefined:
      return null;
    case "PUT":
      return putKind(target);
    case "GET":
      return /[?&]list-type=2/.test(target) ? "list" : /[?&]uploads\b/.test(target) ? "other" : "get";
    case "HEAD":
      return "head";
    case "DELETE":
      return "delete";
    default:
      return /[?&]delete\b/.test(target) ? "delete" : "other";
  }
}

function putKind(target: string): RequestKind {
  const level = target.match(/\/(000[0-9])\/[^/?]+\.ltx/)?.[1];
  if (level === "0000") return "put increment";
  if (level === "0009") return "put snapshot";
  if (level !== undefined) return "put merged";
  return /\/manifest\.json/.test(target) ? "put manifest" : "other";
}
