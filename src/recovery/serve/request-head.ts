/**
 * PURE: reads the head of an HTTP/1.1 request that may have a body of known length. A body in chunks and an
 * upgrade are refused: every body states its length before it begins.
 *
 * Source: RFC 9112, sections 2.2, 3, 5, 6 and 9.3.
 */

/** The most bytes of a request line and its headers. */
export const HEAD_SIZE_MAX = 16 * 1024;

/** A complete request head. */
export interface RequestHead {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** By lower-case name. A header that comes twice is refused, except for lists. */
  readonly headers: ReadonlyMap<string, string>;
  /** The length of the body; 0 without one. */
  readonly bodyBytes: number;
  /** Whether the connection is kept for another request. */
  readonly isKept: boolean;
  /** Whether the client waits for leave to send the body. */
  readonly awaitsContinue: boolean;
}

/** The meaning of the bytes received so far. */
export type RequestReading =
  | { readonly kind: "incomplete" }
  /** The head, and how many bytes it has. */
  | { readonly kind: "head"; readonly head: RequestHead; readonly sizeBytes: number }
  | { readonly kind: "refused"; readonly status: 400 | 411 | 431 | 505 };

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
const LENGTH = /^\d{1,15}$/;

/** Reads a head from the bytes received so far, as Latin-1 text. */
export function readRequestHead(text: string): RequestReading {
  const end = text.indexOf("\r\n\r\n");
  if (end > HEAD_SIZE_MAX || (end === -1 && text.length > HEAD_SIZE_MAX)) return refused(431);
  if (end === -1) return { kind: "incomplete" };
  const [requestLine = "", ...fields] = text.slice(0, end).split("\r\n");
  const [, method = "", target = "", major, minor] =
    /^(\S+) (\/\S*) HTTP\/(\d)\.(\d)$/.exec(requestLine) ?? [];
  if (!TOKEN.test(method)) return refused(400);
  if (major !== "1") return refused(505);
  const headers = new Map<string, string>();
  for (const field of fields) {
    const colon = field.indexOf(":");
    const name = field.slice(0, Math.max(colon, 0)).toLowerCase();
    if (!TOKEN.test(name) || headers.has(name)) return refused(400);
    headers.set(name, field.slice(colon + 1).trim());
  }
  if (!headers.has("host") && minor !== "0") return refused(400);
  if (headers.has("transfer-encoding")) return refused(411);
  const length = headers.get("content-length") ?? "0";
  if (!LENGTH.test(length)) return refused(400);
  if (method === "PUT" && !headers.has("content-length")) return refused(411);
  const connection = (headers.get("connection") ?? "").toLowerCase();
  const head = {
    method,
    path: target.split("?", 1)[0]!,
    headers,
    bodyBytes: Number(length),
    isKept: minor !== "0" && !connection.includes("close"),
    awaitsContinue: headers.get("expect")?.toLowerCase() === "100-continue",
  };
  return { kind: "head", head, sizeBytes: end + 4 };
}

function refused(status: 400 | 411 | 431 | 505): RequestReading {
  return { kind: "refused", status };
}
