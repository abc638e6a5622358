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
 *
 * Source: RFC 9112 (HTTP/1.1), sections 2.2, 3 and 5; RFC 9110, section 7.2 (Host).
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
}

/** An answer; its body is UTF-8. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
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
  for (const field of fields) {
    const colon = field.indexOf(":");
    if (colon < 1 || !TOKEN.test(field.slice(0, colon))) return refused(400);
    if (field.slice(0, colon).toLowerCase() === "host") hosts.push(field.slice(colon + 1).trim());
  }
  if (hosts.length > 1 || (hosts.length === 0 && minor !== "0")) return refused(400);
  const path = pathOfTarget(target);
  if (path === null) return refused(400);
  return { kind: "request", request: { method, path, host: hosts[0] ?? null } };
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
        socket.data = { head: "", rest: null, deadline: new AbortController() };
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
  const isHead = reading.kind === "request" && reading.request.method === "HEAD";
  const made = reading.kind === "request" ? answer(reading.request) : plainAnswer(reading.status);
  if (made instanceof Promise) void made.then((late) => send(socket, late, isHead));
  else send(socket, made, isHead);
}

function send(socket: Socket, answer: HttpAnswer, isHead: boolean): void {
  socket.data.rest = encodeAnswer(answer, isHead);
  writeRest(socket);
}

function writeRest(socket: Socket): void {
  const { data } = socket;
  if (data.rest === null || data.rest.length === 0) return;
  const writtenCount = socket.write(data.rest);
  if (writtenCount > 0) data.rest = data.rest.subarray(writtenCount);
  if (data.rest.length === 0) socket.end();
}

/** An answer with its status in words. */
export function plainAnswer(status: number): HttpAnswer {
  const body = `${STATUS_TEXTS[status] ?? "Error"}\n`.toLowerCase();
  return { status, headers: { "content-type": "text/plain; charset=utf-8" }, body };
}

function encodeAnswer({ status, headers, body }: HttpAnswer, isHead: boolean): Uint8Array {
  const bytes = new TextEncoder().encode(body);
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_TEXTS[status] ?? "Unknown"}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${bytes.length}`,
    "connection: close",
  ];
  const head = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  return isHead ? head : Buffer.concat([head, bytes]);
}
