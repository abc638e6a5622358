/**
 * Sends one request to S3: signs it, sends it with Bun's fetch, cuts it off when it stalls, and turns the
 * answer into a stream or an error.
 *
 * - A request is signed with the SHA-256 of its real body. It has a Content-Length, no chunked encoding and
 *   no extra checksum headers.
 * - Redirects are not followed: a signature is valid for one host.
 * - A 403 whose Date differs from our clock by more than four minutes corrects the clock offset, and an
 *   expired token is replaced. Each happens once, and the request is sent again: the store has not
 *   carried out the refused one.
 * - The body of an answer is read or cancelled; both return the connection to the pool.
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
import { StallTimeout, TRANSFER_POLLS } from "../network/stall-timeout.ts";
import type { TlsTrust } from "../network/tls-trust.ts";
import { Uplink } from "../network/uplink.ts";
import type { CredentialSource } from "./credentials.ts";
import { type S3Address, s3ObjectPath } from "./s3-address.ts";
import { isPage, notTheStore, rootElementOrNull } from "./s3-answer.ts";
import { retryAfterMsOrNull, type S3Failure, s3Error, twiceNamedHint } from "./s3-errors.ts";
import { xmlTextOrNull } from "./s3-xml.ts";
import { type Credentials, canonicalQuery, EMPTY_SHA256, signRequest } from "./sigv4.ts";

const CLOCK_SKEW_MAX_MS = 4 * 60_000;
const ERROR_SIZE_MAX = 64 * 1024;
/** The size of the pieces that the socket gets of a body; each piece that it takes counts as a movement. */
const SEND_SIZE_BYTES = 64 * 1024;
/** The largest answer that is read into memory: a page of a listing with the longest possible keys. */
const ANSWER_SIZE_MAX = 16 * 1024 * 1024;
/**
 * This much of an answer counts as a movement. A store that sends less within the time of a stall would
 * otherwise hold its caller and a connection without end.
 */
const MOVEMENT_BYTES = 16 * 1024;
/** An answer that is read into memory has to be complete within this many times the time of a stall. */
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

/** An answer whose body is not read yet; the caller iterates `chunks` or calls `cancel`. */
export interface S3Stream {
  readonly status: number;
  readonly headers: Headers;
  readonly chunks: AsyncIterable<Uint8Array>;
  cancel(): void;
}

/** Explains why a request has no answer. */
type Explain = (cause: unknown) => ConnectionProblem;

/** The end of one attempt: an answer, or a refusal with the store's time if our clock may be the reason. */
type Attempt =
  | { readonly kind: "answered"; readonly stream: S3Stream }
  | {
      readonly kind: "refused";
      readonly error: WalrustError;
      readonly serverMs: number | null;
      /** The keys that signed the request. */
      readonly keys: Credentials;
    };

/** A request that is signed, and the keys that signed it. */
interface SignedRequest {
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly keys: Credentials;
}

/** The parts of a client. */
export interface S3ClientOptions {
  readonly address: S3Address;
  readonly region: string;
  readonly credentials: CredentialSource;
  readonly env: Env;
  /** A request is cut off when nothing has moved for this long. */
  readonly stallMs: number;
  /** The certificates to accept. */
  readonly trust: TlsTrust;
  /** Observes every request and its end. */
  readonly reachability: ReachabilityMonitor | undefined;
}

/** Sends requests to one bucket. */
export class S3Client {
  readonly #options: S3ClientOptions;
  /** Holds connections and trusted authorities; authorities in each request would cost CPU each time. */
  readonly #session: Bun.FetchSession;
  /** Reads the proxy from the environment of the process, as fetch does. */
  readonly #explain: Explain;
  readonly #uplink: Uplink;
  /** The store's clock minus ours, in ms. */
  #clockOffsetMs = 0;

  constructor(options: S3ClientOptions) {
    this.#options = options;
    this.#uplink = new Uplink(options.env);
    const origin = new URL(options.address.origin);
    options.reachability?.setOrigin(origin.origin);
    this.#explain = (cause) => connectionProblem(cause, origin, process.env);
    this.#session = new Bun.FetchSession({ tls: { ...options.trust } });
  }

  /** Scheme, host and port of the store. */
  get origin(): string {
    return this.#options.address.origin;
  }

  /** Closes the idle connections. */
  close(): void {
    this.#session.close();
  }

  /** Sends a request and reads the whole answer. @throws WalrustError for every status but 2xx. */
  async send(request: S3Request): Promise<S3Answer> {
    const { status, headers, chunks } = await this.open(request);
    return { status, headers, text: await this.#readText(chunks, ANSWER_SIZE_MAX, request.action) };
  }

  /** Sends a request; the caller reads the body of the answer. @throws as `send`. */
  async open(request: S3Request): Promise<S3Stream> {
    let isCorrected = false;
    let isRefreshed = false;
    while (true) {
      const attempt = await this.#attempt(request);
      if (attempt.kind === "answered") return attempt.stream;
      const { error, serverMs, keys } = attempt;
      if (!isCorrected && serverMs !== null && this.#correctClock(serverMs)) {
        isCorrected = true;
      } else if (!isRefreshed && this.#mayHaveOtherKeys(error, request, keys)) {
        isRefreshed = true;
      } else {
        throw error;
      }
    }
  }

  /** Whether the keys were refused, and others are there now. */
  #mayHaveOtherKeys(error: WalrustError, request: S3Request, refused: Credentials): boolean {
    const areExpired = isExpired(error, request);
    return (areExpired || error.code === "auth") && this.#options.credentials.refresh(refused, areExpired);
  }

  async #attempt(request: S3Request): Promise<Attempt> {
    request.signal?.throwIfAborted();
    const { url, headers, keys } = await this.#sign(request);
    // Loading the keys may have taken a while.
    request.signal?.throwIfAborted();
    // Not signed: Bun sets it for bytes by itself, and with it sends a stream without chunked encoding.
    if (request.body !== undefined) headers["content-length"] = String(putBodySize(request.body));
    const { env, stallMs } = this.#options;
    const upload = request.body === undefined ? null : this.#uplink.begin(putBodySize(request.body));
    const timeout = new StallTimeout(env, stallMs, request.signal, upload, TRANSFER_POLLS);
    this.#observe(request, timeout);
    let response: Response;
    try {
      response = await this.#session.fetch(url, {
        method: request.method,
        headers,
        redirect: "manual",
        signal: timeout.signal,
        decompress: false,
        // The stall timeout decides.
        timeout: false,
        ...(request.body === undefined ? {} : { body: await fetchBody(request.body, timeout) }),
      } as RequestInit);
    } catch (cause) {
      timeout.stop();
      throw this.#reported(request, timeout.errorFor(request.action, cause, this.#explain));
    }
    timeout.answered();
    const onMoved = (): void => this.#options.reachability?.answered(request.method);
    const context = { action: request.action, explain: this.#explain, onMoved };
    const stream = streamOf(response, timeout, context);
    if (isPage(request.method, response)) {
      stream.cancel();
      const found = `${response.status} with an HTML page`;
      throw this.#reported(request, this.#notTheStore(request.action, found));
    }
    if (response.status >= 200 && response.status < 300) return { kind: "answered", stream };
    return await this.#refusal(request, stream, keys);
  }

  async #refusal(request: S3Request, stream: S3Stream, keys: Credentials): Promise<Attempt> {
    const { status, headers } = stream;
    const error = await this.#failure(request, stream);
    const serverMs = Date.parse(headers.get("date") ?? "");
    if (status === 403 && Number.isFinite(serverMs)) return { kind: "refused", error, serverMs, keys };
    this.#reported(request, error);
    return { kind: "refused", error, serverMs: null, keys };
  }

  #observe({ method, action }: S3Request, timeout: StallTimeout): void {
    const { reachability } = this.#options;
    if (reachability === undefined) return;
    const awaited = { method, action, stillMs: () => timeout.stillMs };
    timeout.onStop = () => reachability.ended(awaited);
    reachability.began(awaited);
  }

  /** Reports a failure that may pass to the reachability monitor. @returns the error */
  #reported(request: S3Request, error: unknown): unknown {
    if (!(error instanceof WalrustError) || !error.retryable) return error;
    const waitMs = error.context[RETRY_AFTER];
    this.#options.reachability?.failed(request, error, typeof waitMs === "number" ? waitMs : 0);
    return error;
  }

  async #sign(request: S3Request): Promise<SignedRequest> {
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
    return { url, headers: { ...headers, ...added }, keys };
  }

  /** "through the proxy …", or "" without one. */
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

  /** The error for an answer that is no success. */
  async #failure(request: S3Request, stream: S3Stream): Promise<WalrustError> {
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
      isOfBucket: request.fullKey === null,
      twiceNamed: this.#options.address.twiceNamed,
      through: this.#through,
      s3Message: (xmlTextOrNull(xml, "Message") ?? "").slice(0, 300),
      requestId: (headers.get("x-amz-request-id") ?? "").slice(0, 100),
      bucketRegion: headers.get("x-amz-bucket-region") ?? xmlTextOrNull(xml, "Region"),
      retryAfterMs:
        status === 429 || status === 503 ? retryAfterMsOrNull(headers, this.#options.env.nowMs()) : null,
    };
    return s3Error(failure);
  }

  /** Reads an answer into memory, within limits on its size and its time. */
  async #readText(chunks: AsyncIterable<Uint8Array>, sizeMax: number, action: string): Promise<string> {
    if (chunks === NO_CHUNKS) return "";
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
      // Without a chunk in the time of a stall the request is cut off: no timer is needed here.
      if (env.monotonicMs() - beganMs > limitMs) {
        const found = `only ${sizeBytes} bytes of the answer came in ${limitMs / 1000} s`;
        throw new WalrustError("storage", `Cannot ${action}: ${found}`, { retryable: true });
      }
      text += decoder.decode(chunk, { stream: true });
    }
    return text + decoder.decode();
  }

  /** Signs with the store's time from now on. @returns whether our clock was off */
  #correctClock(serverMs: number): boolean {
    const { env } = this.#options;
    const offsetMs = serverMs - env.nowMs();
    if (Math.abs(offsetMs - this.#clockOffsetMs) < CLOCK_SKEW_MAX_MS) return false;
    env.log.warn("the clock of this machine is off: requests are signed with the store's time", {
      offsetSeconds: Math.round(offsetMs / 1000),
    });
    this.#clockOffsetMs = offsetMs;
    return true;
  }
}

/** Whether the keys have expired. The answer to a HEAD has no body with a code: any 400 may mean it. */
function isExpired(error: WalrustError, request: S3Request): boolean {
  const s3Code = answerCodeOf(error);
  if (s3Code === "ExpiredToken" || s3Code === "TokenRefreshRequired") return true;
  return request.method === "HEAD" && answerStatusOf(error) === 400;
}

/**
 * A small body in one array, read from its file only now; a larger body in chunks, which bounds memory and
 * shows progress.
 */
async function fetchBody(
  body: PutBody,
  timeout: StallTimeout,
): Promise<Uint8Array | AsyncIterable<Uint8Array>> {
  const sizeBytes = putBodySize(body);
  if (sizeBytes > SEND_SIZE_BYTES) return sentChunks(body, timeout);
  if (sizeBytes === 0) return new Uint8Array(0);
  return body.kind === "bytes" ? body.bytes : await collectChunks(putBodyChunks(body));
}

async function* sentChunks(body: PutBody, timeout: StallTimeout): AsyncGenerator<Uint8Array> {
  for await (const chunk of putBodyChunks(body)) {
    for (let offset = 0; offset < chunk.byteLength; offset += SEND_SIZE_BYTES) {
      timeout.touch();
      // A copy: fetch may still hold this piece when the next chunk is read into the same buffer.
      yield chunk.slice(offset, offset + SEND_SIZE_BYTES);
    }
  }
  timeout.touch();
}

/** The surroundings of reading an answer. */
interface ReadContext {
  readonly action: string;
  readonly explain: Explain;
  /** Called when the answer is complete, and whenever enough of it has come. */
  readonly onMoved: () => void;
}

function streamOf(response: Response, timeout: StallTimeout, context: ReadContext): S3Stream {
  const { status, headers } = response;
  const body = headers.get("content-length") === "0" ? null : response.body;
  if (body === null) timeout.stop();
  else timeout.pause();
  // A failing store has answered, but not as it should.
  const isWell = status < 500 && status !== 408 && status !== 429;
  const reading = isWell ? context : { ...context, onMoved: () => {} };
  if (body === null) reading.onMoved();
  const chunks = body === null ? NO_CHUNKS : readChunks(body, timeout, reading);
  return { status, headers, chunks, cancel: () => timeout.stop() };
}

const NO_CHUNKS: AsyncIterable<Uint8Array> = (async function* () {})();

async function* readChunks(
  body: ReadableStream<Uint8Array>,
  timeout: StallTimeout,
  { action, explain, onMoved }: ReadContext,
): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  /** Bytes since the last movement. */
  let movedBytes = 0;
  try {
    while (true) {
      timeout.resume();
      const { done, value } = await reader.read();
      if (done) return onMoved();
      movedBytes += value.byteLength;
      if (movedBytes >= MOVEMENT_BYTES) {
        movedBytes = 0;
        timeout.touch();
        onMoved();
      }
      timeout.pause();
      yield value;
    }
  } catch (cause) {
    throw timeout.errorFor(action, cause, explain, movedBytes === 0 ? "nothing" : `only ${movedBytes} bytes`);
  } finally {
    timeout.stop();
  }
}
