/**
 * A TCP proxy to the storage, with faults. The line knows enough of HTTP/1.1 to see where a request begins:
 * at the first bytes after an answer, because a client without pipelining waits for the answer.
 *
 * Bytes of one direction of a connection never overtake each other. Faults choose requests by a seeded random
 * number, so the share of an episode holds for any number of connections.
 */
import { connect, createServer, type Server, type Socket } from "node:net";
import { seededRandom } from "../databases.ts";
import { type AnswerName, errorAnswer } from "./error-answers.ts";
import { type RequestKind, requestKindOrNull } from "./requests.ts";
import type { Weather } from "./weather.ts";

/** Counts since the start of the line. */
export interface LineCounts {
  readonly requests: Readonly<Partial<Record<RequestKind, number>>>;
  readonly faults: Readonly<Partial<Record<FaultName, number>>>;
}

/** A fault that met one request or one connection. */
export type FaultName = `answered ${AnswerName}` | "reset" | "truncated" | "refused" | "cut";

const STALLED_POLL_MS = 50;
/** Most bytes of a request or an answer that pass before a reset. */
const RESET_REQUEST_BYTES = 8_192;
const RESET_ANSWER_BYTES = 400;
/** Most bytes of an answer that pass before its early end: some end in the head, some in the body. */
const TRUNCATED_ANSWER_BYTES = 2_000;
/** Beyond the quarter of an hour that S3 tolerates. */
const SKEW_MS = 20 * 60_000;

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
  /** Bytes of the request or of the answer until the connection ends; null for no end. */
  endAfter: { requestBytes: number; answerBytes: number; isReset: boolean } | null;
}

/** A running line. */
export class FaultLine {
  readonly #server: Server;
  readonly #connections = new Set<Connection>();
  readonly #requests: Partial<Record<RequestKind, number>> = {};
  readonly #faults: Partial<Record<FaultName, number>> = {};
  readonly #random: () => number;
  #weather: Weather | null = null;

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
    return this.#weather?.kind === "latency" ? this.#weather.delayMs : 0;
  }

  get isStalled(): boolean {
    return this.#weather?.kind === "stall";
  }

  /** Changes the weather; null is calm. */
  set(weather: Weather | null): void {
    this.#weather = weather;
    if (weather?.kind === "outage") this.cutAll();
  }

  /** Cuts all open connections. */
  cutAll(): void {
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
    if (this.#weather?.kind === "outage") {
      this.#count("refused");
      near.resetAndDestroy();
      return;
    }
    const far = connect(this.storePort, "127.0.0.1");
    const connection: Connection = { near, far, isAnswered: true, isRefused: false, endAfter: null };
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
    const { endAfter } = connection;
    if (endAfter !== null && (endAfter.requestBytes -= bytes.length) < 0) {
      upward.push(bytes.subarray(0, bytes.length >> 1));
      this.#cut(connection);
      return;
    }
    upward.push(bytes);
  }

  #fromStore(connection: Connection, downward: Flow, bytes: Buffer): void {
    connection.isAnswered = true;
    const { endAfter } = connection;
    if (endAfter !== null && (endAfter.answerBytes -= bytes.length) < 0) {
      if (endAfter.isReset) this.#cut(connection);
      else {
        downward.push(bytes.subarray(0, Math.max(0, bytes.length + endAfter.answerBytes)));
        downward.push(null);
        connection.far.destroy();
      }
      return;
    }
    downward.push(bytes);
  }

  /** Decides what happens to the request that begins. */
  #chooseFault(connection: Connection): void {
    const weather = this.#weather;
    connection.endAfter = null;
    if (weather === null || this.#random() >= weather.share) return;
    if (weather.kind === "errors") this.#answer(connection, this.#random() < 0.5 ? "500" : "503");
    if (weather.kind === "throttling")
      this.#answer(connection, this.#random() < 0.5 ? "429" : "503 SlowDown");
    if (weather.kind === "skew") this.#answer(connection, "403 RequestTimeTooSkewed");
    if (weather.kind === "resets") {
      this.#count("reset");
      // Half of the requests take effect, and only their answer is lost.
      const isAnswerLost = this.#random() < 0.5;
      connection.endAfter = {
        requestBytes: isAnswerLost ? Number.POSITIVE_INFINITY : this.#random() * RESET_REQUEST_BYTES,
        answerBytes: this.#random() * RESET_ANSWER_BYTES,
        isReset: true,
      };
    }
    if (weather.kind === "truncation") {
      this.#count("truncated");
      const answerBytes = Math.floor(this.#random() * TRUNCATED_ANSWER_BYTES);
      connection.endAfter = { requestBytes: Number.POSITIVE_INFINITY, answerBytes, isReset: false };
    }
  }

  /** Answers instead of the storage. */
  #answer(connection: Connection, name: AnswerName): void {
    this.#count(`answered ${name}`);
    connection.isRefused = true;
    // A client reads the date as that of the store, and corrects its clock by the date.
    const skewMs = name === "403 RequestTimeTooSkewed" ? (this.#random() < 0.5 ? -1 : 1) * SKEW_MS : 0;
    connection.near.end(errorAnswer(name, Date.now() + skewMs));
    connection.far.destroy();
  }

  #cut({ near, far }: Connection): void {
    near.resetAndDestroy();
    far.destroy();
  }

  #count(fault: FaultName): void {
    this.#faults[fault] = (this.#faults[fault] ?? 0) + 1;
  }
}
