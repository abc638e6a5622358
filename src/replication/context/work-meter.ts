/**
 * Counts the bytes of the work on single databases, for clients of the control socket that wait for it.
 * Nobody listens most of the time: then a call costs one comparison, and nothing is kept.
 */
import type { ObjectStore } from "../../storage/contract/store.ts";
import { meteredStore } from "../../storage/guard/metered-store.ts";

/** How far the work of a request is. */
export interface WorkProgress {
  readonly phase: "reading" | "uploading";
  readonly doneBytes: number;
  /** Null while it is not known. */
  readonly totalBytes: number | null;
}

/** Receives the progress of one request. */
export type OnWorkProgress = (progress: WorkProgress) => void;

/** Receives the bytes of the image of a database that were read so far, of all. */
export type OnImage = (database: string, doneBytes: number, totalBytes: number) => void;

/** Receives the bytes of the work on one database. */
export interface WorkListener {
  /** Bytes of the image of the database that were read so far, of all. */
  image?(doneBytes: number, totalBytes: number): void;
  /** Bytes of an object that the store has taken. */
  sent?(key: string, byteCount: number): void;
  /** Bytes of an object that were read from the store. */
  read?(key: string, byteCount: number): void;
}

/** The work on all databases of one watch. */
export class WorkMeter {
  readonly #listeners = new Map<WorkListener, string>();

  /**
   * Hands the bytes of one database to a listener.
   * @param name the name of the database in the bucket
   * @returns ends this
   */
  listen(name: string, listener: WorkListener): () => void {
    this.#listeners.set(listener, name);
    return () => void this.#listeners.delete(listener);
  }

  /** Takes the bytes of an image that were read so far, of all. */
  image(name: string, doneBytes: number, totalBytes: number): void {
    for (const [listener, of] of this.#listeners) if (of === name) listener.image?.(doneBytes, totalBytes);
  }

  /** Hands the bytes of images to a receiver, too. */
  meteredImage(onImage: OnImage | undefined): OnImage {
    return (name, doneBytes, totalBytes) => {
      this.image(name, doneBytes, totalBytes);
      onImage?.(name, doneBytes, totalBytes);
    };
  }

  /** The store, with the bytes of its objects counted. */
  metered(store: ObjectStore): ObjectStore {
    return meteredStore(store, {
      onSent: (byteCount, key) => this.#eachOf(key, (listener) => listener.sent?.(key, byteCount)),
      onRead: (byteCount, key) => this.#eachOf(key, (listener) => listener.read?.(key, byteCount)),
    });
  }

  #eachOf(key: string, tell: (listener: WorkListener) => void): void {
    if (this.#listeners.size === 0) return;
    for (const [listener, name] of this.#listeners) if (key.startsWith(`${name}/`)) tell(listener);
  }
}
