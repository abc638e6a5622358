/**
 * A TCP proxy to the storage, with faults. The line knows enough of HTTP/1.1 to see where a request begins:
 * at the first bytes after an answer, because a client without pipelining waits for the answer.
 *
 * Bytes of one direction of a connection never overtake each other. Faults choose requests by a seeded random
 * number, so the share of an episode holds for any number of connections.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { seededRandom } from "../measure/databases.ts";
import type { Episode } from "./fault-plan.ts";
import { type RequestKind, requestKindOrNull } from "./requests.ts";

/** Counts since the start of the line. */
export interface LineCounts {
  readonly requests: Readonly<Partial<Record<RequestKind, number>>>;
  readonly faults: Readonly<Partial<Record<FaultName, number>>>;
}

/** A fault that met one request or one connection. */
export type FaultName = "answered 500" | "answered 503" | "reset" | "refused" | "cut";

const STALLED_POLL_MS = 50;
/** Most bytes of a request or an answer that pass before a reset. */
const RESET_REQUEST_BYTES = 8_192;
const RESET_ANSWER_BYTES = 400;

/** One direction of a connection. */
class Flow {
  readonly #queue: { readonly atMs: number; readonly bytes: Buffer | null }[] = [];
  #lastMs = 0;
  #isScheduled = false;

  constructor(
    readonly target: Socket,
    readonly weather: { readonly delayMs: number; readonly isStalled: boolean },
  ) {}

  /** Delivers bytes, or the end (null), after everything that waits. */
  push(bytes: Buffer | null): void {
    this.#lastMs = Math.max(this.#lastMs, performance.now() + this.weather.delayMs);
    this.#queue.push({ atMs: this.#lastMs, bytes });
    this.#deliver();
  }

  #deliver(): void {
    if (this.#isScheduled) return;
    for (let first = this.#queue[0]; first !== undefined; first = this.#queue[0]) {
      const waitMs = this.weather.isStalled ? STALLED_POLL_MS : first.atMs - performance.now();
      if (waitMs > 0) {
        this.#isScheduled = true;
        setTimeout(() => {
          this.#isScheduled = false;
          this.#deliver();
        }, waitMs);
        return;
      }
      this.#queue.shift();
      if (this.target.destroyed) continue;
      if (first.bytes === null) this.target.end();
      else this.target.write(first.bytes);
    }
  }
}

/** Both sockets of a connection, and the fault that its present request meets. */
interface Connection {
  readonly near: Socket;
  readonly far: Socket;
  /** Whether the last bytes came from the storage: the next ones from the client begin a request. */
  isAnswered: boolean;
  /** The line has answered instead of the storage, and drops the rest of the request. */
  isRefused: boolean;
  /** Bytes of the request or of the answer until the reset; null for none. */
  resetAfter: { requestBytes: number; answerBytes: number } | null;
}

/** A running line. */
export class FaultLine {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #requests: Partial<Record<RequestKind, number>> = {};
  readonly #faults: Partial<Record<FaultName, number>> = {};
  readonly #random: () => number;
  #episode: Episode | null = null;

  private constructor(
    readonly storePort: number,
    seed: number,
  ) {
    this.#random = seededRandom(seed);
    this.#server = createServer((near) => this.#accept(near));
  }

  /** Starts a line on a free port. */
  static start(storePort: number, seed: number): Promise<FaultLine> {
    const line = new FaultLine(storePort, seed);
    return new Promise((resolve) => line.#server.listen(0, "127.0.0.1", () => resolve(line)));
  }

  get port(): number {
    const address = this.#server.address();
    return address !== null && typeof address === "object" ? address.port : 0;
  }

  get counts(): LineCounts {
    return { requests: this.#requests, faults: this.#faults };
  }

  get delayMs(): number {
    return this.#episode?.kind === "latency" ? this.#episode.delayMs : 0;
  }

  get isStalled(): boolean {
    return this.#episode?.kind === "stall";
  }

  /** Begins an episode, or calm weather (null). */
  set(episode: Episode | null): void {
    this.#episode = episode;
    if (episode?.kind !== "outage") return;
    for (const connection of this.#connections) {
      this.#count("cut");
      this.#cut(connection);
    }
  }

  stop(): void {
    for (const connection of this.#connections) this.#cut(connection);
    this.#server.close();
  }

  #accept(near: Socket): void {
    near.on("error", () => {});
    if (this.#episode?.kind === "outage") {
      this.#count("refused");
      near.resetAndDestroy();
      return;
    }
    const far = connect(this.storePort, "127.0.0.1");
    const connection: Connection = { near, far, isAnswered: true, isRefused: false, resetAfter: null };
    this.#connections.add(connection);
    const upward = new Flow(far, this);
    const downward = new Flow(near, this);
    // Without an encoding, sockets give buffers.
    near.on("data", (bytes) => this.#fromClient(connection, upward, bytes as Buffer));
    far.on("data", (bytes) => this.#fromStore(connection, downward, bytes as Buffer));
    near.on("end", () => upward.push(null));
    far.on("end", () => downward.push(null));
    far.on("error", () => near.destroy());
    for (const socket of [near, far]) {
      socket.on("close", () => {
        this.#connections.delete(connection);
        (socket === near ? upward : downward).push(null);
      });
    }
  }

  #fromClient(connection: Connection, upward: Flow, bytes: Buffer): void {
    const kind = connection.isAnswered ? requestKindOrNull(bytes) : null;
    if (kind !== null) {
      this.#requests[kind] = (this.#requests[kind] ?? 0) + 1;
      connection.isAnswered = false;
      this.#chooseFault(connection);
    }
    if (connection.isRefused) return;
    const { resetAfter } = connection;
    if (resetAfter !== null && (resetAfter.requestBytes -= bytes.length) < 0) {
      upward.push(bytes.subarray(0, bytes.length >> 1));
      this.#cut(connection);
      return;
    }
    upward.push(bytes);
  }

  #fromStore(connection: Connection, downward: Flow, bytes: Buffer): void {
    connection.isAnswered = true;
    const { resetAfter } = connection;
    if (resetAfter !== null && (resetAfter.answerBytes -= bytes.length) < 0) {
      this.#cut(connection);
      return;
    }
    downward.push(bytes);
  }

  /** Decides what happens to the request that begins. */
  #chooseFault(connection: Connection): void {
    const episode = this.#episode;
    connection.resetAfter = null;
    if (episode === null || this.#random() >= episode.share) return;
    if (episode.kind === "errors") {
      const status = this.#random() < 0.5 ? 500 : 503;
      this.#count(`answered ${status}`);
      connection.isRefused = true;
      connection.near.end(errorAnswer(status));
      connection.far.destroy();
    }
    if (episode.kind === "resets") {
      this.#count("reset");
      // Half of the requests take effect, and only their answer is lost.
      const isAnswerLost = this.#random() < 0.5;
      connection.resetAfter = {
        requestBytes: isAnswerLost ? Number.POSITIVE_INFINITY : this.#random() * RESET_REQUEST_BYTES,
        answerBytes: this.#random() * RESET_ANSWER_BYTES,
      };
    }
  }

  #cut({ near, far }: Connection): void {
    near.resetAndDestroy();
    far.destroy();
  }

  #count(fault: FaultName): void {
    this.#faults[fault] = (this.#faults[fault] ?? 0) + 1;
  }
}

function errorAnswer(status: 500 | 503): string {
  const [reason, code] =
    status === 500
      ? ["Internal Server Error", "InternalError"]
      : (["Service Unavailable", "SlowDown"] as const);
  const body = `<Error><Code>${code}</Code><Message>${reason}</Message></Error>`;
  return [
    `HTTP/1.1 ${status} ${reason}`,
    "Content-Type: application/xml",
    `Content-Length: ${body.length}`,
    "Connection: close",
    "",
    body,
  ].join("\r\n");
}
