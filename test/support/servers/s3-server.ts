/**
 * An S3 server in this process. It verifies every signature (s3-signature.ts), keeps objects in memory,
 * counts requests by kind and injects faults before or after a request takes effect. It serves path style
 * only; a test names the buckets. It runs on node:http, which gives the undecoded request target and can
 * reset a connection.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import {
  type Answer,
  compareBytes,
  error,
  errorXml,
  escapeXml,
  listEntry,
  partsPage,
  type StoredObject,
  type StoredPart,
  unescapeXml,
} from "./s3-answers.ts";
import { type Call, keptHeaders, kindOf, parseCall, type RequestKind } from "./s3-call.ts";
import { refusalOrNull } from "./s3-signature.ts";

/** A fault of one or more requests. */
export interface Fault {
  readonly kind: RequestKind;
  /** Whether the request takes effect before it fails. */
  readonly when: "before" | "after";
  /**
   * - status: an answer with this status and S3 code (no body for HEAD)
   * - reset: the server closes the connection without an answer
   * - hang: no answer until the server stops
   * - truncate: half of the announced body, then the server closes the connection
   * - errorIn200: status 200 and an error in the body
   * - instead: an answer of a party between walrust and the store
   */
  readonly answer:
    | { readonly status: number; readonly code: string; readonly headers?: Record<string, string> }
    | "reset"
    | "hang"
    | "truncate"
    | { readonly errorIn200: string }
    | { readonly instead: Answer };
  /** Keys that the fault applies to, matched after the bucket; all by default. */
  readonly key?: RegExp;
  /** Number of requests that fail; 1 by default. */
  readonly count?: number;
  /** Number of requests of the kind that pass before the first one fails; 0 by default. */
  readonly skip?: number;
}

/** Behaviour of the server; a test may change it at any time. */
export interface S3ServerOptions {
  accessKeyId: string;
  secretAccessKey: string;
  sessionToken: string | undefined;
  region: string;
  buckets: string[];
  /** Offset of the server's clock from the real clock. */
  clockOffsetMs: number;
  /** "yes", "ignored" (header without effect) or "refused" (501). */
  conditionalPut: "yes" | "ignored" | "refused";
  /** Whether completing a multipart upload honours a condition; like `conditionalPut` by default. */
  conditionalComplete: "yes" | "ignored" | undefined;
  listPageSize: number;
  /**
   * Treatment of `encoding-type=url` in a listing: "asked" encodes on request; "always" encodes without a
   * request; "echo" confirms without encoding; "claim" confirms without a request and without encoding.
   */
  urlEncoding: "asked" | "always" | "echo" | "claim";
  /** Whether a listing is ordered by key. A directory bucket lists in no order and ignores the start key. */
  isListOrdered: boolean;
  /** Keys that the server never deletes, or all. */
  undeletable: string[] | "all";
  /** Whether the server has DeleteObjects, or its answer instead. */
  deleteMany: "yes" | Answer;
  /** Whether the server lists multipart uploads, and their parts. */
  listsUploads: boolean;
  /** Whether the server refuses puts without Content-MD5, like a bucket with a default retention. */
  needsContentMd5: boolean;
  /** ETags of objects: the MD5, a value that resembles an MD5, or another value. */
  etags: "md5" | "strange" | "opaque";
  /** Fields that a gateway omits from its answers. */
  omits: { metadata?: boolean; headLength?: boolean; bodyLength?: boolean };
}

interface Upload {
  readonly id: string;
  readonly key: string;
  readonly headers: Record<string, string>;
  readonly parts: Map<number, StoredPart>;
  readonly initiatedMs: number;
}

/** The server. `S3Server.start()` listens on a free loopback port. */
export class S3Server {
  readonly options: S3ServerOptions;
  /** Objects by "bucket/key". */
  readonly objects = new Map<string, StoredObject>();
  readonly uploads = new Map<string, Upload>();
  /** Requests by kind, refused and failed ones included. */
  readonly counts = new Map<RequestKind, number>();
  /** S3 codes of the requests refused for their signature or hash. */
  readonly refusals: string[] = [];
  /** The headers of the last request of a kind. */
  readonly lastHeaders = new Map<RequestKind, Readonly<Record<string, string | undefined>>>();
  /** The next `left` requests of a kind are answered once all have taken effect; null: each at once. */
  gathering: { kind: RequestKind; left: number; all: PromiseWithResolvers<void> } | null = null;
  #faults: { fault: Fault; left: number; toSkip: number }[] = [];
  #server: Server;
  #uploadCount = 0;

  private constructor(options: Partial<S3ServerOptions>) {
    this.options = {
      accessKeyId: "test",
      secretAccessKey: "testsecret",
      sessionToken: undefined,
      region: "us-east-1",
      buckets: ["bucket"],
      clockOffsetMs: 0,
      conditionalPut: "yes",
      conditionalComplete: undefined,
      listPageSize: 1_000,
      urlEncoding: "asked",
      isListOrdered: true,
      undeletable: [],
      deleteMany: "yes",
      listsUploads: true,
      needsContentMd5: false,
      etags: "md5",
      omits: {},
      ...options,
    };
    this.#server = createServer((request, response) => void this.#serve(request, response));
  }

  /** Starts a server. */
  static async start(options: Partial<S3ServerOptions> = {}): Promise<S3Server> {
    const server = new S3Server(options);
    const { promise, resolve } = Promise.withResolvers<void>();
    server.#server.listen(0, "127.0.0.1", resolve);
    await promise;
    return server;
  }

  /** The endpoint's URL. */
  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Injects a fault into the next requests of a kind. */
  inject(fault: Fault): void {
    this.#faults.push({ fault, left: fault.count ?? 1, toSkip: fault.skip ?? 0 });
  }

  /** Removes all faults. */
  clearFaults(): void {
    this.#faults = [];
  }

  /** Number of requests of a kind. */
  count(kind: RequestKind): number {
    return this.counts.get(kind) ?? 0;
  }

  /** Removes objects, counts and faults. */
  reset(): void {
    this.objects.clear();
    this.uploads.clear();
    this.counts.clear();
    this.refusals.length = 0;
    this.#faults = [];
    this.gathering = null;
  }

  /** Stops listening and closes all connections. */
  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    try {
      for await (const chunk of request) chunks.push(chunk as Buffer);
    } catch {
      return;
    }
    const call = parseCall(request, Buffer.concat(chunks));
    const kind = kindOf(call);
    this.counts.set(kind, this.count(kind) + 1);
    this.lastHeaders.set(kind, call.headers);
    const fault = this.#takeFault(kind, call.key);
    const refused = this.#refuse(call);
    const answer =
      refused ??
      (fault?.when === "before" && fault.answer !== "truncate" ? { status: 200 } : this.#handle(kind, call));
    const { gathering } = this;
    if (gathering?.kind === kind && --gathering.left === 0) gathering.all.resolve();
    if (gathering?.kind === kind) await gathering.all.promise;
    if (fault === null || refused !== null) return this.#send(call, response, answer);
    this.#sendFault(call, response, answer, fault);
  }

  #takeFault(kind: RequestKind, key: string): Fault | null {
    const isMeant = (fault: Fault): boolean => fault.kind === kind && (fault.key?.test(key) ?? true);
    const entry = this.#faults.find(({ fault, left }) => left > 0 && isMeant(fault));
    if (entry === undefined) return null;
    if (entry.toSkip > 0) {
      entry.toSkip--;
      return null;
    }
    entry.left--;
    return entry.fault;
  }

  #refuse(call: Call): Answer | null {
    const { accessKeyId, secretAccessKey, sessionToken, region } = this.options;
    const nowMs = Date.now() + this.options.clockOffsetMs;
    if (call.headers["transfer-encoding"] !== undefined) return error(411, "MissingContentLength");
    const refusal = refusalOrNull(call, { accessKeyId, secretAccessKey, sessionToken, region, nowMs });
    if (refusal === null) return null;
    this.refusals.push(refusal.code);
    return error(refusal.status, refusal.code, refusal.message);
  }

  #send(call: Call, response: ServerResponse, answer: Answer): void {
    const body = Buffer.from(answer.body ?? "");
    const headers: Record<string, string> = {
      date: new Date(Date.now() + this.options.clockOffsetMs).toUTCString(),
      "x-amz-request-id": "0123456789ABCDEF",
      "content-length": String(body.byteLength),
      ...answer.headers,
    };
    const { metadata, headLength, bodyLength } = this.options.omits;
    for (const name of Object.keys(headers))
      if (metadata && name.startsWith("x-amz-meta-")) delete headers[name];
    const isBody = call.method === "GET" && call.key !== "" && answer.status === 200;
    if ((headLength && call.method === "HEAD") || (bodyLength && isBody)) delete headers["content-length"];
    response.writeHead(answer.status, headers);
    response.end(call.method === "HEAD" ? undefined : body);
  }

  #sendFault(call: Call, response: ServerResponse, answer: Answer, fault: Fault): void {
    if (fault.answer === "hang") return;
    if (fault.answer === "reset") {
      response.socket?.destroy();
    } else if (fault.answer === "truncate") {
      const body = Buffer.from(answer.body ?? "");
      response.writeHead(answer.status, { "content-length": String(body.byteLength), ...answer.headers });
      response.write(body.subarray(0, body.byteLength / 2), () => response.socket?.destroy());
    } else if ("errorIn200" in fault.answer) {
      this.#send(call, response, { status: 200, body: errorXml(fault.answer.errorIn200, "injected") });
    } else if ("instead" in fault.answer) {
      this.#send(call, response, fault.answer.instead);
    } else {
      const { status, code, headers } = fault.answer;
      this.#send(call, response, {
        ...error(status, code, "injected"),
        ...(headers === undefined ? {} : { headers }),
      });
    }
  }

  #handle(kind: RequestKind, call: Call): Answer {
    if (!this.options.buckets.includes(call.bucket)) return error(404, "NoSuchBucket");
    switch (kind) {
      case "put":
        return this.#put(call);
      case "get":
      case "head":
        return this.#get(call);
      case "headBucket":
        return { status: 200 };
      case "list":
        return this.#list(call);
      case "deleteMany":
        return this.options.deleteMany === "yes" ? this.#deleteMany(call) : this.options.deleteMany;
      case "deleteOne":
        return this.#deleteOne(call);
      case "listUploads":
        return this.#listUploads(call);
      case "createUpload":
        return this.#createUpload(call);
      case "putPart":
        return this.#putPart(call);
      case "listParts":
        return this.#listParts(call);
      case "completeUpload":
        return this.#completeUpload(call);
      case "abortUpload":
        return this.uploads.delete(call.query.get("uploadId") ?? "")
          ? { status: 204 }
          : error(404, "NoSuchUpload");
      default:
        return error(400, "InvalidRequest", `${call.method} ${call.target}`);
    }
  }

  #conditionError(call: Call, mode: S3ServerOptions["conditionalPut"]): Answer | null {
    if (call.headers["if-none-match"] === undefined || mode === "ignored") return null;
    if (mode === "refused") return error(501, "NotImplemented");
    return this.objects.has(`${call.bucket}/${call.key}`) ? error(412, "PreconditionFailed") : null;
  }

  #put(call: Call): Answer {
    const refused = this.#md5Error(call) ?? this.#conditionError(call, this.options.conditionalPut);
    if (refused !== null) return refused;
    const etag = this.#etagOf(call.body);
    this.#store(call, call.body, keptHeaders(call), etag);
    return { status: 200, headers: { etag } };
  }

  #md5Error(call: Call): Answer | null {
    const given = call.headers["content-md5"];
    if (given === undefined && this.options.needsContentMd5) {
      const header = "Content-MD5 OR x-amz-checksum- HTTP header";
      return error(
        400,
        "InvalidRequest",
        `${header} is required for Put Object requests with Object Lock parameters`,
      );
    }
    const md5 = createHash("md5").update(call.body).digest("base64");
    return given === undefined || given === md5 ? null : error(400, "BadDigest");
  }

  #etagOf(bytes: Buffer): string {
    const md5 = createHash("md5").update(bytes).digest("hex");
    if (this.options.etags === "md5") return `"${md5}"`;
    return this.options.etags === "strange"
      ? `"${[...md5].reverse().join("")}"`
      : `"0x8D${md5.slice(0, 12)}"`;
  }

  #store(call: Call, bytes: Buffer, headers: Record<string, string>, etag: string): void {
    const modifiedMs = Date.now() + this.options.clockOffsetMs;
    this.objects.set(`${call.bucket}/${call.key}`, { bytes, headers, etag, modifiedMs });
  }

  #get(call: Call): Answer {
    const object = this.objects.get(`${call.bucket}/${call.key}`);
    if (object === undefined) return error(404, "NoSuchKey");
    const { bytes, etag, modifiedMs } = object;
    const headers = { ...object.headers, etag, "last-modified": new Date(modifiedMs).toUTCString() };
    const range = /^bytes=(\d+)-(\d+)$/.exec(call.headers["range"] ?? "");
    if (call.method === "HEAD") {
      return { status: 200, headers: { ...headers, "content-length": String(bytes.byteLength) } };
    }
    if (range === null) return { status: 200, headers, body: bytes };
    const first = Number(range[1]);
    const last = Math.min(Number(range[2]), bytes.byteLength - 1);
    if (first > last) return error(416, "InvalidRange");
    const contentRange = `bytes ${first}-${last}/${bytes.byteLength}`;
    return {
      status: 206,
      headers: { ...headers, "content-range": contentRange },
      body: bytes.subarray(first, last + 1),
    };
  }

  #list({ bucket, query }: Call): Answer {
    const prefix = query.get("prefix") ?? "";
    const { isListOrdered } = this.options;
    const startAfter = (isListOrdered ? query.get("start-after") : null) ?? "";
    const after = query.get("continuation-token")?.slice("token:".length) ?? startAfter;
    const delimiter = query.get("delimiter");
    const entries = new Map<string, StoredObject | null>();
    for (const [path, object] of this.objects) {
      if (!path.startsWith(`${bucket}/${prefix}`)) continue;
      const key = path.slice(bucket.length + 1);
      const end = delimiter === null ? -1 : key.indexOf(delimiter, prefix.length);
      if (end === -1) entries.set(key, object);
      else entries.set(key.slice(0, end + 1), null);
    }
    const rank = isListOrdered ? (name: string) => name : shuffledName;
    const names = [...entries.keys()]
      .filter((name) => compareBytes(rank(name), after) > 0)
      .sort((a, b) => compareBytes(rank(a), rank(b)));
    const page = names.slice(0, Math.min(this.options.listPageSize, Number(query.get("max-keys") ?? 1000)));
    const isTruncated = page.length < names.length;
    const { urlEncoding } = this.options;
    const isAsked = query.get("encoding-type") === "url";
    const isEncoded = urlEncoding === "always" || (urlEncoding === "asked" && isAsked);
    const isClaimed = isEncoded || urlEncoding === "claim" || (urlEncoding === "echo" && isAsked);
    const xml = page.map((name) => listEntry(name, entries.get(name) ?? null, isEncoded)).join("");
    const token = isTruncated
      ? `<NextContinuationToken>token:${escapeXml(rank(page.at(-1)!))}</NextContinuationToken>`
      : "";
    const claim = isClaimed ? "<EncodingType>url</EncodingType>" : "";
    const head = `${claim}<IsTruncated>${isTruncated}</IsTruncated>${token}`;
    const xmlns = "http://s3.amazonaws.com/doc/2006-03-01/";
    const content = `${head}${xml}`;
    const body = `<?xml version="1.0"?>\n<ListBucketResult xmlns="${xmlns}">${content}</ListBucketResult>`;
    return { status: 200, body };
  }

  #deleteMany(call: Call): Answer {
    const md5 = createHash("md5").update(call.body).digest("base64");
    if (call.headers["content-md5"] !== md5) return error(400, "BadDigest");
    const keys = [...call.body.toString().matchAll(/<Key>([^<]*)<\/Key>/g)].map((match) =>
      unescapeXml(match[1]!),
    );
    if (keys.length === 0 || keys.length > 1000) return error(400, "MalformedXML");
    let errors = "";
    for (const key of keys) {
      if (this.#isHeld(key)) {
        const reason = "<Code>AccessDenied</Code><Message>held</Message>";
        errors += `<Error><Key>${escapeXml(key)}</Key>${reason}</Error>`;
      } else {
        this.objects.delete(`${call.bucket}/${key}`);
      }
    }
    return { status: 200, body: `<DeleteResult>${errors}</DeleteResult>` };
  }

  #isHeld(key: string): boolean {
    const { undeletable } = this.options;
    return undeletable === "all" || undeletable.includes(key);
  }

  #deleteOne({ bucket, key }: Call): Answer {
    if (this.#isHeld(key)) return error(403, "AccessDenied", "held");
    this.objects.delete(`${bucket}/${key}`);
    return { status: 204 };
  }

  #listUploads({ query }: Call): Answer {
    if (!this.options.listsUploads) return error(501, "NotImplemented");
    let xml = "";
    for (const { id, key, initiatedMs } of this.uploads.values()) {
      if (!key.startsWith(query.get("prefix") ?? "")) continue;
      const initiated = `<Initiated>${new Date(initiatedMs).toISOString()}</Initiated>`;
      xml += `<Upload><Key>${escapeXml(key)}</Key><UploadId>${id}</UploadId>${initiated}</Upload>`;
    }
    const content = `<IsTruncated>false</IsTruncated>${xml}`;
    return { status: 200, body: `<ListMultipartUploadsResult>${content}</ListMultipartUploadsResult>` };
  }

  #createUpload(call: Call): Answer {
    const id = `upload-${++this.#uploadCount}+/=`;
    const initiatedMs = Date.now() + this.options.clockOffsetMs;
    this.uploads.set(id, { id, key: call.key, headers: keptHeaders(call), parts: new Map(), initiatedMs });
    const xml = `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`;
    return { status: 200, body: xml };
  }

  #putPart(call: Call): Answer {
    const upload = this.uploads.get(call.query.get("uploadId") ?? "");
    if (upload === undefined) return error(404, "NoSuchUpload");
    const refused = this.#md5Error(call);
    if (refused !== null) return refused;
    const etag = this.#etagOf(call.body);
    upload.parts.set(Number(call.query.get("partNumber")), { bytes: call.body, etag });
    return { status: 200, headers: { etag } };
  }

  #listParts({ query }: Call): Answer {
    if (!this.options.listsUploads) return error(501, "NotImplemented");
    const upload = this.uploads.get(query.get("uploadId") ?? "");
    if (upload === undefined) return error(404, "NoSuchUpload");
    const marker = Number(query.get("part-number-marker") ?? 0);
    return { status: 200, body: partsPage(upload.parts, marker, this.options.listPageSize) };
  }

  #completeUpload(call: Call): Answer {
    const upload = this.uploads.get(call.query.get("uploadId") ?? "");
    if (upload === undefined || upload.key !== call.key) return error(404, "NoSuchUpload");
    const pattern = /<Part><PartNumber>(\d+)<\/PartNumber><ETag>([^<]*)<\/ETag><\/Part>/g;
    const listed = [...call.body.toString().matchAll(pattern)];
    const bytes: Buffer[] = [];
    for (const [index, match] of listed.entries()) {
      const part = upload.parts.get(Number(match[1]));
      if (part === undefined || part.etag !== unescapeXml(match[2]!)) return error(400, "InvalidPart");
      if (index < listed.length - 1 && part.bytes.byteLength < 5 * 1024 * 1024)
        return error(400, "EntityTooSmall");
      bytes.push(part.bytes);
    }
    if (bytes.length !== upload.parts.size) return error(400, "InvalidPart");
    const { conditionalPut, conditionalComplete = conditionalPut } = this.options;
    const refused = this.#conditionError(call, conditionalComplete);
    if (refused !== null) return refused;
    this.uploads.delete(upload.id);
    const etag = `"${upload.id.length}-${bytes.length}"`;
    this.#store(call, Buffer.concat(bytes), upload.headers, etag);
    const place = `<Bucket>${call.bucket}</Bucket><Key>${escapeXml(call.key)}</Key>`;
    const xml = `${place}<ETag>${etag.replaceAll('"', "&quot;")}</ETag>`;
    return { status: 200, body: `<CompleteMultipartUploadResult>${xml}</CompleteMultipartUploadResult>` };
  }
}

/** The sort key of a directory bucket: an order that no client can predict. */
function shuffledName(name: string): string {
  return createHash("md5").update(name).digest("hex");
}
