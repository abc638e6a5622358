/**
 * Remembers the uploads of one database while the process runs, over new attaches and adopted states. So it
 * can tell whether an object at a taken key is our own.
 *
 * Under our writer id, an object is our own in two cases: this process sent the same bytes and saw no answer;
 * or, once, an earlier process wrote the object from a state that was lost. Any other object under our id
 * comes from another process with a copy of our state.
 */
import type { OverlapCheck } from "./overlap-check.ts";
import type { PublishedLink } from "./publish.ts";

const SENT_MAX = 64;

/** The uploads of one database. */
export class UploadHistory {
  /** The newest link of the chain that was acknowledged. */
  lastLink: PublishedLink | null = null;
  /** Finds another writer beside our uploads; made with the first link. */
  overlap: OverlapCheck | null = null;
  #isCurrent = false;
  /** SHA-256 of the files that were sent and not acknowledged, oldest first. */
  #unanswered: Set<string> | null = null;

  /** A file is about to be sent. */
  sending(sha256: string): void {
    this.#unanswered ??= new Set();
    this.#unanswered.add(sha256);
    if (this.#unanswered.size <= SENT_MAX) return;
    for (const oldest of this.#unanswered) {
      this.#unanswered.delete(oldest);
      return;
    }
  }

  /**
   * The store acknowledged a file.
   * @param isLink whether it continues the chain, so that no object of ours lies beyond it
   */
  acknowledged(sha256: string, isLink: boolean): void {
    this.#unanswered?.delete(sha256);
    // A set that was used keeps its table, and hundreds of databases have one.
    if (this.#unanswered?.size === 0) this.#unanswered = null;
    this.#isCurrent ||= isLink;
  }

  /** Whether this process sent these bytes without an acknowledgement. */
  wasSent(sha256: string | null): boolean {
    return sha256 !== null && this.#unanswered?.has(sha256) === true;
  }

  /** Whether a state may have been lost before this process began: true once, and never after an upload. */
  mayHaveLostState(): boolean {
    const may = !this.#isCurrent;
    this.#isCurrent = true;
    return may;
  }
}
