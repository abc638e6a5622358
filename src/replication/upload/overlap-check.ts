/**
 * Looks for another writer where a create-only put cannot meet one. Two writers that put TXID 5 and TXID 5
 * collide; one that puts 5 and one that puts 5 to 7 in one object, because its captures waited, do not. A
 * listing of level 0 shows the other's object beside ours. It runs beside the uploads and delays none.
 *
 * A look is due
 *  1. after each link of several TXIDs that was put: it may have passed somebody's single ones, and
 *  2. after the first link that follows a pause: somebody may have gone on meanwhile with such an object.
 * So of two writers one finds the other at the latest with its second link, or meets it at the same key.
 * Until then each may have acknowledged what the other does not have.
 */
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { SpoolFile } from "../../local/spool.ts";
import { keyOf, levelBegin, listLevel } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import type { TakenKey } from "./publish.ts";

/** After a pause as long as this the next link is looked around for. Shorter ones would cost a LIST each. */
const PAUSE_MS = 10 * 60_000;

/** While listings fail and puts do not, a look goes back no further than this many links. */
const OWN_KEYS_MAX = 1_000;

/** The looks of one database. */
export class OverlapCheck {
  #found: TakenKey | null = null;
  #running: Promise<void> | null = null;
  #isAgain = false;
  #fault: unknown = null;
  /** A look failed: the next link makes up for it. */
  #isOwed = false;
  /** Keys of ours, from the TXID on that the next look begins at. */
  readonly #ownKeys = new Map<string, Txid>();
  #acknowledgedMs = Number.NEGATIVE_INFINITY;

  constructor(
    readonly name: string,
    readonly store: ObjectStore,
    readonly env: Pick<Env, "monotonicMs">,
  ) {}

  /** Another writer's object, once one was found. @throws a fault of ours that ended a look */
  get found(): TakenKey | null {
    const fault = this.#fault;
    this.#fault = null;
    if (fault !== null) throw fault;
    return this.#found;
  }

  /** A link is about to be put. */
  sending(file: SpoolFile): void {
    this.#ownKeys.set(keyOf(this.store, this.name, file), file.minTxid);
    this.#keepNewest(OWN_KEYS_MAX);
  }

  /** A link is in the bucket. */
  acknowledged(file: SpoolFile, signal: AbortSignal): void {
    const nowMs = this.env.monotonicMs();
    const pauseMs = nowMs - this.#acknowledgedMs;
    this.#acknowledgedMs = nowMs;
    // The first link of a process comes after a look at the whole bucket.
    const isAfterPause = Number.isFinite(pauseMs) && pauseMs >= PAUSE_MS;
    if (file.maxTxid > file.minTxid || isAfterPause || this.#isOwed) this.#look(signal);
    else if (this.#running === null) this.#keepNewest();
  }

  /** Resolves when no look is on its way. Never rejects. */
  async done(): Promise<void> {
    while (this.#running !== null) await this.#running;
  }

  #look(signal: AbortSignal): void {
    if (this.#running !== null) {
      this.#isAgain = true;
      return;
    }
    this.#running = this.#lookNow(signal).then(() => {
      this.#running = null;
      if (!this.#isAgain || signal.aborted) return;
      this.#isAgain = false;
      this.#look(signal);
    });
  }

  async #lookNow(signal: AbortSignal): Promise<void> {
    const [fromTxid] = this.#ownKeys.values();
    if (fromTxid === undefined) return;
    this.#isOwed = true;
    try {
      const startAfter = levelBegin(this.store, this.name, 0, fromTxid);
      const objects = await listLevel(this.store, this.name, 0, { startAfter, signal });
      const other = objects.find(({ key }) => !this.#ownKeys.has(key));
      if (other !== undefined) this.#found ??= await this.#takenKey(other.key, signal);
      else this.#keepNewest();
      this.#isOwed = false;
    } catch (error) {
      // The store fails, which the uploads report: the look stays owed.
      if (!signal.aborted && !(error instanceof WalrustError)) this.#fault = error;
    }
  }

  /** Whose object lies at a key; of nobody we know when its metadata cannot be read. */
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

  /** The last two of our keys stay: an object of somebody else may overlap the older one of them. */
  #keepNewest(keptCount = 2): void {
    for (const key of this.#ownKeys.keys()) {
      if (this.#ownKeys.size <= keptCount) return;
      this.#ownKeys.delete(key);
    }
  }
}
