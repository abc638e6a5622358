/**
 * A process that writes to a database as an application does (app-writer-main.ts), and its acknowledged
 * commits.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { AppWriterOptions } from "../histories/app-rows.ts";
import { untilTestEnds } from "./binary.ts";
import { waitUntil } from "./sqlite-process.ts";

/** A commit that returned. */
export interface Acknowledgement {
  readonly number: number;
  readonly atMs: number;
}

const SCRIPT = join(import.meta.dir, "app-writer-main.ts");
const WAIT_LIMIT_MS = 20_000;

/**
 * A capture carries the time after it read the WAL. A commit during that read may be missing from the
 * capture.
 */
const CAPTURE_TOLERANCE_MS = 250;

/** A running writer. The end of the test kills the writer. */
export class AppWriter {
  readonly #child: Bun.Subprocess;
  readonly #path: string;

  /**
   * Starts the writer.
   * @param folder folder of the acknowledgements; it must survive the loss of the database
   */
  constructor(database: string, folder: string, options: Partial<AppWriterOptions> = {}) {
    const { writer = 1, pauseMs = 2, isRestless = false, seed = 1 } = options;
    this.#path = join(folder, `acknowledged-${writer}`);
    const json = JSON.stringify({ writer, pauseMs, isRestless, seed });
    this.#child = untilTestEnds(
      Bun.spawn([process.execPath, SCRIPT, database, this.#path, json], {
        stdio: ["ignore", "inherit", "inherit"],
      }),
    );
  }

  /** All acknowledged commits, including those of earlier runs. */
  acknowledged(): Acknowledgement[] {
    if (!existsSync(this.#path)) return [];
    const text = readFileSync(this.#path, "utf8");
    // A kill may leave a last line without a newline.
    const lines = text.slice(0, text.lastIndexOf("\n") + 1).split("\n");
    return lines.slice(0, -1).map((line) => {
      const [number, atMs] = line.split(" ").map(Number);
      return { number: number!, atMs: atMs! };
    });
  }

  /** The number of the newest acknowledged commit, or 0. */
  newest(): number {
    return this.acknowledged().at(-1)?.number ?? 0;
  }

  /** The newest commit that a capture of this time must hold. */
  newestBefore(captureTime: string): number {
    const limitMs = Date.parse(captureTime) - CAPTURE_TOLERANCE_MS;
    return this.acknowledged().findLast(({ atMs }) => atMs < limitMs)?.number ?? 0;
  }

  /** Waits for `count` more commits. @throws Error at the time limit */
  async waitForCommits(count: number): Promise<void> {
    const wanted = this.newest() + count;
    await waitUntil(() => this.newest() >= wanted, WAIT_LIMIT_MS);
  }

  /** Ends the writer gracefully; the writer closes its connection. */
  async stop(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#child.exited;
  }

  async kill(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }
}
