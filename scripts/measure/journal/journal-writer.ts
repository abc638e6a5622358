/**
 * The writers of a drill: one process for each (journal-writer-main.ts), and the commits that it journalled.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { bunCommand } from "../../toolchain.ts";
import { type Child, readLog, type Workspace, waitUntil } from "../workspace.ts";
import { judgeJournalDatabase } from "./journal-rows.ts";

/** Options of one writer. */
export interface JournalWriterOptions {
  readonly path: string;
  /** Number of the writer, unique in its database. */
  readonly writer: number;
  /** File that receives a line for each commit that returned. */
  readonly journalPath: string;
  readonly seed: number;
  /** Longest pause between two actions. */
  readonly maxPauseMs: number;
  readonly ballastRowCount: number;
  /** Share of the actions that is a VACUUM. */
  readonly vacuumShare: number;
}

const START_LIMIT_MS = 60_000;
const STOP_LIMIT_MS = 60_000;

/** A writer that runs, stops, is killed and runs again. */
export class JournalWriter {
  readonly #workspace: Workspace;
  readonly #options: JournalWriterOptions;
  #child: Child | null = null;
  #startCount = 0;

  /** @param folder folder of the journal */
  constructor(workspace: Workspace, folder: string, options: Omit<JournalWriterOptions, "journalPath">) {
    this.#workspace = workspace;
    const name = `journal-${basename(options.path)}-${options.writer}`;
    this.#options = { ...options, journalPath: join(folder, name) };
  }

  get path(): string {
    return this.#options.path;
  }

  get writer(): number {
    return this.#options.writer;
  }

  /** The number of the newest commit that the writer journalled; 0 before the first. */
  newest(): number {
    const { journalPath } = this.#options;
    if (!existsSync(journalPath)) return 0;
    // A kill may leave a last line without a newline.
    const lines = readFileSync(journalPath, "utf8").split("\n").slice(0, -1);
    return Number(lines.at(-1) ?? 0);
  }

  /** Starts the process. Each start has a seed of its own. */
  start(): void {
    const optionsPath = `${this.#options.journalPath}.json`;
    writeFileSync(
      optionsPath,
      JSON.stringify({ ...this.#options, seed: this.#options.seed + this.#startCount++ }),
    );
    const program = join(import.meta.dir, "journal-writer-main.ts");
    this.#child = this.#workspace.start("writer", { words: bunCommand(program, optionsPath), env: {} });
  }

  /** Waits until the process has opened its database. @throws Error when the process ends first */
  async ready(): Promise<void> {
    const child = this.#child;
    if (child === null) return;
    await waitUntil([child], "a writer", START_LIMIT_MS, () => readLog(child).includes("ready"));
  }

  /** Ends the process after its transaction. @throws Error when the process failed */
  async stop(): Promise<void> {
    const child = this.#child;
    this.#child = null;
    if (child !== null) await this.#workspace.stop(child, STOP_LIMIT_MS);
  }

  /** Sends SIGKILL and starts the process again. */
  async killAndRestart(): Promise<void> {
    if (this.#child !== null) await this.#workspace.kill(this.#child);
    this.start();
  }
}

/**
 * Judges a copy of a database by its own rows and by the journals of its writers.
 * @throws Error when a row is wrong or a journalled commit is missing
 */
export function assertJournalled(copyPath: string, writers: readonly JournalWriter[]): void {
  const numbers = judgeJournalDatabase(copyPath);
  for (const writer of writers) {
    const found = numbers.get(writer.writer) ?? 0;
    const wanted = writer.newest();
    if (found < wanted) {
      throw new Error(
        `LOST: ${copyPath} has commit ${found} of writer ${writer.writer}, ${wanted} was journalled`,
      );
    }
  }
}
