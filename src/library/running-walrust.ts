/**
 * A walrust that runs beside the application until it is closed: a `watch` or a `replicate`. Its events are
 * read as they arrive and wait in a bounded queue, so that an application that reads none slows nothing.
 */
import { SILENT_LOG, systemEnv } from "../env.ts";
import { asWalrustError, hasCode, WalrustError } from "../errors.ts";
import { type DroppedEvents, EventQueue } from "./event-queue.ts";
import { isErrorDocument, printedError, unprintedError } from "./failure.ts";
import type { WalrustProcess } from "./walrust-process.ts";

/**
 * Time for which `watch` tries again while another walrust has its databases: the child of an application
 * that crashed drains for 5 s by default, and the service manager restarts the application at once.
 */
const LOCKED_LIMIT_MS = 15_000;
const LOCKED_PAUSE_MS = 250;

/** Exit code of a walrust that was stopped before it had begun. */
const INTERRUPTED = 143;

/** Signals that end a walrust which has not begun yet: a service manager sends them to all processes. */
const ASKING_SIGNALS: readonly (string | null)[] = ["SIGTERM", "SIGINT", "SIGHUP", "SIGKILL"];

/**
 * A running `watch` or `replicate`. `for await` reads its events; each event is read once, by one reader.
 * At most 1,000 events wait: then the oldest are dropped, and an event `dropped` with their number stands in
 * their place.
 */
export class RunningWalrust<E> implements AsyncIterable<E | DroppedEvents, undefined>, AsyncDisposable {
  /**
   * Resolves when walrust has ended because the application closed it, or because its work was done. Rejects
   * with a WalrustError when walrust has ended by itself.
   */
  readonly ended: Promise<void>;
  #child: WalrustProcess;
  readonly #events = new EventQueue<E>();
  readonly #begun = Promise.withResolvers<void>();
  readonly #ready = Promise.withResolvers<void>();
  readonly #start: () => WalrustProcess;
  readonly #verb: string;
  readonly #isReady: (event: E) => boolean;
  /** Aborts when the application asks for the end. */
  readonly #asked = new AbortController();

  /**
   * @internal `watch` and `replicate` make it.
   * @param isReady sees each event, and returns whether the work is under way
   * @throws WalrustError code "usage"
   */
  constructor(
    start: () => WalrustProcess,
    verb: string,
    signal: AbortSignal | undefined,
    isReady: (event: E) => boolean = () => true,
  ) {
    this.#start = start;
    this.#verb = verb;
    this.#isReady = isReady;
    this.#child = start();
    const stop = (): void => this.#stop();
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
    this.ended = this.#run().finally(() => signal?.removeEventListener("abort", stop));
    // The application may learn of the failure from the events or from close() instead.
    this.ended.catch(() => {});
    this.#begun.promise.catch(() => {});
    this.#ready.promise.catch(() => {});
  }

  /** The id of the child process. */
  get pid(): number {
    return this.#child.pid;
  }

  /**
   * @internal Resolves when the work is under way, and at the latest `limitMs` after the first event.
   * @throws WalrustError when walrust ends before
   */
  async ready(limitMs: number): Promise<void> {
    await this.#begun.promise;
    const over = new AbortController();
    await Promise.race([this.#ready.promise, systemEnv(SILENT_LOG).sleep(limitMs, over.signal)]);
    over.abort();
  }

  /**
   * Stops walrust and waits for its end. A watch captures and uploads the last commits first, for at most
   * `sync.shutdown_timeout` (5 s). Resolves at once if walrust has ended well.
   * @throws WalrustError when walrust ended by itself, and no reader of the events got this error
   */
  async close(): Promise<void> {
    this.#stop();
    try {
      await this.ended;
    } catch (error) {
      if (this.#events.isErrorUnread) throw error;
    }
  }

  /** Ends walrust at once, by SIGKILL. Nothing is lost: the next watch continues where this one ended. */
  kill(): void {
    this.#stop();
    this.#child.kill();
  }

  /** Closes it: see `close`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  /** The events. The end of a loop does not end walrust. */
  [Symbol.asyncIterator](): AsyncIterator<E | DroppedEvents, undefined> {
    return { next: () => this.#events.next() };
  }

  #stop(): void {
    this.#asked.abort();
    this.#child.stop();
  }

  /** Runs children until one of them ends for another reason than a lock. */
  async #run(): Promise<void> {
    const { monotonicMs, sleep } = systemEnv(SILENT_LOG);
    const { signal: asked } = this.#asked;
    const deadlineMs = monotonicMs() + LOCKED_LIMIT_MS;
    let failure = await this.#runChild();
    while (hasCode(failure, "locked") && this.#verb === "watch" && monotonicMs() < deadlineMs) {
      await sleep(LOCKED_PAUSE_MS, asked);
      if (asked.aborted) break;
      failure = await this.#restart();
    }
    this.#events.end(failure);
    for (const awaited of [this.#begun, this.#ready]) {
      if (failure === null) awaited.resolve();
      else awaited.reject(failure);
    }
    if (failure !== null) throw failure;
  }

  async #restart(): Promise<WalrustError | null> {
    try {
      this.#child = this.#start();
    } catch (error) {
      return asWalrustError(error);
    }
    return this.#runChild();
  }

  /** Waits for the end of the present child. @returns why it ended by itself, or null */
  async #runChild(): Promise<WalrustError | null> {
    let failure: WalrustError | null = null;
    try {
      failure = await this.#read();
    } catch (cause) {
      this.#child.kill();
      failure = new WalrustError("internal", `walrust ${this.#verb} printed a line that is no event`, {
        cause,
      });
    }
    const end = await this.#child.ended();
    if (end.exitCode === 0) return failure;
    const isEndAsked = end.exitCode === INTERRUPTED || ASKING_SIGNALS.includes(end.signal);
    if (this.#asked.signal.aborted && isEndAsked) return null;
    return failure ?? unprintedError(this.#verb, end);
  }

  /** Reads all lines. @returns the error among them, or null */
  async #read(): Promise<WalrustError | null> {
    let failure: WalrustError | null = null;
    for await (const line of this.#child.lines()) {
      const document: unknown = JSON.parse(line);
      if (isErrorDocument(document)) failure = printedError(document);
      else {
        this.#events.push(document as E);
        this.#begun.resolve();
        if (this.#isReady(document as E)) this.#ready.resolve();
      }
    }
    return failure;
  }
}
