/**
 * One request to S3: signed, sent with Bun's fetch, watched, and its answer turned into a response or an
 * error.
 *
 * - Signed with the SHA-256 of the real body; a Content-Length, no chunked encoding, no extra checksum
 *   headers.
 * - Redirects are not followed: a signature is good for one host.
 * - A 403 whose Date differs from our clock by more than four minutes corrects the clock offset, and an
 *   expired token is replaced; each once, then the request is sent again. Neither had any effect on the
 *   store.
 * - A body of an answer is read or cancelled; the connection goes back to the pool either way.
 * - No secret gets into an error or a log.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { collectChunks, putBodyChunks, putBodySize } from "../contract/object-body.ts";
import { answerCodeOf, answerStatusOf } from "../contract/request-errors.ts";
import { RETRY_AFTER } from "../contract/retry.ts";
import type { PutBody } from "../contract/store.ts";
import { type ConnectionProblem, connectionProblem } from "../network/connection-errors.ts";
import { proxyOrNull, throughProxy } from "../network/proxy.ts";
import type { ReachabilityMonitor } from "../network/reachability-monitor.ts";
import { StallTimeout } from "../network/stall-timeout.ts";
import { DEFAULT_TLS_TRUST, type TlsTrust } from "../network/tls-trust.ts";
import { Uplink } from "../network/uplink.ts";
import type { CredentialSource } from "./credentials.ts";
import { type S3Address, s3ObjectPath } from "./s3-address.ts";
import { isPage, notTheStore, rootElementOrNull } from "./s3-answer.ts";
import { retryAfterMsOrNull, type S3Failure, s3Error, twiceNamedHint } from "./s3-errors.ts";
import { xmlTextOrNull } from "./s3-xml.ts";
import { canonicalQuery, EMPTY_SHA256, signRequest } from "./sigv4.ts";

const CLOCK_SKEW_MAX_MS = 4 * 60_000;
const ERROR_SIZE_MAX = 64 * 1024;
/** How much of a body is handed to the socket at a time: each counts as a movement when it is taken. */
const SEND_SIZE_BYTES = 64 * 1024;
/** The largest answer that is read into memory: a page of a listing with the longest keys. */
const ANSWER_SIZE_MAX = 16 * 1024 * 1024;
/**
 * So much of an answer counts as a movement: less within the time of a stall is a store that drips, and would
 * hold its caller and a connection for as long as it likes.
 */
const MOVEMENT_BYTES = 16 * 1024;
/** An answer that is read into memory has to be there, whole, within this many times the time of a stall. */
const ANSWER_STALLS_MAX = 4;

/** A request to the bucket, or to an object in it. */
export interface S3Request {
  /** For error messages: "put db/0000/1.ltx to s3://bucket". */
  readonly action: string;
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** The whole key in the bucket, or null for the bucket itself. */
  readonly fullKey: string | null;
  readonly query?: readonly (readonly [string, string])[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: PutBody;
  /** SHA-256 of the body; needed with a body. */
  readonly sha256?: string;
  readonly signal?: AbortSignal | undefined;
}

/** An answer whose body has been read. */
export interface S3Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

/** An answer whose body is still to be read, by `chunks` or not at all (`cancel`). */
export interface S3Stream {
  readonly status: number;
  readonly headers: Headers;
  readonly chunks: AsyncIterable<Uint8Array>;
  cancel(): void;
}

type Judge = (cause: unknown) => ConnectionProblem;

/** What a client is made of. */
export interface S3ClientOptions {
  readonly address: S3Address;
  readonly region: string;
  readonly credentials: CredentialSource;
  readonly env: Env;
  /** A request is cut off when nothing has moved for this long. */
  readonly stallMs: number;
  /** Which certificates the store may show; by default those that Bun trusts. */
  readonly trust?: TlsTrust;
  /** Told of every request and its answer. */
  readonly reachability?: ReachabilityMonitor | undefined;
}

/** Sends requests to one bucket. */
export class S3Client {
  readonly #options: S3ClientOptions;
  /**
   * Holds the connections and what is trusted: authorities given with each request would cost CPU each time.
   */
  readonly #session: Bun.FetchSession;
  /**
   * Says why there is no answer. Fetch takes its proxy from the environment of the process, whatever ours is.
   */
  readonly #judge: Judge;
  readonly #uplink: Uplink;
  /** What to add to our clock to get the store's, in ms. */
  #clockOffsetMs = 0;

  constructor(options: S3ClientOptions) {
    this.#options = options;
    this.#uplink = new Uplink(options.env);
    const origin = new URL(options.address.origin);
    options.reachability?.named(origin.origin);
    this.#judge = (cause) => connectionProblem(cause, origin, process.env);
    this.#session = new Bun.FetchSession({ tls: { ...(options.trust ?? DEFAULT_TLS_TRUST) } });
  }

  /** Closes the connections that are kept for the next request. */
  close(): void {
    this.#session.close();
  }

  /** Sends a request and reads the whole answer. @throws WalrustError for every status but 2xx. */
  async send(request: S3Request): Promise<S3Answer> {
    const { status, headers, chunks } = await this.open(request);
    return { status, headers, text: await this.#readText(chunks, ANSWER_SIZE_MAX, request.action) };
  }

  /** Sends a request and leaves the body of the answer to the caller. @throws as `send`. */
  async open(request: S3Request): Promise<S3Stream> {
    let isCorrected = false;
    let isRefreshed = false;
    while (true) {
      try {
        return await this.#attempt(request);
      } catch (error) {
        if (!isCorrected && this.#correctClock(error)) {
          isCorrected = true;
        } else if (!isRefreshed && isExpired(error, request) && this.#options.credentials.refresh()) {
          isRefreshed = true;
        } else {
          throw error instanceof S3ClockError ? error.original : error;
        }
      }
    }
  }

  async #attempt(request: S3Request): Promise<S3Stream> {
    request.signal?.throwIfAborted();
    const { url, headers } = await this.#sign(request);
    // Keys may have taken their time.
    request.signal?.throwIfAborted();
    // Not signed: Bun sets it itself for bytes, and sends a stream with it instead of in chunks of HTTP.
    if (request.body !== undefined) headers["content-length"] = String(putBodySize(request.body));
    const { env, stallMs } = this.#options;
    const upload = request.body === undefined ? null : this.#uplink.begin(putBodySize(request.body));
    const watch = new StallTimeout(env, stallMs, request.signal, upload);
    this.#await(request, watch);
    let response: Response;
    try {
      response = await this.#session.fetch(url, {
        method: request.method,
        headers,
        redirect: "manual",
        signal: watch.signal,
        decompress: false,
        // Our own watch decides.
        timeout: false,
        ...(request.body === undefined ? {} : { body: await fetchBody(request.body, watch) }),
      } as RequestInit);
    } catch (cause) {
      watch.stop();
      throw this.#noted(request, watch.errorFor(request.action, cause, this.#judge));
    }
    watch.answered();
    const onMoved = (): void => this.#options.reachability?.answered(request.method);
    const stream = watchedStream(response, watch, { action: request.action, judge: this.#judge, onMoved });
    if (isPage(request.method, response)) {
      stream.cancel();
      throw this.#noted(request, this.#notTheStore(request.action, `${response.status} with an HTML page`));
    }
    if (response.status >= 200 && response.status < 300) return stream;
    throw this.#noted(request, await this.#failure(request, stream));
  }

  #await({ method, action }: S3Request, watch: StallTimeout): void {
    const { reachability } = this.#options;
    if (reachability === undefined) return;
    const awaited = { method, action, stillMs: () => watch.stillMs };
    watch.onStop = () => reachability.ended(awaited);
    reachability.began(awaited);
  }

  /** Tells of a failure that may pass. @returns the error */
  #noted(request: S3Request, error: unknown): unknown {
    if (!(error instanceof WalrustError) || !error.retryable) return error;
    const waitMs = error.context[RETRY_AFTER];
    this.#options.reachability?.failed(request, error.message, typeof waitMs === "number" ? waitMs : 0);
    return error;
  }

  async #sign(request: S3Request): Promise<{ url: string; headers: Record<string, string> }> {
    const { address, region, credentials, env } = this.#options;
    const path = request.fullKey === null ? address.bucketPath : s3ObjectPath(address, request.fullKey);
    const query = canonicalQuery(request.query ?? []);
    const payloadSha256 = request.sha256 ?? EMPTY_SHA256;
    const headers = { ...request.headers, host: address.host, "x-amz-content-sha256": payloadSha256 };
    const keys = await credentials.get();
    const timeMs = env.nowMs() + this.#clockOffsetMs;
    const scope = { region, service: "s3" };
    const added = signRequest(
      { method: request.method, path, query, headers, payloadSha256 },
      keys,
      scope,
      timeMs,
    );
    const url = `${address.origin}${path}${query === "" ? "" : `?${query}`}`;
    return { url, headers: { ...headers, ...added } };
  }

  /** As in "through the proxy …", or nothing. */
  get #through(): string {
    const proxy = proxyOrNull(new URL(this.#options.address.origin), process.env);
    return proxy === null ? "" : throughProxy(proxy);
  }

  #notTheStore(action: string, found: string): WalrustError {
    const through = this.#through;
    const { twiceNamed } = this.#options.address;
    const hint = twiceNamed === null ? undefined : twiceNamedHint(twiceNamed);
    return notTheStore(action, through === "" ? found : `${found}, ${through}`, hint);
  }

  async #failure(request: S3Request, stream: S3Stream): Promise<Error> {
    const { status, headers } = stream;
    const xml = await this.#readText(stream.chunks, ERROR_SIZE_MAX, request.action);
    const s3Code = (xmlTextOrNull(xml, "Code") ?? "").slice(0, 100);
    const isAsked = request.method === "GET" || request.method === "PUT";
    if (status === 404 && isAsked && rootElementOrNull(xml) !== "Error") {
      return this.#notTheStore(request.action, "404 without the document of an error");
    }
    const failure: S3Failure = {
      action: request.action,
      status,
      s3Code,
      twiceNamed: this.#options.address.twiceNamed,
      through: this.#through,
      s3Message: (xmlTextOrNull(xml, "Message") ?? "").slice(0, 300),
      requestId: (headers.get("x-amz-request-id") ?? "").slice(0, 100),
      bucketRegion: headers.get("x-amz-bucket-region") ?? xmlTextOrNull(xml, "Region"),
      retryAfterMs:
        status === 429 || status === 503 ? retryAfterMsOrNull(headers, this.#options.env.nowMs()) : null,
    };
    const error = s3Error(failure);
    const serverMs = Date.parse(headers.get("date") ?? "");
    return status === 403 && Number.isFinite(serverMs) ? new S3ClockError(error, serverMs) : error;
  }

  /** Reads an answer into memory, within a limit on its size and one on its time. */
  async #readText(chunks: AsyncIterable<Uint8Array>, sizeMax: number, action: string): Promise<string> {
    const { env, stallMs } = this.#options;
    const limitMs = stallMs * ANSWER_STALLS_MAX;
    const beganMs = env.monotonicMs();
    const decoder = new TextDecoder();
    let text = "";
    let sizeBytes = 0;
    for await (const chunk of chunks) {
      sizeBytes += chunk.byteLength;
      if (sizeBytes > sizeMax) {
        throw new WalrustError("storage", `Cannot ${action}: the answer is longer than ${sizeMax} bytes`);
      }
      // A chunk comes at least once in the time of a stall, or the request is cut off: no timer is needed.
      if (env.monotonicMs() - beganMs > limitMs) {
        const found = `after ${limitMs / 1000} s only ${sizeBytes} bytes of the answer are there`;
        throw new WalrustError("storage", `Cannot ${action}: ${found}`, { retryable: true });
      }
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  }

  #correctClock(error: unknown): boolean {
    if (!(error instanceof S3ClockError)) return false;
    const { env } = this.#options;
    const offsetMs = error.serverMs - env.nowMs();
    if (Math.abs(offsetMs - this.#clockOffsetMs) < CLOCK_SKEW_MAX_MS) return false;
    env.log.warn("the clock of this machine is off: requests are signed with the store's time", {
      offsetSeconds: Math.round(offsetMs / 1000),
    });
    this.#clockOffsetMs = offsetMs;
    return true;
  }
}

/** A refusal together with the store's time; never leaves this file. */
class S3ClockError extends Error {
  readonly original: WalrustError;
  readonly serverMs: number;

  constructor(original: WalrustError, serverMs: number) {
    super(original.message);
    this.original = original;
    this.serverMs = serverMs;
  }
}

/** Whether the keys have ended. The answer to a HEAD has no body to say so: any 400 may mean it. */
function isExpired(error: unknown, request: S3Request): boolean {
  const original = error instanceof S3ClockError ? error.original : error;
  const s3Code = answerCodeOf(original);
  if (s3Code === "ExpiredToken" || s3Code === "TokenRefreshRequired") return true;
  return request.method === "HEAD" && answerStatusOf(original) === 400;
}

/**
 * A small body as it is, read from its file only now; a larger one in chunks, so that its progress can be
 * watched and little is in memory.
 */
async function fetchBody(
  body: PutBody,
  watch: StallTimeout,
): Promise<Uint8Array | AsyncIterable<Uint8Array>> {
  const sizeBytes = putBodySize(body);
  if (sizeBytes > SEND_SIZE_BYTES) return watchedChunks(body, watch);
  if (sizeBytes === 0) return new Uint8Array(0);
  return body.kind === "bytes" ? body.bytes : await collectChunks(putBodyChunks(body));
}

async function* watchedChunks(body: PutBody, watch: StallTimeout): AsyncGenerator<Uint8Array> {
  for await (const chunk of putBodyChunks(body)) {
    for (let offset = 0; offset < chunk.byteLength; offset += SEND_SIZE_BYTES) {
      watch.touch();
      // A copy, because fetch may still hold it when the next one is read into the same buffer.
      yield chunk.slice(offset, offset + SEND_SIZE_BYTES);
    }
  }
  watch.touch();
}

/** What the body of an answer is read with. */
interface ReadContext {
  readonly action: string;
  readonly judge: Judge;
  /** Told when the answer is there, or has got further. */
  readonly onMoved: () => void;
}

function watchedStream(response: Response, watch: StallTimeout, context: ReadContext): S3Stream {
  const { status, headers } = response;
  const body = headers.get("content-length") === "0" ? null : response.body;
  if (body === null) watch.stop();
  else watch.pause();
  const isWell = status < 500 && status !== 408 && status !== 429;
  const told = isWell ? context : { ...context, onMoved: () => {} };
  if (body === null) told.onMoved();
  const chunks = body === null ? noChunks() : readChunks(body, watch, told);
  return { status, headers, chunks, cancel: () => watch.stop() };
}

async function* noChunks(): AsyncGenerator<Uint8Array> {}

async function* readChunks(
  body: ReadableStream<Uint8Array>,
  watch: StallTimeout,
  { action, judge, onMoved }: ReadContext,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  /** What came since the last movement. */
  let movedBytes = 0;
  try {
    while (true) {
      watch.resume();
      const { done, value } = await reader.read();
      if (done) return onMoved();
      movedBytes += value.byteLength;
      if (movedBytes >= MOVEMENT_BYTES) {
        movedBytes = 0;
        watch.touch();
        onMoved();
      }
      watch.pause();
      yield value;
    }
  } catch (cause) {
    throw watch.errorFor(action, cause, judge, movedBytes === 0 ? "nothing" : `only ${movedBytes} bytes`);
  } finally {
    watch.stop();
  }
}
