/**
 * A `walrust watch --json` that a drill starts, kills and starts again: its events as they arrive in its log.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { fetchMetrics } from "./metrics.ts";
import type { Observations } from "./observed/observations.ts";
import { Observer } from "./observed/observer.ts";
import { assertAlive, type Child, describeLog, readLog, type Workspace } from "./workspace.ts";

/** One line of stdout. */
export interface WatchEvent {
  readonly event: string;
  readonly database: string | null;
  /** Time of the event, RFC 3339. */
  readonly at: string;
  readonly kind?: string;
  /** Time of the capture, RFC 3339. */
  readonly time?: string;
  readonly message?: string;
}

/** Everything that each start of the watch shares. */
export interface WatchSetup {
  readonly binary: string;
  readonly configPath: string;
  readonly env: Readonly<Record<string, string>>;
  readonly metricsUrl: string;
  /** The record of the observers, one for each start; null: nobody observes. */
  readonly observations: Observations | null;
}

const POLL_MS = 20;
const DRAIN_POLL_MS = 100;
/** Readings in a row without a lag: one alone may come just before the poll that finds the last commit. */
const DRAINED_READINGS = 3;
const STOP_LIMIT_MS = 120_000;
const CHUNK_BYTES = 1 << 16;

/** A running watch. */
export class WatchProcess {
  readonly #events: WatchEvent[] = [];
  readonly #setup: WatchSetup;
  readonly #workspace: Workspace;
  readonly child: Child;
  /** Time of the start on the clock of the watch. */
  readonly startedMs: number;
  readonly #observer: Observer | null;
  #readBytes = 0;
  #rest = "";

  /** Starts the watch. @param clockOffsetMs offset of its clock from the true time */
  constructor(workspace: Workspace, setup: WatchSetup, clockOffsetMs = 0) {
    this.startedMs = Date.now() + clockOffsetMs;
    this.#workspace = workspace;
    this.#setup = setup;
    const { binary, configPath, env } = setup;
    const words = [binary, "watch", "--config", configPath, "--json"];
    this.child = workspace.start("watch", { words, env });
    this.#observer = this.#observe();
  }

  #observe(): Observer | null {
    const { binary, configPath, env, metricsUrl, observations } = this.#setup;
    if (observations === null) return null;
    const { folder } = this.#workspace;
    const words = [binary, "status", "--json", "--config", configPath];
    const status = { words, env: this.#workspace.environment(env), folder };
    return Observer.of(this.child, { url: metricsUrl, status }, observations);
  }

  /** The events so far. */
  events(): readonly WatchEvent[] {
    const fd = openSync(this.child.logPath, "r");
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES);
      for (let length = fstatSync(fd).size - this.#readBytes; length > 0; ) {
        const count = readSync(fd, chunk, 0, Math.min(length, chunk.length), this.#readBytes);
        if (count === 0) break;
        this.#take(chunk.toString("latin1", 0, count));
        this.#readBytes += count;
        length -= count;
      }
    } finally {
      closeSync(fd);
    }
    return this.#events;
  }

  /** Events share the log with the lines of stderr, which do not begin with a brace. */
  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) if (line.startsWith('{"')) this.#events.push(JSON.parse(line) as WatchEvent);
  }

  /**
   * Time from the start of the process to the acknowledgement of the first capture that this process made,
   * for each database; null while there is none.
   */
  recoveriesMs(databases: readonly string[]): (number | null)[] {
    const events = this.events();
    return databases.map((name) => {
      const first = events.find(
        ({ event, database, time }) =>
          event === "uploaded" && database === name && Date.parse(time ?? "") >= this.startedMs,
      );
      return first === undefined ? null : Date.parse(first.at) - this.startedMs;
    });
  }

  /**
   * Waits until every one of these databases has an acknowledged capture of this process.
   * @throws Error when the watch ends first, or at the time limit
   */
  async recovered(databases: readonly string[], limitMs: number): Promise<number[]> {
    const deadlineMs = performance.now() + limitMs;
    while (true) {
      assertAlive(this.child);
      const recoveriesMs = this.recoveriesMs(databases);
      if (recoveriesMs.every((recovery) => recovery !== null)) return recoveriesMs;
      if (performance.now() > deadlineMs) {
        const missing = databases.filter((_, index) => recoveriesMs[index] === null).join(", ");
        throw new Error(
          `SILENT STOP: no capture of ${missing} within ${limitMs / 1_000} s; ${describeLog(this.child)}`,
        );
      }
      await Bun.sleep(POLL_MS);
    }
  }

  /**
   * Waits until every commit is in the bucket. No application may write meanwhile.
   * @throws Error when the watch ends first, or at the time limit
   */
  async drained(limitMs: number): Promise<void> {
    const deadlineMs = performance.now() + limitMs;
    for (let quietCount = 0; quietCount < DRAINED_READINGS; ) {
      assertAlive(this.child);
      const metrics = await fetchMetrics(this.#setup.metricsUrl).catch(() => null);
      const isQuiet = metrics !== null && metrics.lagSeconds === 0 && metrics.pendingCount === 0;
      quietCount = isQuiet ? quietCount + 1 : 0;
      if (performance.now() > deadlineMs) {
        const state = JSON.stringify(metrics);
        throw new Error(
          `SILENT STOP: not drained within ${limitMs / 1_000} s (${state}); ${describeLog(this.child)}`,
        );
      }
      await Bun.sleep(DRAIN_POLL_MS);
    }
  }

  /** The lines of the log that match. */
  logLines(pattern: RegExp): string[] {
    return readLog(this.child)
      .split("\n")
      .filter((line) => pattern.test(line));
  }

  /** Sends SIGTERM. @throws Error when the watch ends with another exit code than 0, or not in time */
  async stop(): Promise<void> {
    await this.#observer?.finish();
    await this.#workspace.stop(this.child, STOP_LIMIT_MS);
  }

  /** Sends SIGKILL and waits for the end. */
  async kill(): Promise<void> {
    await this.#observer?.end();
    await this.#workspace.kill(this.child);
  }
}
