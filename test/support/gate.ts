/**
 * A TCP forwarder on a loopback port, which a test opens, shuts or breaks. Shut, it refuses new connections
 * and breaks existing ones, like a network or a server that is gone. Broken, it accepts connections, breaks
 * them at once and counts them.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A forwarder to one server. */
export class Gate {
  readonly #sockets = new Set<Socket>();
  /** Connections whose newest bytes came from the client. */
  readonly #unanswered = new Set<Socket>();
  readonly #target: URL;
  #server: Server | null = null;
  #port = 0;
  #isBroken = false;
  #brokenCount = 0;

  private constructor(target: string) {
    this.#target = new URL(target);
  }

  /** Opens a forwarder to the server at `target`. */
  static async to(target: string): Promise<Gate> {
    const gate = new Gate(target);
    await gate.open();
    return gate;
  }

  /** The URL to use instead of the URL of the server. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Number of connections that the broken gate accepted and broke. */
  get brokenCount(): number {
    return this.#brokenCount;
  }

  /** Whether the server has answered every forwarded request. */
  get isAnswered(): boolean {
    return this.#unanswered.size === 0;
  }

  /** Breaks existing connections, and every later one right after it connects. */
  break(): void {
    this.#isBroken = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Forwards connections, at the same port as before. */
  async open(): Promise<void> {
    this.#isBroken = false;
    if (this.#server !== null) return;
    this.#server = createServer((socket) => this.#forward(socket));
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Refuses new connections and breaks existing ones. */
  async shut(): Promise<void> {
    const server = this.#server;
    if (server === null) return;
    this.#server = null;
    const closed = once(server, "close");
    server.close();
    for (const socket of this.#sockets) socket.destroy();
    await closed;
  }

  #forward(socket: Socket): void {
    if (this.#isBroken) {
      this.#brokenCount++;
      socket.destroy();
      return;
    }
    const upstream = connect(Number(this.#target.port), this.#target.hostname);
    socket.on("data", () => this.#unanswered.add(socket));
    upstream.on("data", () => this.#unanswered.delete(socket));
    socket.on("close", () => this.#unanswered.delete(socket));
    for (const [one, other] of [
      [socket, upstream],
      [upstream, socket],
    ] as const) {
      this.#sockets.add(one);
      one.pipe(other);
      one.on("error", () => other.destroy());
      one.on("close", () => {
        this.#sockets.delete(one);
        other.destroy();
      });
    }
  }
}
