/**
 * Finds new objects in the source of a replica with few requests.
 *
 * The key of the next increment is known before the object exists: level 0, TXID n + 1. So a poll is one GET
 * of that key, which brings the object, or a 404 when nothing is new.
 *
 * A source whose uploads fall behind puts several TXIDs into one object of level 0, whose key nobody can
 * know. A listing of level 0 from TXID n on finds it. That listing replaces the GET while the newest object
 * was of this kind. Otherwise it follows the second miss in a row, and then comes after 10, 20, 40 seconds
 * and so on up to five minutes.
 *
 * The key may also be missing because increments were merged and deleted between two polls. So a search of
 * all levels follows a miss (1) at the start, (2) when the last poll was more than a minute ago (merged
 * increments live longer; Litestream keeps them for 5 minutes), (3) after one minute without news, then after
 * two, four and so on up to an hour, and (4) after 64 increments in a row, because merged objects let a
 * replica catch up faster. A search reads the manifest first, and ends if the manifest names the replica's
 * state as the newest. Otherwise it lists all levels (Litestream writes no manifest).
 *
 * A manifest may be behind the objects: its last writing failed, or another program continued. So a search
 * lists all levels in any case when level 0 continues after a gap, and when the poll has to reach the newest
 * TXID (`listNext`). The replica is current only if the listing ends at its TXID, the manifest names no newer
 * TXID, and the objects there lead to the state of the replica: after a history began anew, its TXIDs may be
 * the same.
 */
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { formatTxid, levelPrefix } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import { keyOf, LEVELS, type LtxObject, listLevel } from "../../storage/bucket/catalog.ts";
import { type Manifest, readManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { BucketSource } from "../object/bucket-source.ts";
import { fetchInOrder } from "../object/fetch-in-order.ts";
import { type FetchedObject, fetchedFrom, type ObjectSource } from "../object/object-source.ts";
import { agreementOrNull, type FollowedState } from "./replica-agreement.ts";
import { DivergedError, planForward } from "./replica-plan.ts";

const FIRST_QUIET_MS = 60_000;
const LAST_QUIET_MS = 3_600_000;
const PAUSE_MAX_MS = 60_000;
const HITS_BEFORE_SEARCH = 64;
const FIRST_LISTING_MS = 10_000;
const LAST_LISTING_MS = 300_000;
/** Listings without news, in a row, that replace the GET after an object with several TXIDs. */
const LISTINGS_AFTER_MERGED = 12;

/** Follows one database of a store. */
export class ReplicaFeed {
  readonly #store: ObjectStore;
  readonly #sources: readonly ObjectSource[];
  readonly #name: string;
  readonly #env: Env;
  readonly #stateOrNull: () => FollowedState | null;
  #polledAtMs = Number.NEGATIVE_INFINITY;
  #searchAtMs = Number.NEGATIVE_INFINITY;
  #quietMs = FIRST_QUIET_MS;
  /** Polls in a row without news. */
  #missCount = 0;
  #listingAtMs = Number.POSITIVE_INFINITY;
  #listingPauseMs = FIRST_LISTING_MS;
  /** The newest object of level 0 held several TXIDs, so the next object may too. */
  #isMerged = false;
  /** Every search lists all levels, whatever the manifest says. */
  #isOnce = false;
  /** Level 0 continues after a gap: the next search lists all levels. */
  #hasGap = false;

  /** @param stateOrNull the present state of the replica, if it is known */
  constructor(
    store: ObjectStore,
    name: string,
    env: Env,
    stateOrNull: () => FollowedState | null = () => null,
  ) {
    this.#store = store;
    this.#sources = [new BucketSource(store, name)];
    this.#name = name;
    this.#env = env;
    this.#stateOrNull = stateOrNull;
  }

  /**
   * Yields the objects after `txid` in order, each continuing the one before, until there are no more.
   * @throws DivergedError when no object continues `txid`, or a storage code
   */
  async *objectsAfter(txid: Txid, signal?: AbortSignal): AsyncGenerator<FetchedObject> {
    if (this.#env.monotonicMs() - this.#polledAtMs > PAUSE_MAX_MS) this.searchSoon();
    let reached = txid;
    let hitCount = 0;
    /** Whether this poll found an object: then its last miss does not count as quiet. */
    let hasFound = false;
    for (;;) {
      const isFarBehind = hitCount === HITS_BEFORE_SEARCH;
      const next = isFarBehind ? [] : this.#nextObjects(reached, hasFound, signal);
      const before = hitCount;
      for await (const fetched of next) {
        yield fetched;
        reached = fetched.object.maxTxid;
        hitCount++;
        hasFound = true;
      }
      if (hitCount > before) continue;
      this.#polledAtMs = this.#env.monotonicMs();
      // Increments are deleted oldest first: after one that exists, the next are found by their keys.
      if (hitCount > 0 && !isFarBehind) return this.#postponeSearch(FIRST_QUIET_MS);
      if (!isFarBehind && this.#polledAtMs < this.#searchAtMs) return;
      const objects = await this.#search(reached, signal);
      const hasNews = isFarBehind || objects.length > 0;
      this.#postponeSearch(hasNews ? FIRST_QUIET_MS : Math.min(2 * this.#quietMs, LAST_QUIET_MS));
      if (!hasNews) return;
      for await (const planned of fetchInOrder(this.#sources, objects, signal)) {
        yield planned;
        reached = planned.object.maxTxid;
        this.#hit(false);
        hasFound = true;
      }
      hitCount = 0;
    }
  }

  /** Makes the next miss search all levels: after a failure, or after a long pause. */
  searchSoon(): void {
    this.#searchAtMs = Number.NEGATIVE_INFINITY;
  }

  /**
   * Makes the next poll reach the newest object, whatever holds it: the poll lists level 0 instead of asking
   * for the next key, and searches all levels if the listing does not lead on.
   */
  listNext(): void {
    this.#isMerged = true;
    this.#isOnce = true;
    this.searchSoon();
  }

  /** Postpones the next search until the source was quiet for this long. */
  #postponeSearch(quietMs: number): void {
    this.#quietMs = quietMs;
    this.#searchAtMs = this.#env.monotonicMs() + quietMs;
  }

  /** Yields the next object by its key, or the next objects by a listing of level 0 if that is due. */
  async *#nextObjects(txid: Txid, hasFound: boolean, signal?: AbortSignal): AsyncGenerator<FetchedObject> {
    // The listing of this poll has shown everything.
    if (this.#isMerged && hasFound) return;
    const fetched = this.#isMerged ? null : await this.#fetchNextOrNull(txid, signal);
    if (fetched !== null) {
      this.#hit(false);
      return yield fetched;
    }
    if (!this.#isListingDue(hasFound)) return;
    const plan = planForward(await this.#list(0, txid, signal), txid);
    this.#hasGap ||= plan.kind === "gap";
    if (plan.kind !== "forward") return;
    for await (const planned of fetchInOrder(this.#sources, plan.objects, signal)) {
      yield planned;
      this.#hit(planned.object.minTxid < planned.object.maxTxid);
    }
  }

  #hit(isMerged: boolean): void {
    this.#isMerged = isMerged;
    this.#missCount = 0;
    this.#listingAtMs = Number.POSITIVE_INFINITY;
    this.#listingPauseMs = FIRST_LISTING_MS;
  }

  #isListingDue(hasFound: boolean): boolean {
    const nowMs = this.#env.monotonicMs();
    if (this.#isMerged) {
      this.#isMerged = ++this.#missCount < LISTINGS_AFTER_MERGED;
      this.#listingAtMs = nowMs + this.#listingPauseMs;
      return true;
    }
    if (hasFound) return false;
    const isDue = ++this.#missCount === 2 || nowMs >= this.#listingAtMs;
    if (isDue) {
      this.#listingAtMs = nowMs + this.#listingPauseMs;
      this.#listingPauseMs = Math.min(2 * this.#listingPauseMs, LAST_LISTING_MS);
    }
    return isDue;
  }

  async #fetchNextOrNull(txid: Txid, signal?: AbortSignal): Promise<FetchedObject | null> {
    const next = (txid + 1) as Txid;
    const key = keyOf(this.#store, this.#name, { level: 0, minTxid: next, maxTxid: next });
    try {
      const body = await this.#store.get(key, signal === undefined ? {} : { signal });
      const { sizeBytes, modifiedMs } = body;
      const object = { key, level: 0, minTxid: next, maxTxid: next, sizeBytes, modifiedMs };
      return await fetchedFrom(object, body);
    } catch (error) {
      if (hasCode(error, "not-found")) return null;
      throw error;
    }
  }

  /**
   * Searches all levels for the objects that continue `txid`.
   * @throws DivergedError when none does, or the source has another state at `txid`; WalrustError "integrity"
   * when objects after `txid` were deleted
   */
  async #search(txid: Txid, signal?: AbortSignal): Promise<readonly LtxObject[]> {
    const reading = await readManifest(this.#store, this.#name, signal);
    const latest = reading.kind === "manifest" ? reading.manifest.latest : null;
    if (!this.#isOnce && !this.#hasGap && this.#isAt(txid, latest)) return [];
    this.#hasGap = false;
    const levels = await Promise.all(LEVELS.map((level) => this.#list(level, txid, signal)));
    const objects = levels.flat();
    const plan = planForward(objects, txid);
    switch (plan.kind) {
      case "forward":
        return plan.objects;
      case "current":
        await this.#assertCurrent(txid, latest, objects, signal);
        return [];
      case "gap":
        throw new DivergedError(`Nothing continues TXID ${txid}: the next object is TXID ${plan.nextTxid}`);
      case "behind":
        throw new DivergedError(`Nothing of the source reaches TXID ${txid}: its history began anew`);
    }
  }

  /** Whether the manifest names the state of the replica as the newest. */
  #isAt(txid: Txid, latest: Manifest["latest"] | null): boolean {
    if (latest?.txid !== txid) return false;
    const chain = this.#stateOrNull()?.chain ?? null;
    return chain === null || chain === latest.chain;
  }

  /** Checks the state at the newest TXID of the listing. @throws as `#search` */
  async #assertCurrent(
    txid: Txid,
    latest: Manifest["latest"] | null,
    objects: readonly LtxObject[],
    signal: AbortSignal | undefined,
  ): Promise<void> {
    if (latest !== null && latest.txid > txid) {
      const found = `The manifest names TXID ${latest.txid} of ${latest.time}, the newest object is ${txid}`;
      throw new WalrustError("integrity", found, {
        hint: "Objects were deleted: recover them, see `walrust verify`. The replica is unchanged",
        context: { manifestTxid: latest.txid, newestTxid: txid },
      });
    }
    const state = this.#stateOrNull();
    if (state === null) return;
    const ending = objects.filter(({ maxTxid }) => maxTxid === txid);
    if ((await agreementOrNull(this.#store, ending, state, signal)) !== false) return;
    throw new DivergedError(`The source has another state at TXID ${txid}: its history began anew`);
  }

  /**
   * Lists a level: increments from `txid` on, other levels whole, because a merged object may begin earlier.
   */
  #list(level: number, txid: Txid, signal?: AbortSignal): Promise<LtxObject[]> {
    const options = signal === undefined ? {} : { signal };
    if (level !== 0) return listLevel(this.#store, this.#name, level, options);
    const before = `${levelPrefix(this.#store.layout, this.#name, 0)}${formatTxid((txid - 1) as Txid)}-~`;
    return listLevel(this.#store, this.#name, level, { ...options, startAfter: before });
  }
}
