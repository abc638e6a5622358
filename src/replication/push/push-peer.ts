/**
 * One replica server that a watch pushes to: its connections, and the wait while it does not answer.
 *
 * Invariants:
 * 1. At most `REQUESTS_MAX` requests are under way to a server, each with one body of at most 64 KB in
 *    memory.
 * 2. While the server does not answer, all databases wait together: one of them tries again, after growing
 *    waits.
 * 3. The token is sent to this server alone, and is in no error and no log. Redirects are not followed.
 */
import type { Env } from "../../env.ts";
import { errorMessage, hasCode, WalrustError } from "../../errors.ts";
import {
  HEALTH_PATH,
  INSTANCE_HEADER,
  METADATA_HEADER,
  objectPath,
  POSITION_SIZE_MAX,
  type PushedName,
  type PushReply,
  parsePushReplyOrNull,
  positionPath,
} from "../../format/push.ts";
import { Backoff } from "../../storage/contract/backoff.ts";
import { Trouble } from "../../storage/contract/trouble.ts";
import { Semaphore } from "../../storage/guard/semaphore.ts";
import { type ConnectionProblem, connectionProblem } from "../../storage/network/connection-errors.ts";
import { StallTimeout } from "../../storage/network/stall-timeout.ts";
import type { TlsTrust } from "../../storage/network/tls-trust.ts";
import type { PushContent } from "./push-content.ts";

const REQUESTS_MAX = 8;
const STALL_MS = 30_000;
/** A replica that begins with a snapshot answers when it has restored and checked the whole. */
const LARGE_SIZE = 1 << 20;
const LARGE_STALL_MS = 600_000;
/** Between two looks whether the server still runs. */
const PROBE_MS = 10_000;
const PAUSES = { firstMs: 100, maxMs: 15_000 };

/** A replica server and how it is reached. */
export interface PushPeerOptions {
  /** Without a path. */
  readonly url: URL;
  readonly token: string | null;
  readonly trust: TlsTrust;
}

/** The answer to a request. */
interface Answer {
  readonly status: number;
  readonly text: string;
  /** Whether a replica server has answered, and not something in its place. */
  readonly isServer: boolean;
}

/** One replica server. */
export class PushPeer {
  readonly #session: Bun.FetchSession;
  readonly #requests = new Semaphore(REQUESTS_MAX);
  readonly #backoff = new Backoff(PAUSES);
  readonly #trouble: Trouble;
  #pause: Promise<void> | null = null;
  #instance: string | null = null;
  /** Called when another run of the server answers: its replicas may be others. */
  onRestart: (() => void) | null = null;

  constructor(
    readonly options: PushPeerOptions,
    readonly env: Env,
    readonly signal: AbortSignal,
  ) {
    this.#session = new Bun.FetchSession({ tls: { ...options.trust } });
    this.#trouble = new Trouble(env, { what: `push to ${this.url}`, isFirstOnly: true });
    void this.#probe();
  }

  /** The server as messages and metrics name it. */
  get url(): string {
    return this.options.url.origin;
  }

  /** Why the server does not answer, or null. */
  get failure(): string | null {
    return this.#trouble.current?.message ?? null;
  }

  /** Asks for the position of a database. @throws WalrustError */
  position(name: string): Promise<PushReply> {
    return this.#run({ method: "GET", path: positionPath(name) }, null);
  }

  /** Sends an object. @throws WalrustError */
  send(name: string, object: PushedName, content: PushContent): Promise<PushReply> {
    return this.#run({ method: "PUT", path: objectPath(name, object) }, content);
  }

  /** Resolves when the server is worth a request. */
  async ready(): Promise<void> {
    while (this.#pause !== null && !this.signal.aborted) await this.#pause;
  }

  close(): void {
    this.#session.close();
  }

  async #run(request: { method: string; path: string }, content: PushContent | null): Promise<PushReply> {
    return await this.#requests.run(async () => {
      await this.ready();
      this.signal.throwIfAborted();
      try {
        const reply = await this.#request(request, content);
        this.#recovered();
        return reply;
      } catch (error) {
        if (!this.signal.aborted && isOfServer(error)) this.#failed(error);
        throw error;
      }
    }, this.signal);
  }

  /** Looks now and then whether the server still runs: an idle database sends nothing. */
  async #probe(): Promise<void> {
    while (!this.signal.aborted) {
      await this.env.sleep(PROBE_MS, this.signal);
      if (this.signal.aborted || this.#pause !== null) continue;
      try {
        const { status, text, isServer } = await this.#fetch({ method: "GET", path: HEALTH_PATH }, null);
        if (!isServer) throw notServer(status, text, `push to ${this.url}`);
        if (!hasCode(this.#trouble.current, "auth")) this.#recovered();
      } catch (error) {
        if (!this.signal.aborted) this.#failed(error);
      }
    }
  }

  #recovered(): void {
    this.#backoff.reset();
    this.#trouble.recovered();
  }

  #failed(error: unknown): void {
    this.#trouble.failed(error);
    this.#pause ??= this.env.sleep(this.#backoff.takeMs(), this.signal).then(() => {
      this.#pause = null;
    });
  }

  async #request(request: { method: string; path: string }, content: PushContent | null): Promise<PushReply> {
    const { status, text } = await this.#fetch(request, content);
    return replyOf(status, text, `push to ${this.url}`);
  }

  async #fetch(
    { method, path }: { method: string; path: string },
    content: PushContent | null,
  ): Promise<Answer> {
    const action = `push to ${this.url}`;
    const stallMs = (content?.sizeBytes ?? 0) > LARGE_SIZE ? LARGE_STALL_MS : STALL_MS;
    const timeout = new StallTimeout(this.env, stallMs, this.signal);
    try {
      const response = await this.#session.fetch(`${this.url}${path}`, {
        method,
        headers: this.#headers(content),
        redirect: "manual",
        signal: timeout.signal,
        decompress: false,
        timeout: false,
        ...(content === null ? {} : { body: touching(content.body, timeout) }),
      } as RequestInit);
      const text = await beginningOf(response);
      const instance = response.headers.get(INSTANCE_HEADER);
      this.#seen(instance);
      return { status: response.status, text, isServer: instance !== null };
    } catch (cause) {
      throw timeout.errorFor(action, cause, (why) => this.#explain(why));
    } finally {
      timeout.stop();
    }
  }

  #seen(instance: string | null): void {
    const before = this.#instance;
    this.#instance = instance ?? before;
    if (before !== null && instance !== null && instance !== before) this.onRestart?.();
  }

  #explain(cause: unknown): ConnectionProblem {
    const problem = connectionProblem(cause, this.options.url, process.env);
    const isCertificate = problem.reason.startsWith("the certificate");
    const hint = isCertificate
      ? "Name the PEM file of a private authority with --push-ca-file, or check the host name in --push-to"
      : "Check that walrust serve runs at this URL, and the network";
    return { ...problem, hint };
  }

  #headers(content: PushContent | null): Record<string, string> {
    const headers: Record<string, string> = {};
    const { token } = this.options;
    if (token !== null) headers["authorization"] = `Bearer ${token}`;
    if (content === null) return headers;
    headers["content-length"] = String(content.sizeBytes);
    headers["content-type"] = "application/octet-stream";
    for (const [name, value] of Object.entries(content.metadata)) headers[METADATA_HEADER + name] = value;
    return headers;
  }
}

/** Whether a failure is one of the server or the way to it, not of one database. */
function isOfServer(error: unknown): boolean {
  return error instanceof WalrustError && (error.code === "storage" || error.code === "auth");
}

function replyOf(status: number, text: string, action: string): PushReply {
  const reply = text.length > POSITION_SIZE_MAX ? null : parsePushReplyOrNull(text);
  if (reply !== null && (status === 200 || reply.refused !== null)) return reply;
  if (status === 401 || status === 403) {
    throw new WalrustError("auth", `Cannot ${action}: the server refuses the token (${status})`, {
      hint: "--push-token-file has to name the token of the server's --token-file",
    });
  }
  // The server works; this database, or its disk, does not.
  if (status === 404 || status === 503 || status === 507 || status === 500)
    throw new WalrustError("database", `Cannot ${action}: ${firstLine(text)} (${status})`, {
      retryable: true,
    });
  throw notServer(status, text, action);
}

function notServer(status: number, text: string, action: string): WalrustError {
  return new WalrustError("storage", `Cannot ${action}: it answered ${status} ${firstLine(text)}`, {
    hint: "Is walrust serve at this URL?",
    retryable: true,
  });
}

/** The text of an answer, up to a little more than a position may have. */
async function beginningOf({ body }: Response): Promise<string> {
  const chunks: Uint8Array[] = [];
  let sizeBytes = 0;
  for await (const chunk of body ?? []) {
    chunks.push(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > POSITION_SIZE_MAX) break;
  }
  return Buffer.concat(chunks).toString();
}

function firstLine(text: string): string {
  return text.trim().split("\n", 1)[0]!.slice(0, 200);
}

function touching(body: PushContent["body"], timeout: StallTimeout): PushContent["body"] {
  return body instanceof Uint8Array ? body : touched(body, timeout);
}

async function* touched(
  chunks: AsyncIterable<Uint8Array>,
  timeout: StallTimeout,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of chunks) {
    timeout.touch();
    // The socket may hold the chunk longer than its source does.
    yield chunk.slice();
  }
}

/** Parses the URL of a replica server. @throws WalrustError code "usage" */
export function parsePushUrl(text: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch (cause) {
    throw new WalrustError(
      "usage",
      `--push-to is ${JSON.stringify(text)}, expected a URL: ${errorMessage(cause)}`,
    );
  }
  const isHttp = url.protocol === "http:" || url.protocol === "https:";
  const isPlain = url.username === "" && url.password === "" && url.search === "" && url.hash === "";
  if (isHttp && isPlain && url.pathname === "/") return url;
  throw new WalrustError(
    "usage",
    `--push-to cannot be used, expected http://HOST:PORT or https://HOST:PORT`,
    {
      hint: "The token goes into a file: --push-token-file",
    },
  );
}
