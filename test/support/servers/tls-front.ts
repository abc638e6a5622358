/**
 * TLS in front of a plain HTTP server: accepts connections with a given certificate and forwards their
 * content. Requests reach the server unchanged, with their `host`.
 */
import { once } from "node:events";
import { type AddressInfo, connect, type Socket } from "node:net";
import { createServer, type Server } from "node:tls";
import type { Certificate } from "./certificates.ts";

/** A TLS front of one server. */
export class TlsFront {
  readonly #sockets = new Set<Socket>();

  private constructor(
    readonly server: Server,
    readonly hostName: string,
  ) {}

  /** Opens a front for the server at `target`. @param hostName the name in `url` */
  static async to(target: string, certificate: Certificate, hostName = "127.0.0.1"): Promise<TlsFront> {
    const { port, hostname } = new URL(target);
    const server = createServer(certificate);
    const front = new TlsFront(server, hostName);
    server.on("secureConnection", (socket) => {
      const upstream = connect(Number(port), hostname);
      for (const [one, other] of [
        [socket, upstream],
        [upstream, socket],
      ] as const) {
        front.#sockets.add(one);
        one.pipe(other);
        one.on("error", () => other.destroy());
        one.on("close", () => {
          front.#sockets.delete(one);
          other.destroy();
        });
      }
    });
    server.on("tlsClientError", () => {});
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    return front;
  }

  /** The URL to use instead of the URL of the server. */
  get url(): string {
    return `https://${this.hostName}:${(this.server.address() as AddressInfo).port}`;
  }

  /** Stops listening and breaks all connections. */
  async stop(): Promise<void> {
    const closed = once(this.server, "close");
    this.server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }
}
