/**
 * The HTTP server below its pages: requests that it reads, requests that it rejects, and attacks of another
 * local user.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { hostname } from "node:os";
import {
  CONNECTIONS_MAX,
  HEAD_SIZE_MAX,
  type HeadReading,
  type HttpAnswer,
  type HttpListener,
  hostName,
  listenHttp,
  readHead,
} from "../../src/observability/status-http.ts";
import {
  type MetricsPage,
  type StatusServer,
  startStatusServer,
} from "../../src/observability/status-server.ts";
import { eventually } from "../support/eventually.ts";
import { ManualTime } from "./manual-time.ts";

const ends: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const GET = "GET / HTTP/1.1\r\nhost: localhost\r\n\r\n";

/** A raw connection, which collects the answer until the server closes. */
class Client {
  text = "";
  isClosed = false;
  socket: Bun.Socket | null = null;

  static async open(port: number, first = ""): Promise<Client> {
    const client = new Client();
    client.socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => {
          client.text += Buffer.from(bytes).toString("latin1");
        },
        close: () => {
          client.isClosed = true;
        },
        error: () => {
          client.isClosed = true;
        },
      },
    });
    ends.push(() => client.socket?.terminate());
    if (first !== "") client.socket.write(first);
    return client;
  }

  async closed(): Promise<string> {
    await eventually("the end of the connection", async () => this.isClosed, 10_000);
    return this.text;
  }
}

function listen(time: ManualTime, body: string | (() => Iterable<string>) = "yes\n"): HttpListener {
  const answer = (): HttpAnswer => ({
    status: 200,
    headers: {},
    body: typeof body === "string" ? body : body(),
  });
  const listener = listenHttp({ hostname: "127.0.0.1", port: 0 }, answer, time.env);
  ends.push(() => listener.close());
  return listener;
}

describe("readHead", () => {
  const request = (
    path: string,
    host: string | null = "a",
    method = "GET",
    accept: string | null = null,
    takesChunks = true,
  ): HeadReading => ({ kind: "request", request: { method, path, host, accept, takesChunks } });
  const rows: readonly (readonly [text: string, reading: HeadReading | number | null])[] = [
    ["", null],
    ["GET / HTTP/1.1\r\nhost: a\r\n", null],
    ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", request("/")],
    ["GET /health?x=/y HTTP/1.1\r\nHOST:  a \r\n\r\nmore", request("/health")],
    ["HEAD /a HTTP/1.0\r\n\r\n", request("/a", null, "HEAD", null, false)],
    ["OPTIONS * HTTP/1.1\r\nhost: a\r\n\r\n", request("*", "a", "OPTIONS")],
    ["GET http://a/metrics?x HTTP/1.1\r\nhost: a\r\n\r\n", request("/metrics")],
    ["GET http://a HTTP/1.1\r\nhost: a\r\n\r\n", request("/")],
    ["GET http://a?x HTTP/1.1\r\nhost: a\r\n\r\n", request("/")],
    ["GET / HTTP/1.1\r\nhost: a\r\nAccept: b/c;q=1\r\n\r\n", request("/", "a", "GET", "b/c;q=1")],
    ["GET / HTTP/1.1\r\nhost: a\r\naccept: b\r\naccept: c\r\n\r\n", request("/", "a", "GET", "b,c")],
    ["GET / HTTP/1.1\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nhost: a\r\n folded\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nhost : a\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nhost: a\r\nno colon\r\n\r\n", 400],
    ["GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400],
    ["GET metrics HTTP/1.1\r\nhost: a\r\n\r\n", 400],
    ["G(T / HTTP/1.1\r\nhost: a\r\n\r\n", 400],
    ["GET /\r\n\r\n", 400],
    ["\r\n\r\n", 400],
    ["GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505],
    ["x".repeat(HEAD_SIZE_MAX + 1), 431],
    [`GET / HTTP/1.1\r\nx: ${"y".repeat(HEAD_SIZE_MAX)}\r\n\r\n`, 431],
  ];
  test.each(rows)("of %j", (text, expected) => {
    const reading = readHead(text);
    if (expected === null) expect(reading).toEqual({ kind: "incomplete" });
    else if (typeof expected === "number")
      expect(reading).toEqual({ kind: "refused", status: expected as 400 });
    else expect(reading).toEqual(expected);
  });
});

test.each([
  ["localhost", "localhost"],
  ["LocalHost:80", "localhost"],
  ["127.0.0.1:16767", "127.0.0.1"],
  ["[::1]:80", "::1"],
  ["[::1]", "::1"],
  ["", null],
  ["a b", null],
  ["a/b", null],
  ["a@b", null],
  ["[::1", null],
  ["a:port", null],
  ["%00", null],
])("hostName of %j is %j", (host, name) => {
  expect(hostName(host)).toBe(name);
});

describe("listenHttp", () => {
  test("answers and closes; bytes after the request are not read", async () => {
    const { port } = listen(new ManualTime());
    const client = await Client.open(port, `${GET}${GET}`);
    const text = await client.closed();
    expect(text).toBe("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nyes\n");
  });

  test("answers a request that arrives one byte at a time", async () => {
    const { port } = listen(new ManualTime());
    const client = await Client.open(port);
    for (const character of GET) {
      client.socket!.write(character);
      client.socket!.flush();
    }
    expect(await client.closed()).toEndWith("yes\n");
  });

  test("answers late, once, and ignores a reader that has gone meanwhile", async () => {
    const time = new ManualTime();
    const made: (() => void)[] = [];
    const answer = (): Promise<HttpAnswer> =>
      new Promise((resolve) => made.push(() => resolve({ status: 200, headers: {}, body: "late\n" })));
    const listener = listenHttp({ hostname: "127.0.0.1", port: 0 }, answer, time.env);
    ends.push(() => listener.close());
    const gone = await Client.open(listener.port, GET);
    await eventually("the first request", async () => made.length === 1, 5_000);
    gone.socket!.terminate();
    await eventually("its end", async () => listener.connectionCount === 0, 5_000);
    const client = await Client.open(listener.port, `${GET}${GET}`);
    await eventually("the second request", async () => made.length === 2, 5_000);
    client.socket!.write(GET);
    for (const make of made) make();
    expect((await client.closed()).match(/late/g)?.length).toBe(1);
    expect([made.length, time.sleepsMs]).toEqual([2, []]);
  });

  test("delivers a body that is larger than the socket accepts at once", async () => {
    const body = "x".repeat(20_000_000);
    const { port } = listen(new ManualTime(), body);
    const client = await Client.open(port, GET);
    const text = await client.closed();
    expect(text.length - text.indexOf("\r\n\r\n") - 4).toBe(body.length);
  });

  test("delivers a body in parts as chunks, as a whole to HTTP/1.0, and not at all to HEAD", async () => {
    const { port } = listen(new ManualTime(), () => ["äb\n", "", "c"]);
    const textOf = async (request: string): Promise<string> => (await Client.open(port, request)).closed();
    const utf8 = Buffer.from("äb\n").toString("latin1");
    const head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    expect(await textOf(GET)).toBe(`${head}4\r\n${utf8}\r\n1\r\nc\r\n0\r\n\r\n`);
    expect(await textOf(GET.replace("GET", "HEAD"))).toBe(head);
    expect(await textOf("GET / HTTP/1.0\r\n\r\n")).toBe(
      `HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\n${utf8}c`,
    );
    expect(await (await fetch(`http://127.0.0.1:${port}/`)).text()).toBe("äb\nc");
  });

  test("makes the parts of a body as the reader takes them, and stops when the reader leaves", async () => {
    let madeCount = 0;
    function* endless(): Generator<string> {
      for (;;) {
        madeCount++;
        yield "x".repeat(100_000);
      }
    }
    const time = new ManualTime();
    const listener = listen(time, endless);
    const client = await Client.open(listener.port, GET);
    await eventually("some parts", async () => client.text.length > 1_000_000, 10_000);
    client.socket!.terminate();
    await eventually("the end of the connection", async () => listener.connectionCount === 0, 10_000);
    // Far more is never made than was read: what the two sockets hold, and the part at hand.
    expect(madeCount).toBeLessThan(client.text.length / 100_000 + 200);
  });

  test("breaks the connection when a part cannot be made, so that no reader takes it as whole", async () => {
    function* failing(): Generator<string> {
      yield "a";
      throw new Error("no more");
    }
    const { port } = listen(new ManualTime(), failing);
    await expect(fetch(`http://127.0.0.1:${port}/`).then((response) => response.text())).rejects.toThrow();
  });

  test("closes a connection whose request is incomplete after 5 s, even if bytes keep arriving", async () => {
    const time = new ManualTime();
    const listener = listen(time);
    const client = await Client.open(listener.port, "GET / HT");
    await time.sleeping(5_000);
    time.pass(4_900);
    client.socket!.write("T");
    time.pass(100);
    expect(await client.closed()).toBe("");
    expect([listener.connectionCount, time.sleepsMs]).toEqual([0, []]);
  });

  test("holds a bounded number of connections, and still answers a later one", async () => {
    const time = new ManualTime();
    const listener = listen(time);
    const idle: Client[] = [];
    for (let index = 0; index < 4 * CONNECTIONS_MAX; index++) {
      idle.push(await Client.open(listener.port, "GET / HTTP/1.1\r\nx: "));
      expect(listener.connectionCount).toBeLessThanOrEqual(CONNECTIONS_MAX);
    }
    expect(await (await Client.open(listener.port, GET)).closed()).toEndWith("yes\n");
    await eventually("the oldest to be closed", async () => idle[0]!.isClosed, 10_000);
    expect(idle.filter(({ isClosed }) => !isClosed).length).toBeLessThanOrEqual(CONNECTIONS_MAX);
  });

  test("rejects an endless head at its limit", async () => {
    const { port } = listen(new ManualTime());
    const client = await Client.open(port, `GET / HTTP/1.1\r\nx: ${"y".repeat(2 * HEAD_SIZE_MAX)}`);
    expect(await client.closed()).toStartWith("HTTP/1.1 431 ");
  });
});

describe("startStatusServer checks the Host header", () => {
  const pages = {
    metrics: () => ({ body: "# nothing\n", contentType: "text/plain" }),
    health: () => ({}) as never,
    dashboard: async () => ({}) as never,
  };

  async function statusOf(host: string, address = "127.0.0.1"): Promise<[status: number, logged: number]> {
    const time = new ManualTime();
    const server = startStatusServer({ address, port: 0 }, pages, time.env) as StatusServer;
    ends.push(() => server.close());
    const before = time.lines.length;
    const client = await Client.open(
      Number(new URL(server.url).port),
      `GET /metrics HTTP/1.1\r\nhost: ${host}\r\n\r\n`,
    );
    const status = Number((await client.closed()).split(" ")[1]);
    return [status, time.lines.length - before];
  }

  test.each([
    ["127.0.0.1:16767", 200],
    ["localhost", 200],
    ["walrust.localhost:80", 200],
    ["[::1]:80", 200],
    [hostname(), 200],
    ["10.0.0.7", 200],
    ["rebinding.example", 421],
    ["rebinding.example:16767", 421],
    ["a b", 421],
    ["", 421],
    ["[[[", 421],
    ["%", 421],
  ])("on loopback %j gives %d, and nothing is logged", async (host, status) => {
    expect(await statusOf(host)).toEqual([status, 0]);
  });

  test("accepts any name of this machine if other machines may connect", async () => {
    expect(await statusOf("vm1.internal:16767", "0.0.0.0")).toEqual([200, 0]);
    expect(await statusOf("[[[", "0.0.0.0")).toEqual([421, 0]);
  });

  test("logs a failing page once, not for each request", async () => {
    const time = new ManualTime();
    let isFailing = true;
    const metrics = (): MetricsPage => {
      if (isFailing) throw new Error("inner trouble");
      return pages.metrics();
    };
    const server = startStatusServer({ address: "127.0.0.1", port: 0 }, { ...pages, metrics }, time.env)!;
    ends.push(() => server.close());
    for (let round = 0; round < 3; round++) expect((await fetch(`${server.url}/metrics`)).status).toBe(500);
    expect(time.said("error").length).toBe(1);
    isFailing = false;
    expect((await fetch(`${server.url}/metrics`)).status).toBe(200);
    isFailing = true;
    expect((await fetch(`${server.url}/metrics`)).status).toBe(500);
    expect(time.said("error").length).toBe(2);
  });
});
