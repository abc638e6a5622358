/**
 * A small HTTP/1.1 server for read-only pages: one request a connection, no body, no keep-alive. It works on
 * TCP itself because Bun.serve cannot bound its connections: another user of the machine could take all
 * descriptors of the process, and captures would stop.
 *
 * Invariants:
 * 1. At most `CONNECTIONS_MAX` connections are open; a new one closes the oldest. So nobody who holds
 *    connections open keeps a reader out for good.
 * 2. A connection is closed if its request is not complete after `HEAD_TIMEOUT_MS`, or if the reader takes
 *    nothing for `WRITE_TIMEOUT_S`.
 * 3. A request head has at most `HEAD_SIZE_MAX` bytes. Nothing is logged for a request.
 * 4. A long body is made and sent part by part, as fast as the reader takes it, and never held as a whole.
 *
 * Source: RFC 9112 (HTTP/1.1), sections 2.2, 3, 5 and 7.1; RFC 9110, section 7.2 (Host).
 */
import type { Env } from "../env.ts";

/** More than Prometheus, the probe of a load balancer and some people ever need. */
export const CONNECTIONS_MAX = 32;
/** The most bytes of a request line and its headers. */
export const HEAD_SIZE_MAX = 8 * 1024;
const HEAD_TIMEOUT_MS = 5_000;
const WRITE_TIMEOUT_S = 10;

/** A complete request head. */
export interface HttpRequest {
  readonly method: string;
  /** Without the query. */
  readonly path: string;
  /** The Host header, or null for an HTTP/1.0 request without one. */
  readonly host: string | null;
  /** The Accept headers, or null without one. */
  readonly accept: string | null;
  /** Whether the reader understands a body in chunks: HTTP/1.1 and later. */
  readonly takesChunks: boolean;
}

/** An answer; its body is UTF-8, as a whole or in parts. A body that throws breaks the connection. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Iterable<string>;
}

/** Makes the answer to a request. Must neither throw nor reject. */
export type Answer = (request: HttpRequest) => HttpAnswer | Promise<HttpAnswer>;

/** The meaning of the bytes received so far. */
export type HeadReading =
  | { readonly kind: "incomplete" }
  | { readonly kind: "request"; readonly request: HttpRequest }
  /** The answer is this status. */
  | { readonly kind: "refused"; readonly status: 400 | 431 | 505 };

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  404: "Not Found",
  405: "Method Not Allowed",
  421: "Misdirected Request",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
};

const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

/** PURE: reads a request head from the bytes received so far, as Latin-1 text. */
export function readHead(text: string): HeadReading {
  const end = text.indexOf("\r\n\r\n");
  if (end === -1) return text.length > HEAD_SIZE_MAX ? refused(431) : { kind: "incomplete" };
  if (end > HEAD_SIZE_MAX) return refused(431);
  const [requestLine, ...fields] = text.slice(0, end).split("\r\n");
  const match = requestLine?.match(/^(\S+) (\S+) HTTP\/(\d)\.(\d)$/);
  if (!match) return refused(400);
  const [, method = "", target = "", major, minor] = match;
  if (!TOKEN.test(method)) return refused(400);
  if (major !== "1") return refused(505);
  const hosts: string[] = [];
  const accepts: string[] = [];
  for (const field of fields) {
    const colon = field.indexOf(":");
    if (colon < 1 || !TOKEN.test(field.slice(0, colon))) return refused(400);
    const name = field.slice(0, colon).toLowerCase();
    if (name === "host") hosts.push(field.slice(colon + 1).trim());
    if (name === "accept") accepts.push(field.slice(colon + 1).trim());
  }
  if (hosts.length > 1 || (hosts.length === 0 && minor !== "0")) return refused(400);
  const path = pathOfTarget(target);
  if (path === null) return refused(400);
  const accept = accepts.length === 0 ? null : accepts.join(",");
  return {
    kind: "request",
    request: { method, path, host: hosts[0] ?? null, accept, takesChunks: minor !== "0" },
  };
}

function refused(status: 400 | 431 | 505): HeadReading {
  return { kind: "refused", status };
}

/** The path of a request target without its query; null for a target in neither origin nor absolute form. */
function pathOfTarget(target: string): string | null {
  const origin = target.replace(/^https?:\/\/[^/?#]*/i, "");
  if (origin !== target && (origin === "" || origin.startsWith("?"))) return "/";
  if (target === "*") return "*";
  return origin.startsWith("/") ? origin.split("?", 1)[0]! : null;
}

/** PURE: the name or address in a Host header without its port, lower case; null when it is malformed. */
export function hostName(host: string): string | null {
  const bracketed = host.match(/^\[([0-9a-fA-F:.]+)\](:\d{1,5})?$/);
  if (bracketed !== null) return bracketed[1]!.toLowerCase();
  return /^[0-9A-Za-z._-]+(:\d{1,5})?$/.test(host) ? host.split(":", 1)[0]!.toLowerCase() : null;
}

/** A running server. */
export interface HttpListener {
  readonly port: number;
  /** Connections that are open now. */
  readonly connectionCount: number;
  /** Stops listening and breaks open connections. */
  close(): void;
}

interface Connection {
  /** The bytes received so far, as Latin-1 text; null once the head is complete. */
  head: string | null;
  /** The bytes still to be written, or null before there is an answer. */
  rest: Uint8Array | null;
  /** The parts of the body that follow these bytes. */
  parts: Iterator<Uint8Array> | null;
  readonly deadline: AbortController;
}

type Socket = Bun.Socket<Connection>;

/**
 * Starts a server.
 * @throws Error with the system's code when it cannot listen on the address
 */
export function listenHttp(
  address: { readonly hostname: string; readonly port: number },
  answer: Answer,
  env: Pick<Env, "sleep">,
): HttpListener {
  /** Oldest first. */
  const open = new Set<Socket>();
  const listener = Bun.listen<Connection>({
    ...address,
    // Without this, Bun shares the port with another process of this user, and the two answer in turn.
    exclusive: true,
    socket: {
      open(socket) {
        socket.data = { head: "", rest: null, parts: null, deadline: new AbortController() };
        const [oldest] = open;
        if (open.size >= CONNECTIONS_MAX && oldest !== undefined) drop(oldest, open);
        open.add(socket);
        void closeLate(socket, open, env);
      },
      data: (socket, bytes) => receive(socket, bytes, answer),
      drain: writeRest,
      timeout: (socket) => drop(socket, open),
      close: (socket) => drop(socket, open),
      // The reader broke the connection.
      error: (socket) => drop(socket, open),
    },
  });
  return {
    port: listener.port,
    get connectionCount() {
      return open.size;
    },
    close: () => {
      listener.stop(true);
      for (const socket of open) drop(socket, open);
    },
  };
}

/** Closes the connection if its request is not complete in time. */
async function closeLate(socket: Socket, open: Set<Socket>, env: Pick<Env, "sleep">): Promise<void> {
  const { signal } = socket.data.deadline;
  await env.sleep(HEAD_TIMEOUT_MS, signal);
  if (!signal.aborted) drop(socket, open);
}

function drop(socket: Socket, open: Set<Socket>): void {
  if (!open.delete(socket)) return;
  socket.data.deadline.abort();
  socket.terminate();
}

function receive(socket: Socket, bytes: Uint8Array, answer: Answer): void {
  const { data } = socket;
  // One request a connection: later bytes are ignored.
  if (data.head === null) return;
  data.head += Buffer.from(bytes.subarray(0, HEAD_SIZE_MAX + 4)).toString("latin1");
  const reading = readHead(data.head);
  if (reading.kind === "incomplete") return;
  data.head = null;
  data.deadline.abort();
  socket.timeout(WRITE_TIMEOUT_S);
  const isRequest = reading.kind === "request";
  const request = isRequest ? reading.request : null;
  const made = isRequest ? answer(reading.request) : plainAnswer(reading.status);
  if (made instanceof Promise) void made.then((late) => send(socket, late, request));
  else send(socket, made, request);
}

function send(socket: Socket, answer: HttpAnswer, request: HttpRequest | null): void {
  const { head, parts } = encodeAnswer(answer, request);
  socket.data.rest = head;
  socket.data.parts = parts;
  writeRest(socket);
}

/** Writes as much as the reader takes. The body has no end for the reader if a part of it throws. */
function writeRest(socket: Socket): void {
  const { data } = socket;
  if (data.rest === null) return;
  try {
    for (;;) {
      while (data.rest.length > 0) {
        const writtenCount = socket.write(data.rest);
        if (writtenCount <= 0) return;
        data.rest = data.rest.subarray(writtenCount);
      }
      const next = data.parts?.next();
      if (next === undefined || next.done === true) break;
      data.rest = next.value;
    }
    socket.end();
  } catch {
    socket.terminate();
  }
}

/** An answer with its status in words. */
export function plainAnswer(status: number): HttpAnswer {
  const body = `${STATUS_TEXTS[status] ?? "Error"}\n`.toLowerCase();
  return { status, headers: { "content-type": "text/plain; charset=utf-8" }, body };
}

/** The head of an answer, and the bytes of its body. @param request null if it was refused */
function encodeAnswer(
  { status, headers, body }: HttpAnswer,
  request: HttpRequest | null,
): { head: Uint8Array; parts: Iterator<Uint8Array> | null } {
  const isInParts = typeof body !== "string" && request?.takesChunks === true;
  const whole = isInParts ? null : encode(typeof body === "string" ? body : [...body].join(""));
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_TEXTS[status] ?? "Unknown"}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    whole === null ? "transfer-encoding: chunked" : `content-length: ${whole.length}`,
    "connection: close",
  ];
  const head = encode(`${lines.join("\r\n")}\r\n\r\n`);
  if (request?.method === "HEAD") return { head, parts: null };
  if (whole !== null) return { head: Buffer.concat([head, whole]), parts: null };
  return { head, parts: chunksOf(body as Iterable<string>) };
}

/** The parts of a body as chunks: the length in hex, the bytes, and an empty chunk at the end. */
function* chunksOf(parts: Iterable<string>): Generator<Uint8Array> {
  for (const part of parts) {
    const bytes = encode(part);
    if (bytes.length === 0) continue;
    yield Buffer.concat([encode(`${bytes.length.toString(16)}\r\n`), bytes, encode("\r\n")]);
  }
  yield encode("0\r\n\r\n");
}

function encode(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}
