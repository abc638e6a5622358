/**
 * What the uploads of one database know for as long as the process runs, also after it was attached anew or
 * gave its local state up: whether a key that turns out to be taken can still be our own doing.
 *
 * Under our writer id it can be once: written before this process began, from a state that was lost since.
 * And always where this process sent just these bytes itself, and never saw the answer. Everything else under
 * our id is another process with a copy of our state.
 */
import type { OverlapCheck } from "./overlap-check.ts";
import type { PublishedLink } from "./publish.ts";

const SENT_MAX = 64;

/** What was sent and what is known of it. */
export class UploadHistory {
  /** The newest link of the chain that was acknowledged. */
  lastLink: PublishedLink | null = null;
  /** Looks for another writer beside what is uploaded; made with the first link. */
  overlap: OverlapCheck | null = null;
  #isCurrent = false;
  /** SHA-256 of what was sent without an answer that counted, oldest first. */
  readonly #unanswered = new Set<string>();

  /** A file is about to be sent. */
  sending(sha256: string): void {
    this.#unanswered.add(sha256);
    if (this.#unanswered.size <= SENT_MAX) return;
    for (const oldest of this.#unanswered) {
      this.#unanswered.delete(oldest);
      return;
    }
  }

  /**
   * It is in the bucket. @param isLink whether it continues the chain, so that nothing of ours is beyond it
   */
  acknowledged(sha256: string, isLink: boolean): void {
    this.#unanswered.delete(sha256);
    this.#isCurrent ||= isLink;
  }

  /** Whether this process sent these bytes. */
  wasSent(sha256: string | null): boolean {
    return sha256 !== null && this.#unanswered.has(sha256);
  }

  /** Whether a state may have been lost before this process began: true once, and not after an upload. */
  mayHaveLostState(): boolean {
    const may = !this.#isCurrent;
    this.#isCurrent = true;
    return may;
  }
}
