/**
 * A TCP proxy that simulates the line to a store far away. Each byte arrives a one-way delay later, a new
 * connection costs one more round trip, and all connections together upload at most at the line's rate.
 * Without a rate, the delay does not limit throughput.
 *
 * With a rate, the line serves the connections in turn, 4 KB each. It stops reading from a connection with
 * 64 KB waiting, so the sender's socket fills up, as before a slow modem.
 */
import type { Socket, TCPSocketListener } from "bun";

const TURN_BYTES = 4096;
const WAITING_BYTES_MAX = 64 * 1024;
const RATE_TICK_MS = 20;

/** Properties of the line. */
export interface LineOptions {
  readonly port: number;
  /** Round trip in ms. */
  readonly roundTripMs: number;
  /** Upload rate in bytes a second over all connections; absent for no limit. */
  readonly bytesPerSecond?: number;
  /** Port to listen on; absent for a free one. */
  readonly listenPort?: number;
}

/** One side of a connection, with the bytes that wait for it. */
class Side {
  socket: Socket<Side> | null = null;
  peer: Side | null = null;
  isEnded = false;
  /** Bytes that the socket has not accepted yet, in order. */
  readonly #unwritten: Uint8Array[] = [];

  write(bytes: Uint8Array | null): void {
    if (bytes === null) this.isEnded = true;
    else this.#unwritten.push(bytes);
    this.flush();
  }

  flush(): void {
    const { socket } = this;
    if (socket === null) return;
    for (let first = this.#unwritten[0]; first !== undefined; first = this.#unwritten[0]) {
      const count = Math.max(0, socket.write(first));
      if (count < first.length) {
        this.#unwritten[0] = first.subarray(count);
        return;
      }
      this.#unwritten.shift();
    }
    if (this.isEnded) socket.end();
  }
}

/** A running line. */
export class SlowLine {
  readonly #options: LineOptions;
  readonly #listener: TCPSocketListener<Side>;
  readonly #late: { atMs: number; side: Side; bytes: Uint8Array | null }[] = [];
  readonly #upward: { side: Side; bytes: Uint8Array[]; waitingBytes: number }[] = [];
  readonly #timer: ReturnType<typeof setInterval> | null;
  #isLateScheduled = false;
  /** All bytes received from senders. */
  receivedBytes = 0;
  /** While true, no byte moves on any connection, in either direction. */
  isCut = false;

  constructor(options: LineOptions) {
    this.#options = options;
    const handlers = this.#handlers();
    this.#listener = Bun.listen<Side>({
      hostname: "127.0.0.1",
      port: options.listenPort ?? 0,
      socket: { ...handlers, open: (socket) => void this.#accept(socket) },
    });
    const isLimited = options.bytesPerSecond !== undefined;
    this.#timer = isLimited ? setInterval(() => this.#carry(), RATE_TICK_MS) : null;
  }

  get port(): number {
    return this.#listener.port;
  }

  get url(): string {
    return `http://127.0.0.1:${this.port}`;
  }

  stop(): void {
    this.#listener.stop(true);
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  #handlers() {
    return {
      data: (socket: Socket<Side>, bytes: Uint8Array) => this.#received(socket.data, bytes),
      drain: (socket: Socket<Side>) => socket.data.flush(),
      close: (socket: Socket<Side>) => this.#closed(socket.data),
      error: (socket: Socket<Side>) => this.#closed(socket.data),
    };
  }

  async #accept(socket: Socket<Side>): Promise<void> {
    const [near, far] = [new Side(), new Side()];
    near.socket = socket;
    near.peer = far;
    far.peer = near;
    socket.data = near;
    // The handshake: bytes that arrive before its end wait.
    await Bun.sleep(this.#options.roundTripMs);
    try {
      const { port } = this.#options;
      far.socket = await Bun.connect<Side>({
        hostname: "127.0.0.1",
        port,
        data: far,
        socket: this.#handlers(),
      });
      far.flush();
    } catch {
      near.socket?.end();
    }
  }

  #received(from: Side, bytes: Uint8Array): void {
    if (from.peer === null) return;
    const isUpward = from.peer.socket !== from.socket && this.#isNear(from);
    const copy = bytes.slice();
    if (isUpward) this.receivedBytes += copy.length;
    if (isUpward && this.#timer !== null) this.#enqueue(from, copy);
    else this.#delay(from.peer, copy);
  }

  #isNear(side: Side): boolean {
    return side.socket?.localPort === this.port;
  }

  #closed(side: Side): void {
    if (side.peer === null) return;
    const { peer } = side;
    side.peer = null;
    const upward = this.#upward.findIndex((queue) => queue.side === side);
    if (upward >= 0) this.#upward.splice(upward, 1);
    this.#delay(peer, null);
  }

  #delay(side: Side, bytes: Uint8Array | null): void {
    this.#late.push({ atMs: performance.now() + this.#options.roundTripMs / 2, side, bytes });
    this.#schedule();
  }

  #schedule(): void {
    const first = this.#late[0];
    if (this.#isLateScheduled || first === undefined) return;
    this.#isLateScheduled = true;
    setTimeout(() => this.#deliver(), Math.max(0, first.atMs - performance.now()));
  }

  #deliver(): void {
    this.#isLateScheduled = false;
    const nowMs = performance.now();
    let count = 0;
    if (!this.isCut) while (count < this.#late.length && this.#late[count]!.atMs <= nowMs + 0.5) count++;
    for (const { side, bytes } of this.#late.splice(0, count)) side.write(bytes);
    if (this.isCut) setTimeout(() => this.#schedule(), RATE_TICK_MS);
    else this.#schedule();
  }

  #enqueue(from: Side, bytes: Uint8Array): void {
    let queue = this.#upward.find(({ side }) => side === from);
    if (queue === undefined) {
      queue = { side: from, bytes: [], waitingBytes: 0 };
      this.#upward.push(queue);
    }
    queue.bytes.push(bytes);
    queue.waitingBytes += bytes.length;
    if (queue.waitingBytes >= WAITING_BYTES_MAX) from.socket?.pause();
  }

  /** Sends the bytes of one tick, one connection after the other. */
  #carry(): void {
    if (this.isCut) return;
    let leftBytes = ((this.#options.bytesPerSecond ?? 0) * RATE_TICK_MS) / 1000 + this.#carriedOver;
    while (leftBytes >= 1 && this.#upward.length > 0) {
      const queue = this.#upward.shift()!;
      let turnBytes = Math.min(TURN_BYTES, Math.floor(leftBytes));
      while (turnBytes > 0 && queue.bytes.length > 0) {
        const first = queue.bytes[0]!;
        const count = Math.min(turnBytes, first.length);
        if (queue.side.peer !== null) this.#delay(queue.side.peer, first.slice(0, count));
        if (count === first.length) queue.bytes.shift();
        else queue.bytes[0] = first.subarray(count);
        turnBytes -= count;
        leftBytes -= count;
        queue.waitingBytes -= count;
      }
      if (queue.waitingBytes < WAITING_BYTES_MAX) queue.side.socket?.resume();
      if (queue.bytes.length > 0) this.#upward.push(queue);
    }
    this.#carriedOver = this.#upward.length === 0 ? 0 : leftBytes;
  }

  #carriedOver = 0;
}
