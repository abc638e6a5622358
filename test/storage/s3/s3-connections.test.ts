/** The connections of S3Store are reused: as many uploads as run at once need as many connections. */
import { afterAll, expect, test } from "bun:test";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { openStore } from "../../../src/index.ts";
import { Authority } from "../../support/servers/certificates.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { TlsFront } from "../../support/servers/tls-front.ts";
import { textBody } from "../contract/store-helpers.ts";

const PUTS = 100;
const env = systemEnv(SILENT_LOG);
const stops: (() => unknown)[] = [];

afterAll(() => {
  for (const stop of stops.splice(0)) stop();
});

/** A TCP proxy that counts the connections it accepts. */
class CountingProxy {
  accepted = 0;
  readonly #sockets = new Set<Socket>();

  private constructor(readonly server: Server) {}

  static async to(target: string): Promise<CountingProxy> {
    const { port } = new URL(target);
    const server = createServer((socket) => proxy.#accept(socket, Number(port)));
    const proxy = new CountingProxy(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stops.push(() => proxy.#stop());
    return proxy;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  #accept(socket: Socket, port: number): void {
    this.accepted++;
    const upstream = connect(port, "127.0.0.1");
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      this.#sockets.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => other.destroy());
    }
  }

  #stop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.server.close();
  }
}

const CASES = (["http", "https"] as const).flatMap((scheme) =>
  [1, 8, 64].map((atOnce) => [scheme, atOnce] as const),
);

test.each(CASES)("100 puts over %s need no more connections than the %d at once", async (scheme, atOnce) => {
  const server = await S3Server.start();
  stops.push(() => server.stop());
  const authority = new Authority();
  let target = server.url;
  if (scheme === "https") {
    const front = await TlsFront.to(server.url, authority.server());
    stops.push(() => front.stop());
    target = front.url;
  }
  const proxy = await CountingProxy.to(target);
  const endpoint = `${scheme}://127.0.0.1:${proxy.port}`;
  const keys = { accessKeyId: "test", secretAccessKey: "testsecret", caFile: authority.path };
  const store = openStore({ url: "s3://bucket/p", endpoint, ...keys }, env, {});
  let next = 0;
  const work = async (): Promise<void> => {
    while (next < PUTS) await store.put(`k${next++}`, textBody("x".repeat(1_000)), { createOnly: true });
  };
  await Promise.all(Array.from({ length: atOnce }, work));
  expect(server.count("put")).toBe(PUTS);
  expect(proxy.accepted).toBeLessThanOrEqual(atOnce);
  await store.close();
});
