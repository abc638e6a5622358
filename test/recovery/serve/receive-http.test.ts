/**
 * The HTTP server of push replicas, over raw sockets: bodies in any pieces, kept connections, refusals before
 * and after a body, and the limits on connections.
 */
import { afterEach, expect, test } from "bun:test";
import type { Socket } from "bun";
import {
  type BodySink,
  CONNECTIONS_MAX,
  type HttpReceiver,
  type HttpReply,
  receiveHttp,
} from "../../../src/recovery/serve/receive-http.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";

class Collected implements BodySink {
  readonly chunks: Uint8Array[] = [];
  closeCount = 0;

  write(bytes: Uint8Array): void {
    if (this.isFull) throw new Error("the disk is full");
    this.chunks.push(bytes.slice());
  }

  close(): void {
    this.closeCount++;
  }

  get text(): string {
    return Buffer.concat(this.chunks).toString();
  }

  constructor(readonly isFull = false) {}
}

const servers: HttpReceiver[] = [];
afterEach(() => {
  for (const server of servers.splice(0)) server.close();
});

interface Server {
  readonly receiver: HttpReceiver;
  readonly bodies: Collected[];
}

/** Answers each request with its path and body; a path with "no" is refused by its head. */
function start(answer?: (path: string) => Promise<HttpReply>): Server {
  const bodies: Collected[] = [];
  const receiver = receiveHttp<Collected>(
    { hostname: "127.0.0.1", port: 0 },
    {
      admit: ({ path, bodyBytes }) => {
        if (path.includes("no")) return { status: 409, body: "refused\n" };
        if (bodyBytes === 0) return null;
        bodies.push(new Collected(path.includes("full")));
        return bodies.at(-1)!;
      },
      answer: async ({ path }, body) =>
        (await answer?.(path)) ?? { status: 200, body: `${path} ${body?.text ?? "-"}\n` },
    },
  );
  servers.push(receiver);
  return { receiver, bodies };
}

/** A client that writes raw text and collects the answers. */
async function connect({ receiver }: Server) {
  const client = { text: "", isClosed: false, socket: null as unknown as Socket<undefined> };
  client.socket = await Bun.connect({
    hostname: "127.0.0.1",
    port: receiver.port,
    socket: {
      data: (_, bytes) => {
        client.text += Buffer.from(bytes).toString();
      },
      close: () => {
        client.isClosed = true;
      },
    },
  });
  return client;
}

const put = (path: string, body: string, more = ""): string =>
  `PUT ${path} HTTP/1.1\r\nHost: a\r\nContent-Length: ${body.length}\r\n${more}\r\n${body}`;

/** The status lines of all answers so far. */
const statuses = (text: string): string[] =>
  [...text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => status!);

test("receiveHttp reads a body in any pieces, and keeps the connection", async () => {
  const server = start();
  const client = await connect(server);
  const last = "GET /c HTTP/1.1\r\nHost: a\r\n\r\n";
  const whole = put("/a", "0123456789") + put("/b", "x") + last;
  for (const byte of whole) {
    client.socket.write(byte);
    client.socket.flush();
    await new Promise((resolve) => setImmediate(resolve));
  }
  await waitUntil(() => statuses(client.text).length === 3);
  expect(client.text).toContain("/a 0123456789\n");
  expect(client.text).toContain("/b x\n");
  expect(client.text).toContain("/c -\n");
  expect(client.isClosed).toBe(false);
  expect(server.bodies.map(({ closeCount }) => closeCount)).toEqual([1, 1]);
});

test("receiveHttp answers requests in one piece one after the other", async () => {
  const server = start();
  const client = await connect(server);
  client.socket.write(put("/a", "1") + put("/no", "22") + put("/b", "3", "Connection: close\r\n"));
  await waitUntil(() => client.isClosed);
  expect(statuses(client.text)).toEqual(["200", "409", "200"]);
  expect(client.text.endsWith("/b 3\n")).toBe(true);
});

test("receiveHttp refuses before the body of a client that waits for leave", async () => {
  const server = start();
  const client = await connect(server);
  client.socket.write(put("/no", "", "Expect: 100-continue\r\n").replace("Length: 0", "Length: 5"));
  await waitUntil(() => client.isClosed);
  expect(statuses(client.text)).toEqual(["409"]);
  const other = await connect(server);
  other.socket.write(put("/a", "", "Expect: 100-continue\r\n").replace("Length: 0", "Length: 5"));
  await waitUntil(() => statuses(other.text).length === 1);
  expect(other.text).toStartWith("HTTP/1.1 100 Continue\r\n\r\n");
  other.socket.write("hello");
  await waitUntil(() => other.text.includes("/a hello\n"));
});

test("receiveHttp drops a refused body up to its limit, and closes beyond it", async () => {
  const server = start();
  const client = await connect(server);
  client.socket.write(put("/no", "x".repeat(100_000)) + put("/a", "y"));
  await waitUntil(() => statuses(client.text).length === 2);
  expect(statuses(client.text)).toEqual(["409", "200"]);
  const large = await connect(server);
  large.socket.write(put("/no", "").replace("Length: 0", "Length: 99999999999"));
  await waitUntil(() => large.isClosed);
  expect(statuses(large.text)).toEqual(["409"]);
});

test("receiveHttp answers 507 when a body cannot be kept", async () => {
  const server = start();
  const client = await connect(server);
  client.socket.write(put("/full", "x"));
  await waitUntil(() => statuses(client.text).length === 1);
  expect(client.text).toContain("HTTP/1.1 507 ");
  expect(client.text).toContain("the disk is full");
  expect(server.bodies[0]!.closeCount).toBe(1);
});

test("receiveHttp refuses heads that are none, and closes", async () => {
  const server = start();
  for (const [text, status] of [
    ["nonsense\r\n\r\n", "400"],
    ["x".repeat(20_000), "431"],
    ["PUT /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "411"],
  ] as const) {
    const client = await connect(server);
    client.socket.write(text);
    await waitUntil(() => client.isClosed);
    expect(statuses(client.text)).toEqual([status]);
  }
});

test("receiveHttp closes the body of a broken connection", async () => {
  const server = start();
  const client = await connect(server);
  client.socket.write(put("/a", "").replace("Length: 0", "Length: 5"));
  await waitUntil(() => server.bodies.length === 1);
  client.socket.terminate();
  await waitUntil(() => server.bodies[0]!.closeCount === 1);
  expect(server.receiver.connectionCount).toBe(0);
});

test("receiveHttp keeps the body open while an answer is made, although the client is gone", async () => {
  const gate = Promise.withResolvers<HttpReply>();
  const server = start(() => gate.promise);
  const client = await connect(server);
  client.socket.write(put("/a", "x"));
  await waitUntil(() => server.bodies[0]?.chunks.length === 1);
  client.socket.terminate();
  await waitUntil(() => server.receiver.connectionCount === 0);
  expect(server.bodies[0]!.closeCount).toBe(0);
  gate.resolve({ status: 200, body: "" });
  await waitUntil(() => server.bodies[0]!.closeCount === 1);
});

test("receiveHttp bounds its connections, and gives up idle ones first", async () => {
  const server = start();
  const busy = await connect(server);
  busy.socket.write(put("/a", "").replace("Length: 0", "Length: 5"));
  await waitUntil(() => server.bodies.length === 1);
  const clients: Awaited<ReturnType<typeof connect>>[] = [];
  for (let i = 0; i < CONNECTIONS_MAX + 5; i++) clients.push(await connect(server));
  await waitUntil(() => clients.filter(({ isClosed }) => isClosed).length === 6);
  expect(server.receiver.connectionCount).toBe(CONNECTIONS_MAX);
  busy.socket.write("hello");
  await waitUntil(() => busy.text.includes("/a hello"));
  for (const { socket } of clients) socket.terminate();
});
