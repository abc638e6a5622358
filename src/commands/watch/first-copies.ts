/**
 * Shows the progress of a start: databases that are attached, and first copies that are read and uploaded. It
 * ends when every database of the start is replicated, has failed or has stopped, and does not come back.
 */
import type { WatchEvent } from "../../replication/context/watch-events.ts";
import type { ProgressDisplay, RunningProgress } from "../shared/progress.ts";

/** The progress of a start. */
export class FirstCopies {
  /** Databases that are not settled. */
  readonly #waiting: Set<string>;
  readonly #databaseCount: number;
  /** Bytes of the images under way: read, and in all. */
  readonly #images = new Map<string, { readonly done: number; readonly total: number }>();
  #progress: RunningProgress | null;
  #readBytes = 0;
  #sentBytes = 0;

  /** @param names the databases of the start */
  constructor(display: ProgressDisplay, names: readonly string[]) {
    this.#waiting = new Set(names);
    this.#databaseCount = this.#waiting.size;
    const [only = null] = names.length === 1 ? names : [];
    const label = only === null ? "starting" : `starting ${only}`;
    this.#progress =
      names.length === 0 ? null : display.begin({ verb: "watch", database: only, label, unit: "read" });
    this.#show();
  }

  /** Takes the bytes of an image that were read so far, of all. */
  image(database: string, doneBytes: number, totalBytes: number): void {
    if (this.#progress === null || !this.#waiting.has(database)) return;
    const before = this.#images.get(database)?.done ?? 0;
    // An image that is read anew begins at 0.
    this.#readBytes += doneBytes - (doneBytes < before ? 0 : before);
    this.#images.set(database, { done: doneBytes, total: totalBytes });
    this.#show();
  }

  /** Takes bytes that the store has taken. */
  sent(byteCount: number): void {
    if (this.#progress === null) return;
    this.#sentBytes += byteCount;
    this.#show();
  }

  /** Takes the events of the watch. */
  observe(event: WatchEvent): void {
    if (this.#progress === null || !("database" in event) || event.database === null) return;
    const { database } = event;
    // A first snapshot is read before its database is watched, and waits for its upload.
    const isFirstRead = event.event === "watching" && event.txid === 1 && this.#images.has(database);
    const isFirstSent = event.event === "uploaded" && event.kind === "snapshot";
    const isSettled = isFirstSent || ["watching", "failed", "stopped", "let-go"].includes(event.event);
    if (!isSettled || isFirstRead || !this.#waiting.delete(database)) return;
    this.#images.delete(database);
    if (this.#waiting.size === 0) this.end();
    else this.#show();
  }

  /** Ends the display. */
  end(): void {
    this.#progress?.end();
    this.#progress = null;
    this.#images.clear();
    this.#waiting.clear();
  }

  #show(): void {
    const done = this.#databaseCount - this.#waiting.size;
    // An image that is read is half of a first copy; its upload is the other half.
    let parts = 0;
    for (const { done: read, total } of this.#images.values()) parts += total === 0 ? 0 : read / total / 2;
    const share = (done + parts) / this.#databaseCount;
    const sentBytes = this.#sentBytes;
    if (this.#databaseCount === 1) {
      const [image = { done: 0, total: null }] = this.#images.values();
      this.#progress?.update({ doneBytes: image.done, totalBytes: image.total, sentBytes, share });
      return;
    }
    const databases = { done, total: this.#databaseCount };
    this.#progress?.update({ doneBytes: this.#readBytes, totalBytes: null, sentBytes, share, databases });
  }
}
