/** A running `walrust watch --json`: its events as they arrive, its log, its exit. */
import { type RunOptions, spawnWalrust } from "./binary.ts";
import { waitUntil } from "./sqlite-process.ts";

/** One line of stdout. */
export interface WatchLine {
  readonly event: string;
  readonly database: string;
  readonly at: string;
  readonly txid?: number;
  readonly kind?: string;
  readonly time?: string;
  readonly key?: string;
  readonly bytes?: number;
  readonly code?: string;
  readonly message?: string;
  readonly reason?: string;
  readonly state?: string;
  readonly frames?: number;
}

const WAIT_LIMIT_MS = 20_000;

/** A watch beside the test. The end of the test kills the watch. */
export class WatchProcess {
  readonly events: WatchLine[] = [];
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #ended: Promise<number>;
  readonly #waiters = new Set<() => void>();
  #stderr = "";
  #malformed: string | null = null;
  #isEnded = false;

  private constructor(child: Bun.Subprocess<"ignore", "pipe", "pipe">) {
    this.#child = child;
    this.#ended = Promise.all([this.#readEvents(), this.#readLog(), child.exited]).then(([, , code]) => {
      this.#isEnded = true;
      this.#wake();
      return code;
    });
  }

  /** Starts a watch. @param words databases, destination and options */
  static async start(words: readonly string[], options: RunOptions = {}): Promise<WatchProcess> {
    // Tests run many watches at once; only tests about metrics may take the port.
    const isConfigured = options.cwd !== undefined || words.some((word) => /metrics|^--config/.test(word));
    const metrics = isConfigured ? [] : ["--no-metrics"];
    return new WatchProcess(await spawnWalrust(["watch", ...words, ...metrics, "--json"], options));
  }

  get pid(): number {
    return this.#child.pid;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** The signal that ended the process, or null. */
  get signalCode(): NodeJS.Signals | number | null {
    return this.#child.signalCode;
  }

  /** The uploads so far, of one database or of all. */
  uploads(database?: string): WatchLine[] {
    return this.events.filter(
      ({ event, database: of }) => event === "uploaded" && (database === undefined || of === database),
    );
  }

  /** The events of one kind so far. */
  eventsOf(event: string): WatchLine[] {
    return this.events.filter((line) => line.event === event);
  }

  /**
   * Waits until a condition on the events holds.
   * @throws Error at the time limit, or if the watch ends first
   */
  async waitFor(label: string, condition: (watch: WatchProcess) => boolean): Promise<void> {
    const deadlineMs = performance.now() + WAIT_LIMIT_MS;
    while (!condition(this)) {
      const leftMs = deadlineMs - performance.now();
      if (this.#isEnded || leftMs <= 0) {
        const what = this.#isEnded ? "the watch has ended" : "it took too long";
        throw new Error(`waiting for ${label}: ${what}\n${this.#stderr}\n${this.#lastEvents()}`);
      }
      await this.#nextLine(leftMs);
    }
  }

  /** Waits for the upload of a TXID. */
  async waitForTxid(txid: number, database?: string): Promise<void> {
    await this.waitFor(`TXID ${txid}`, () => (this.uploads(database).at(-1)?.txid ?? 0) >= txid);
  }

  /** Waits for `count` more uploads. */
  async waitForUploads(count: number): Promise<void> {
    const wanted = this.uploads().length + count;
    await this.waitFor(`${wanted} uploads`, () => this.uploads().length >= wanted);
  }

  signal(name: "SIGHUP" | "SIGTERM" | "SIGINT"): void {
    this.#child.kill(name);
  }

  /**
   * Repeats a signal until the process ends: the process stops draining at the second signal that reaches it.
   */
  async signalUntilEnd(name: "SIGHUP" | "SIGTERM" | "SIGINT"): Promise<void> {
    await waitUntil(() => {
      if (!this.#isEnded) this.signal(name);
      return this.#isEnded;
    });
  }

  /** Sends SIGKILL and waits until the process and its locks are gone. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#ended;
  }

  /** Sends SIGTERM and waits for the end of the drain. @returns the exit code */
  async stop(): Promise<number> {
    this.signal("SIGTERM");
    return this.exit();
  }

  /** The exit code. @throws Error if a line of stdout was not JSON */
  async exit(): Promise<number> {
    const code = await this.#ended;
    if (this.#malformed !== null) throw new Error(`stdout has a line that is no JSON: ${this.#malformed}`);
    return code;
  }

  async #readEvents(): Promise<void> {
    let rest = "";
    for await (const chunk of this.#child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) this.#take(line);
      this.#wake();
    }
  }

  #take(line: string): void {
    try {
      this.events.push(JSON.parse(line) as WatchLine);
    } catch {
      this.#malformed ??= line;
    }
  }

  async #readLog(): Promise<void> {
    for await (const chunk of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      this.#stderr += chunk;
      this.#wake();
    }
  }

  #nextLine(limitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        clearTimeout(timeout);
        this.#waiters.delete(done);
        resolve();
      };
      const timeout = setTimeout(done, limitMs);
      this.#waiters.add(done);
    });
  }

  #wake(): void {
    for (const waiter of [...this.#waiters]) waiter();
  }

  #lastEvents(): string {
    return this.events
      .slice(-5)
      .map((line) => JSON.stringify(line))
      .join("\n");
  }
}
