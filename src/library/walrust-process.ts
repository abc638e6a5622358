/**
 * Runs walrust in a child process. All work on files of the application is done there: closing a raw
 * descriptor of a database in the application's own process would drop the POSIX locks of its SQLite
 * connections, and lose their commits.
 *
 * The child belongs to the application: the end of its standard input stops it, and the system ends this
 * input when the application dies.
 */

import type { LogDocument, ProgressDocument } from "../commands/shared/documents.ts";
import { OWNED_WORD } from "../commands/shared/owner.ts";
import { SILENT_LOG, systemEnv } from "../env.ts";
import { errorMessage, WalrustError } from "../errors.ts";
import { textLines } from "./text-lines.ts";

/** Variables of a service manager that are for the process of the application alone. */
const NOT_INHERITED = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID"];

/** Warnings and errors of the log that are kept for the message about a child that ended by itself. */
const KEPT_LINES_MAX = 5;

/** The input of a child. */
export interface ChildStart {
  /** The first words of the command line, which run walrust. */
  readonly executable: readonly string[];
  /** The verb and its options. */
  readonly words: readonly string[];
  /** The text of a walrust.toml. */
  readonly configuration: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly onLog: (entry: LogDocument) => void;
  readonly onProgress?: ((progress: ProgressDocument) => void) | undefined;
}

/** The end of a child. */
export interface ChildEnd {
  /** Null when a signal ended the child. */
  readonly exitCode: number | null;
  readonly signal: string | null;
  /** The last warnings and errors of its log. */
  readonly lastLog: readonly string[];
}

/** A running walrust. */
export class WalrustProcess {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "pipe">;
  readonly #lastLog: string[] = [];
  readonly #logRead: Promise<void>;
  #isStopped = false;

  /** @throws WalrustError code "usage" when the executable cannot be started */
  constructor({ executable, words, configuration, environment, onLog, onProgress }: ChildStart) {
    const env = { ...environment };
    for (const name of NOT_INHERITED) delete env[name];
    const command = [...executable, OWNED_WORD, String(process.pid), ...words];
    try {
      this.#child = Bun.spawn(command, { env, stdio: ["pipe", "pipe", "pipe"] });
    } catch (error) {
      throw new WalrustError("usage", `Cannot start ${executable[0]}: ${errorMessage(error)}`, {
        hint: "Give the path of a walrust executable as executable",
      });
    }
    this.#logRead = this.#readLog(onLog, onProgress ?? (() => {}));
    this.#write(`${JSON.stringify(configuration)}\n`);
  }

  /** The id of the process. */
  get pid(): number {
    return this.#child.pid;
  }

  /** The lines of its standard output. To be read once. */
  lines(): AsyncGenerator<string> {
    return textLines(this.#child.stdout);
  }

  /**
   * Stops the child as a first signal does: a watch uploads the last commits. Calls after the first do
   * nothing.
   */
  stop(): void {
    if (this.#isStopped) return;
    this.#isStopped = true;
    void settled(async () => {
      await this.#child.stdin.end();
    });
  }

  /** Ends the child at once. */
  kill(): void {
    this.#child.kill("SIGKILL");
  }

  /** Resolves when the child has ended and its log is read. */
  async ended(): Promise<ChildEnd> {
    const exitCode = await this.#child.exited;
    await this.#logRead;
    const signal = this.#child.signalCode;
    if (signal === null) return { exitCode, signal, lastLog: this.#lastLog };
    return { exitCode: null, signal: String(signal), lastLog: this.#lastLog };
  }

  #write(text: string): void {
    const { stdin } = this.#child;
    void settled(async () => {
      await stdin.write(text);
      await stdin.flush();
    });
  }

  async #readLog(
    onLog: (entry: LogDocument) => void,
    onProgress: (progress: ProgressDocument) => void,
  ): Promise<void> {
    const { nowMs } = systemEnv(SILENT_LOG);
    for await (const line of textLines(this.#child.stderr, 1024 * 1024)) {
      const entry = logEntry(line, nowMs());
      if (isProgress(entry)) {
        handOver(onProgress, entry);
        continue;
      }
      if (entry.level === "warn" || entry.level === "error") this.#keep(entry.message);
      handOver(onLog, entry);
    }
  }

  #keep(message: string): void {
    this.#lastLog.push(message);
    if (this.#lastLog.length > KEPT_LINES_MAX) this.#lastLog.shift();
  }
}

function isProgress(entry: object): entry is ProgressDocument {
  return "progress" in entry && !("message" in entry);
}

/** Calls a callback of the application. Its own error is reported like one of any of its callbacks. */
function handOver<T>(callback: (value: T) => void, value: T): void {
  try {
    callback(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/**
 * A line of the log, or of the progress. Text that is no JSON comes from the error that ends the child, or
 * from a crash.
 */
function logEntry(line: string, nowMs: number): LogDocument | ProgressDocument {
  try {
    const entry = JSON.parse(line) as Partial<LogDocument> | ProgressDocument | null;
    if (entry !== null && isProgress(entry)) return entry;
    if (typeof entry?.message === "string" && typeof entry.level === "string") return entry as LogDocument;
  } catch {
    // Not JSON.
  }
  return { time: new Date(nowMs).toISOString(), level: "error", message: line };
}

/** Waits for a write. The child may be gone already: its end tells, so the failure of the write does not. */
async function settled(write: () => Promise<void>): Promise<void> {
  try {
    await write();
  } catch {
    // EPIPE.
  }
}
