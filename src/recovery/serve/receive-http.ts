/**
 * An HTTP/1.1 server that takes bodies of a known length, over TCP or TLS, with connections that are kept. It
 * works on TCP itself because Bun.serve cannot bound its connections.
 *
 * Invariants:
 * 1. At most `CONNECTIONS_MAX` connections are open; a new one closes the one that was used longest ago and
 *    has no admitted request. If there is none, the new one is closed.
 * 2. A connection is closed if a head is not complete after `STALL_S`, if a body makes no progress for as
 *    long, and after `IDLE_S` without a request.
 * 3. `admit` sees the head before a byte of the body is read, and decides where the body goes. A refused body
 *    is read and dropped up to `DROPPED_SIZE_MAX`, so that the client reads the answer; beyond that size the
 *    connection closes.
 * 4. One request of a connection is answered after the other.
 *
 * Source: RFC 9112, sections 6 and 9; RFC 9110, section 10.1.1 (Expect).
 */
import { HEAD_SIZE_MAX, type RequestHead, readRequestHead } from "./request-head.ts";

/** More than a replica has writers. */
export const CONNECTIONS_MAX = 128;
const STALL_S = 30;
const IDLE_S = 240;
const DROPPED_SIZE_MAX = 16 << 20;
/** Bytes that may wait behind a request that is answered. */
const AHEAD_SIZE_MAX = 64 << 10;

/** An answer; its body is UTF-8. */
export interface HttpReply {
  readonly status: number;
  readonly body: string;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** Takes the bytes of one body. */
export interface BodySink {
  write(bytes: Uint8Array): void;
  /** The body is complete, or the connection ended before. */
  close(): void;
}

/** Answers requests. No method throws or rejects. */
export interface RequestHandler<Body extends BodySink> {
  /** Refuses a request by its head, or says where its body goes; null for a request without a body. */
  admit(head: RequestHead): HttpReply | Body | null;
  /** Answers an admitted request whose body is complete. The server closes the body afterwards. */
  answer(head: RequestHead, body: Body | null): Promise<HttpReply>;
}

/** A running server. */
export interface HttpReceiver {
  readonly port: number;
  readonly connectionCount: number;
  /** Stops listening and breaks open connections. */
  close(): void;
}

/** The address, and the certificate of a server with TLS. */
export interface ReceiverAddress {
  readonly hostname: string;
  readonly port: number;
  readonly tls?: { readonly cert: string; readonly key: string } | undefined;
  /** Headers of every answer. */
  readonly headers?: Readonly<Record<string, string>>;
}

const STATUS_TEXTS: Readonly<Record<number, string>> = {
  200: "OK",
  400: "Bad Request",
  401: "Unauthorized",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  411: "Length Required",
  413: "Content Too Large",
  422: "Unprocessable Content",
  431: "Request Header Fields Too Large",
  500: "Internal Server Error",
  503: "Service Unavailable",
  505: "HTTP Version Not Supported",
  507: "Insufficient Storage",
};

const NOTHING = new Uint8Array(0);

interface Connection<Body extends BodySink> {
  /** Received bytes that are not read yet. */
  ahead: Uint8Array;
  head: RequestHead | null;
  body: Body | null;
  /** Bytes of the body that are missing. */
  missingBytes: number;
  /** The answer to a refused request, sent once its body is dropped. */
  refusal: HttpReply | null;
  isAnswering: boolean;
  /** Bytes of an answer that the client has not taken. */
  rest: Uint8Array;
  isEnding: boolean;
}

type Socket<Body extends BodySink> = Bun.Socket<Connection<Body>>;

/**
 * Starts a server.
 * @throws Error with the system's code when it cannot listen on the address
 */
export function receiveHttp<Body extends BodySink>(
  { hostname, port, tls, headers = {} }: ReceiverAddress,
  handler: RequestHandler<Body>,
): HttpReceiver {
  const server = new Receiver(handler, headers);
  const listener = Bun.listen<Connection<Body>>({
    hostname,
    port,
    // Without this, Bun shares the port with another process of this user, and the two answer in turn.
    exclusive: true,
    ...(tls === undefined ? {} : { tls: { cert: tls.cert, key: tls.key } }),
    socket: {
      open: (socket) => server.open(socket),
      data: (socket, bytes) => server.receive(socket, bytes),
      drain: (socket) => server.write(socket),
      timeout: (socket) => server.drop(socket),
      close: (socket) => server.drop(socket),
      error: (socket) => server.drop(socket),
    },
  });
  return {
    port: listener.port,
    get connectionCount() {
      return server.connectionCount;
    },
    close: () => {
      listener.stop(true);
      server.dropAll();
    },
  };
}

/** The connections of one server. */
class Receiver<Body extends BodySink> {
  /** The one that was used longest ago first. */
  readonly #open = new Set<Socket<Body>>();

  constructor(
    readonly handler: RequestHandler<Body>,
    readonly headers: Readonly<Record<string, string>>,
  ) {}

  get connectionCount(): number {
    return this.#open.size;
  }

  open(socket: Socket<Body>): void {
    socket.data = {
      ...{ ahead: NOTHING, head: null, body: null, missingBytes: 0 },
      ...{ refusal: null, isAnswering: false, rest: NOTHING, isEnding: false },
    };
    if (this.#open.size >= CONNECTIONS_MAX) {
      const idle = [...this.#open].find(({ data }) => data.body === null && !data.isAnswering);
      this.drop(idle ?? socket);
      if (idle === undefined) {
        socket.terminate();
        return;
      }
    }
    this.#open.add(socket);
    socket.timeout(STALL_S);
  }

  drop(socket: Socket<Body>): void {
    if (!this.#open.delete(socket)) return;
    // An answer that is being made still reads the body.
    if (!socket.data.isAnswering) socket.data.body?.close();
    socket.terminate();
  }

  dropAll(): void {
    for (const socket of this.#open) this.drop(socket);
  }

  receive(socket: Socket<Body>, bytes: Uint8Array): void {
    const { data } = socket;
    if (data.isEnding) return;
    if (data.isAnswering) {
      if (data.ahead.length + bytes.length > AHEAD_SIZE_MAX) return this.drop(socket);
      data.ahead = joined(data.ahead, bytes);
      return;
    }
    // The time of a head counts from its first byte: a client that drips holds no connection.
    if (data.head === null && data.ahead.length === 0) socket.timeout(STALL_S);
    this.#read(socket, data.ahead.length === 0 ? bytes : joined(data.ahead, bytes));
  }

  /** Reads requests from the bytes until a request is answered or more bytes are needed. */
  #read(socket: Socket<Body>, bytes: Uint8Array): void {
    const { data } = socket;
    data.ahead = NOTHING;
    if (data.head === null) {
      if (bytes.length === 0) return;
      const reading = readRequestHead(Buffer.from(bytes.subarray(0, HEAD_SIZE_MAX + 4)).toString("latin1"));
      if (reading.kind === "incomplete") {
        data.ahead = bytes.slice();
        return;
      }
      if (reading.kind === "refused") return this.#reply(socket, plainReply(reading.status), false);
      this.#begin(socket, reading.head);
      bytes = bytes.subarray(reading.sizeBytes);
      if (data.isEnding) return;
    }
    const part = bytes.subarray(0, data.missingBytes);
    if (part.length > 0) {
      socket.timeout(STALL_S);
      this.#take(data, part);
    }
    const after = bytes.subarray(part.length);
    if (after.length > 0) data.ahead = after.slice();
    if (data.missingBytes === 0) this.#complete(socket);
  }

  #begin(socket: Socket<Body>, head: RequestHead): void {
    const { data } = socket;
    data.head = head;
    data.missingBytes = head.bodyBytes;
    const admitted = this.handler.admit(head);
    if (admitted !== null && "status" in admitted) {
      data.refusal = admitted;
      // The client waits for leave, or sends more than is worth reading: the answer comes now.
      if (head.awaitsContinue || head.bodyBytes > DROPPED_SIZE_MAX) this.#reply(socket, admitted, false);
      return;
    }
    data.body = admitted;
    if (head.awaitsContinue) socket.write("HTTP/1.1 100 Continue\r\n\r\n");
  }

  #take(data: Connection<Body>, part: Uint8Array): void {
    data.missingBytes -= part.length;
    if (data.body === null) return;
    try {
      data.body.write(part);
    } catch (error) {
      data.body.close();
      data.body = null;
      const body = `${error instanceof Error ? error.message : String(error)}\n`;
      data.refusal = { status: 507, body };
    }
  }

  #complete(socket: Socket<Body>): void {
    const { data } = socket;
    const { head, body, refusal } = data;
    if (head === null) return;
    if (refusal !== null) return this.#reply(socket, refusal, head.isKept);
    data.isAnswering = true;
    // The answer may take as long as a restore of the database.
    socket.timeout(0);
    void this.handler.answer(head, body).then((reply) => {
      body?.close();
      data.body = null;
      data.isAnswering = false;
      if (this.#open.has(socket)) this.#reply(socket, reply, head.isKept);
    });
  }

  #reply(socket: Socket<Body>, reply: HttpReply, isKept: boolean): void {
    const { data } = socket;
    const isHead = data.head?.method === "HEAD";
    data.head = null;
    data.refusal = null;
    data.missingBytes = 0;
    data.isEnding = !isKept;
    const headers = { ...this.headers, ...reply.headers };
    data.rest = encodeReply({ ...reply, headers }, isKept, isHead);
    socket.timeout(STALL_S);
    this.write(socket);
  }

  /** Writes as much of the answer as the client takes, and then reads on. */
  write(socket: Socket<Body>): void {
    const { data } = socket;
    if (data.rest.length === 0) return;
    const count = socket.write(data.rest);
    if (count > 0) data.rest = data.rest.subarray(count);
    if (count < 0) return this.drop(socket);
    if (data.rest.length > 0) return;
    if (data.isEnding) {
      socket.end();
      return;
    }
    socket.timeout(IDLE_S);
    // The set keeps the order: this connection is the one that was used last.
    this.#open.delete(socket);
    this.#open.add(socket);
    if (data.ahead.length > 0) this.#read(socket, data.ahead);
  }
}

function joined(before: Uint8Array, after: Uint8Array): Uint8Array {
  return new Uint8Array(Buffer.concat([before, after]));
}

/** An answer with its status in words. */
export function plainReply(status: number): HttpReply {
  return { status, body: `${STATUS_TEXTS[status] ?? "Error"}\n`.toLowerCase() };
}

function encodeReply(reply: HttpReply, isKept: boolean, isHead: boolean): Uint8Array {
  const { status, body, contentType = "text/plain; charset=utf-8", headers = {} } = reply;
  const bytes = new TextEncoder().encode(body);
  const lines = [
    `HTTP/1.1 ${status} ${STATUS_TEXTS[status] ?? "Unknown"}`,
    `content-type: ${contentType}`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
    `content-length: ${bytes.length}`,
    `connection: ${isKept ? "keep-alive" : "close"}`,
  ];
  const head = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  return isHead ? head : joined(head, bytes);
}
