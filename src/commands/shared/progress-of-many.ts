/**
 * The progress of a work on several databases: how many are complete, and how far those at work are. Each of
 * them may be short, and all of them long.
 */
import type { ProgressDisplay, ProgressWork, RunningProgress } from "./progress.ts";

/** Adds up the progress of several databases. */
export class ManyProgress {
  readonly #running: RunningProgress;
  readonly #atWork = new Map<string, { readonly done: number; readonly total: number }>();
  #total = 0;
  #completed = 0;
  #completedBytes = 0;

  constructor(display: ProgressDisplay, work: Omit<ProgressWork, "database">) {
    this.#running = display.begin({ ...work, database: null });
  }

  /** Takes the number of databases. */
  start(databaseCount: number): void {
    this.#total = databaseCount;
    this.#show();
  }

  /** Takes the bytes of one database, of all that it needs; 0 while that is not known. */
  update(name: string, done: number, total: number): void {
    this.#atWork.set(name, { done, total });
    this.#show();
  }

  /** Counts a database as complete, however it ended. */
  complete(name: string): void {
    this.#completed++;
    this.#completedBytes += this.#atWork.get(name)?.done ?? 0;
    this.#atWork.delete(name);
    this.#show();
  }

  /** Ends the display. */
  end(): void {
    this.#running.end();
  }

  /** The sizes of the databases that wait are not known: each counts as one. */
  #show(): void {
    let [bytes, parts] = [this.#completedBytes, this.#completed];
    for (const { done, total } of this.#atWork.values()) {
      bytes += done;
      parts += total === 0 ? 0 : done / total;
    }
    this.#running.update({
      doneBytes: bytes,
      totalBytes: null,
      databases: { done: this.#completed, total: this.#total },
      share: this.#total === 0 ? 0 : parts / this.#total,
    });
  }
}
