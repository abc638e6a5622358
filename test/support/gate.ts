/**
 * A way to a server that can be shut and opened again: a TCP forwarder on a loopback port of its own. Shut,
 * it refuses connections and breaks those there are, as a network or a server that is gone; broken, it takes
 * them and breaks them at once, and counts them.
 */
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Server, type Socket } from "node:net";

/** A forwarder to one server. */
export class Gate {
  readonly #sockets = new Set<Socket>();
  /** Connections whose last bytes came from the client. */
  readonly #unanswered = new Set<Socket>();
  readonly #target: URL;
  #server: Server | null = null;
  #port = 0;
  #isBroken = false;
  #brokenCount = 0;

  private constructor(target: string) {
    this.#target = new URL(target);
  }

  /** Opens a way to the server at this URL. */
  static async to(target: string): Promise<Gate> {
    const gate = new Gate(target);
    await gate.open();
    return gate;
  }

  /** The URL to use instead of the server's own. */
  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** How many connections were broken at once. */
  get brokenCount(): number {
    return this.#brokenCount;
  }

  /** Whether the server has answered every request that went through. */
  get isAnswered(): boolean {
    return this.#unanswered.size === 0;
  }

  /** Breaks connections, those there are and those to come. */
  break(): void {
    this.#isBroken = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Lets connections through, at the same port as before. */
  async open(): Promise<void> {
    this.#isBroken = false;
    if (this.#server !== null) return;
    this.#server = createServer((socket) => this.#forward(socket));
    this.#server.listen(this.#port, "127.0.0.1");
    await once(this.#server, "listening");
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  /** Refuses and breaks connections. */
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
