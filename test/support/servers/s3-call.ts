/** A request to the in-process S3 server: its bucket, its key and its kind. */
import type { IncomingMessage } from "node:http";
import type { RawRequest } from "./s3-signature.ts";

/** The kinds of requests that the server counts and a fault names. */
export type RequestKind =
  | "put"
  | "get"
  | "head"
  | "headBucket"
  | "list"
  | "deleteMany"
  | "deleteOne"
  | "listUploads"
  | "createUpload"
  | "putPart"
  | "listParts"
  | "completeUpload"
  | "abortUpload"
  | "unknown";

/** A request, parsed. */
export interface Call extends RawRequest {
  readonly bucket: string;
  readonly key: string;
  readonly query: URLSearchParams;
}

const KEPT_HEADERS = /^(x-amz-meta-|x-amz-storage-class|x-amz-server-side|content-type)/;

/** Parses a request with its body. */
export function parseCall(request: IncomingMessage, body: Buffer): Call {
  const target = request.url ?? "/";
  const mark = target.indexOf("?");
  const path = mark === -1 ? target : target.slice(0, mark);
  const [bucket = "", ...segments] = path.slice(1).split("/").map(decodeURIComponent);
  const query = new URLSearchParams(mark === -1 ? "" : target.slice(mark + 1));
  const headers: Record<string, string | undefined> = {};
  for (const [name, value] of Object.entries(request.headers)) headers[name] = value?.toString();
  return { method: request.method ?? "", target, headers, body, bucket, key: segments.join("/"), query };
}

/** The kind of a request. */
export function kindOf({ method, key, query }: Call): RequestKind {
  if (key === "") {
    if (method === "GET" && query.get("list-type") === "2") return "list";
    if (method === "GET" && query.has("uploads")) return "listUploads";
    if (method === "POST" && query.has("delete")) return "deleteMany";
    return method === "HEAD" ? "headBucket" : "unknown";
  }
  const isUpload = query.has("uploadId");
  if (method === "PUT") return isUpload ? "putPart" : "put";
  if (method === "POST")
    return isUpload ? "completeUpload" : query.has("uploads") ? "createUpload" : "unknown";
  if (method === "DELETE") return isUpload ? "abortUpload" : "deleteOne";
  if (method === "HEAD") return "head";
  if (method === "GET") return isUpload ? "listParts" : "get";
  return "unknown";
}

/** The headers that the server stores with an object. */
export function keptHeaders(call: Call): Record<string, string> {
  const kept: Record<string, string> = {};
  for (const [name, value] of Object.entries(call.headers)) {
    if (KEPT_HEADERS.test(name) && value !== undefined) kept[name] = value;
  }
  return kept;
}
