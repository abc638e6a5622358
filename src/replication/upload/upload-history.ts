/**
 * Remembers the uploads of one database while the process runs, over new attaches and adopted states: the
 * only part of the uploads that an idle database keeps. So it can tell whether an object at a taken key is
 * our own.
 *
 * Under our writer id, an object is our own in two cases: this process sent the same bytes and saw no answer;
 * or, once, an earlier process wrote the object from a state that was lost. Any other object under our id
 * comes from another process with a copy of our state.
 */
import type { SpoolFileName } from "../../local/spool.ts";
import type { Captured } from "../capture/live-database.ts";
import type { OverlapCheck } from "./overlap-check.ts";
import type { PublishedLink } from "./publish.ts";

const SENT_MAX = 64;

/** The uploads of one database. */
export class UploadHistory {
  /** The newest link of the chain that was acknowledged. */
  lastLink: PublishedLink | null = null;
  /** Finds another writer beside our uploads; made with a link, and dropped at rest. */
  overlap: OverlapCheck | null = null;
  /** Our links since the last check for another writer, oldest first; assigned by `OverlapCheck`. */
  ownLinks: SpoolFileName[] = [];
  /** Links that waited at the attach and that the bucket may hold: they show no other writer. */
  revivedLinks: readonly SpoolFileName[] = [];
  /** When the newest link was acknowledged, on the monotonic clock; assigned by `OverlapCheck`. */
  acknowledgedMs = Number.NEGATIVE_INFINITY;
  /** A check for another writer failed, so the next link starts another; assigned by `OverlapCheck`. */
  isCheckOwed = false;
  /** When the next link is followed by a check of the newest snapshot; assigned by `startStandingCheck`. */
  standingDueMs = Number.POSITIVE_INFINITY;
  /** An acknowledged object was not in the bucket; assigned by the checks, until `takeSuspicion`. */
  isLossSuspected = false;
  /** Links of `sentFrom` up to this TXID may have been sent; assigned by `MergeTiming`. */
  sentTxid = 0;
  sentFrom: Captured | null = null;
  #isCurrent = false;
  /** SHA-256 of the files that were sent and not acknowledged, oldest first. */
  #unanswered: Set<string> | null = null;

  /** No upload is under way: drops what only uploads need, and keeps the newest link once. */
  rest(live: Captured | null): void {
    if (live !== null && isNewest(live)) live.acknowledged = live.state;
    live?.log?.settle();
    if (this.overlap?.isAtRest === true) this.overlap = null;
    const { ownLinks, lastLink } = this;
    const own = ownLinks.at(-1);
    if (own === undefined || lastLink === null || own === lastLink) return;
    const isLast = own.minTxid === lastLink.minTxid && own.maxTxid === lastLink.maxTxid;
    if (isLast) ownLinks[ownLinks.length - 1] = lastLink;
  }

  /** The bucket contradicts these uploads: what they put shows no other writer any more. */
  forgetLinks(): void {
    this.overlap = null;
    this.ownLinks = [];
    this.revivedLinks = [];
    this.acknowledgedMs = Number.NEGATIVE_INFINITY;
    this.isCheckOwed = false;
  }

  /** Whether an acknowledged object was not in the bucket: true once. */
  takeSuspicion(): boolean {
    const isSuspected = this.isLossSuspected;
    this.isLossSuspected = false;
    return isSuspected;
  }

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

/** Whether the acknowledged link is the newest one of the state. */
function isNewest({ acknowledged, state }: Captured): boolean {
  return acknowledged !== state && acknowledged?.txid === state?.txid && acknowledged?.chain === state?.chain;
}
