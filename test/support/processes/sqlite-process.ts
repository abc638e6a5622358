/**
 * An application beside walrust: a child process with one SQLite connection, which runs the statements of the
 * test. Its locks belong to another process, and `kill` sends SIGKILL.
 */
import { join } from "node:path";
import { PollLimit } from "../poll-limit.ts";
import type { OtherUser } from "./other-user.ts";

/** The answer of the child: the rows, or SQLite's error code. */
export interface SqliteReply {
  readonly rows: readonly (readonly (string | number | null)[])[];
  /** An SQLite error code such as "SQLITE_BUSY", or null on success. */
  readonly errorCode: string | null;
  readonly message: string;
  readonly durationMs: number;
}

const SCRIPT = join(import.meta.dir, "sqlite-process-main.ts");

/** A running child process with an open connection. */
export class SqliteProcess {
  readonly #child: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #replies: AsyncIterator<string>;

  private constructor(path: string, user: OtherUser | null) {
    const words = user === null ? [] : [JSON.stringify(user)];
    this.#child = Bun.spawn([process.execPath, SCRIPT, path, ...words], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#replies = readLines(this.#child.stdout);
  }

  /**
   * Starts a child that opens `path` (a path, or a `file:` URI) and creates the database if it is missing.
   * @param user the user of the child; requires root
   */
  static async open(path: string, user: OtherUser | null = null): Promise<SqliteProcess> {
    const child = new SqliteProcess(path, user);
    await child.#replies.next();
    return child;
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Runs each statement and stops at the first failure. The reply has the rows of the last statement. */
  async run(...statements: string[]): Promise<SqliteReply> {
    this.#child.stdin.write(`${JSON.stringify(statements)}\n`);
    await this.#child.stdin.flush();
    const line = await this.#replies.next();
    if (line.done) throw new Error(`the SQLite process died: ${statements.join("; ")}`);
    return JSON.parse(line.value) as SqliteReply;
  }

  /** Like `run`, for statements that must succeed. @throws Error with SQLite's message */
  async must(...statements: string[]): Promise<SqliteReply> {
    const reply = await this.run(...statements);
    if (reply.errorCode !== null) throw new Error(`${reply.message}: ${statements.join("; ")}`);
    return reply;
  }

  /** Closes the connection gracefully and waits for the process to end. */
  async close(): Promise<void> {
    this.#child.stdin.end();
    await this.#child.exited;
  }

  /** Sends SIGKILL and waits until the process and its locks are gone. */
  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}

async function* readLines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

/** Polls a condition until it holds. @throws Error after `timeoutMs`, without the times of a standstill */
export async function waitUntil(condition: () => boolean, timeoutMs = 10_000): Promise<void> {
  const limit = new PollLimit(timeoutMs);
  while (!condition()) {
    if (limit.isOver()) throw new Error("the condition did not come true in time");
    await Bun.sleep(2);
  }
}
