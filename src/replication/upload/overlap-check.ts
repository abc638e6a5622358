/**
 * Finds another writer whose keys do not collide with ours. Two writers that put TXID 5 collide at one key. A
 * writer that puts 5, and a writer that puts 5 to 7 as one object because captures waited, do not collide. A
 * listing of level 0 shows the other's object beside ours. The check runs beside uploads and delays none.
 *
 * A check is due
 *  1. after each link of several TXIDs, which may overlap another writer's single ones, and
 *  2. after the first link that follows a pause, in which another writer may have put such an object.
 * The same listing shows whether our own link from before the pause is still there (`standing-check.ts`).
 *
 * So one of two writers collides with the other at a key, or detects the other at its own second link or
 * earlier. Until then each may have acknowledged TXIDs that the other history does not have.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { SpoolFile, SpoolFileName } from "../../local/spool.ts";
import { keyOf, levelBegin, listLevel } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { TakenKey } from "./publish.ts";
import { UploadHistory } from "./upload-history.ts";

/** A check follows a pause of at least this length. After shorter pauses it would cost too many LISTs. */
export const PAUSE_MS = 10 * 60_000;

/** While listings fail and puts succeed, a check covers no more than this many links. */
const OWN_LINKS_MAX = 1_000;

/**
 * The checks of one database. An idle database needs none: the history keeps what the next one starts from.
 */
export class OverlapCheck {
  #found: TakenKey | null = null;
  #running: Promise<void> | null = null;
  #isAgain = false;
  #fault: unknown = null;

  constructor(
    readonly name: string,
    readonly store: ObjectStore,
    readonly env: Pick<Env, "monotonicMs">,
    readonly history = new UploadHistory(),
  ) {}

  /** Another writer's object, once a check found one. @throws a fault of ours that ended a check */
  get found(): TakenKey | null {
    const fault = this.#fault;
    this.#fault = null;
    if (fault !== null) throw fault;
    return this.#found;
  }

  /** Whether a check is under way. */
  get isRunning(): boolean {
    return this.#running !== null;
  }

  /** Whether nothing is under way, and nothing found that the uploads have not read. */
  get isAtRest(): boolean {
    return this.#running === null && this.#found === null && this.#fault === null;
  }

  /** A link is about to be put. */
  sending({ level, minTxid, maxTxid }: SpoolFile): void {
    const { ownLinks } = this.history;
    const last = ownLinks.at(-1);
    const isKnown = last?.minTxid === minTxid && last.maxTxid === maxTxid;
    if (!isKnown) ownLinks.push({ level, minTxid, maxTxid });
    this.#keepNewest(OWN_LINKS_MAX);
  }

  /** A link is in the bucket. */
  acknowledged(file: SpoolFile, signal: AbortSignal): void {
    const nowMs = this.env.monotonicMs();
    const pauseMs = nowMs - this.history.acknowledgedMs;
    this.history.acknowledgedMs = nowMs;
    // Before the first link of a process, the attach has checked the whole bucket.
    const isAfterPause = Number.isFinite(pauseMs) && pauseMs >= PAUSE_MS;
    if (file.maxTxid > file.minTxid || isAfterPause || this.history.isCheckOwed) this.#check(signal);
    else if (this.#running === null) this.#keepNewest();
  }

  /** Resolves when no check runs. Never rejects. */
  async done(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  #check(signal: AbortSignal): void {
    if (this.#running !== null) {
      this.#isAgain = true;
      return;
    }
    this.#running = this.#checkNow(signal).then(() => {
      this.#running = null;
      if (!this.#isAgain || signal.aborted) return;
      this.#isAgain = false;
      this.#check(signal);
    });
  }

  async #checkNow(signal: AbortSignal): Promise<void> {
    const { history, store, name } = this;
    const [oldest] = history.ownLinks;
    if (oldest === undefined) return;
    history.isCheckOwed = true;
    // The link before the one that started this check: the store had acknowledged it.
    const { lastLink } = history;
    try {
      const startAfter = levelBegin(store, name, 0, oldest.minTxid);
      const objects = await listLevel(store, name, 0, { startAfter, signal });
      const links = [...history.ownLinks, ...history.revivedLinks];
      const own = new Set(links.map((link) => keyOf(store, name, link)));
      const other = objects.find(({ key }) => !own.has(key));
      if (other !== undefined) this.#found ??= await this.#takenKey(other.key, signal);
      else this.#keepNewest();
      history.isCheckOwed = false;
      if (lastLink?.level !== 0 || lastLink.minTxid < oldest.minTxid) return;
      const isThere = objects.some((object) => isSameRange(object, lastLink));
      // An expired link is not remembered.
      if (!isThere && (await this.#isRemembered(lastLink, startAfter, signal)))
        history.isLossSuspected = true;
    } catch (error) {
      // The uploads report a store that fails; the check stays owed.
      if (!signal.aborted && !(error instanceof WalrustError)) this.#fault = error;
    }
  }

  /** Whether this process has put an object, and has not deleted it. */
  async #isRemembered(link: SpoolFileName, startAfter: string, signal: AbortSignal): Promise<boolean> {
    const known = await listLevel(this.store, this.name, 0, { startAfter, isRemembered: true, signal });
    return known.some((object) => isSameRange(object, link));
  }

  /** The object at a key with its writer, which is unknown when the metadata cannot be read. */
  async #takenKey(key: string, signal: AbortSignal): Promise<TakenKey> {
    const { metadata } = await this.store.head(key, { signal });
    try {
      const { writer, sha256 } = decodeMetadata(key, metadata);
      return { kind: "taken", key, writer, sha256 };
    } catch (error) {
      if (!(error instanceof WalrustError)) throw error;
      return { kind: "taken", key, writer: null, sha256: null };
    }
  }

  /** Keeps our last two links, because another writer's object may overlap the older one. */
  #keepNewest(keptCount = 2): void {
    const { history } = this;
    if (history.ownLinks.length > keptCount) history.ownLinks = history.ownLinks.slice(-keptCount);
  }
}

type TxidRange = Pick<SpoolFileName, "minTxid" | "maxTxid">;

function isSameRange(one: TxidRange, other: TxidRange): boolean {
  return one.minTxid === other.minTxid && one.maxTxid === other.maxTxid;
}
