/**
 * Finds what is new in the source of a replica with as few requests as the store allows.
 *
 * The next increment has a name that is known before it exists: level 0, TXID n + 1. So a poll is one GET of
 * exactly that key, which also brings the object if it is there, and a 404 when nothing is new. Nothing is
 * listed for it.
 *
 * A source whose uploads fall behind puts several TXIDs into one object of level 0, whose name nobody can
 * know. A glance, one LIST of level 0 from TXID n on, finds it. A glance is due in place of the GET while the
 * newest object was such a one, with the second miss in a row, and then after 10, 20, 40 seconds and so on up
 * to five minutes.
 *
 * That key may be missing although there is more: increments were merged and deleted while nobody looked. A
 * look at the whole source therefore follows a miss (1) at the start, (2) when the last poll was more than a
 * minute ago, for increments live longer than that after they were merged (Litestream keeps them 5 minutes),
 * (3) after a minute without anything new, then after two, four and so on up to an hour, and (4) after 64
 * increments in a row, because a replica that is far behind gets on faster over merged objects. A look reads
 * the manifest; where that names exactly the replica's TXID as the newest it ends there, and only otherwise
 * (Litestream writes none) are the levels listed.
 */
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import { formatTxid, levelPrefix } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import { keyOf, LEVELS, type LtxObject, listLevel } from "../../storage/bucket/catalog.ts";
import { readManifest } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { BucketSource } from "../object/bucket-source.ts";
import { fetchInOrder } from "../object/fetch-in-order.ts";
import { type FetchedObject, fetchedFrom, type ObjectSource } from "../object/object-source.ts";
import { DivergedError } from "./replica-errors.ts";
import { planForward } from "./replica-plan.ts";

const FIRST_QUIET_MS = 60_000;
const LAST_QUIET_MS = 3_600_000;
const BLIND_MS = 60_000;
const HITS_BEFORE_LOOK = 64;
const FIRST_GLANCE_MS = 10_000;
const LAST_GLANCE_MS = 300_000;
/** Glances in a row without anything new in place of the GET, after an object with several TXIDs. */
const GLANCES_AFTER_MERGED = 12;

/** Follows one database of a store. */
export class ReplicaFeed {
  readonly #store: ObjectStore;
  readonly #sources: readonly ObjectSource[];
  readonly #name: string;
  readonly #env: Env;
  #polledAtMs = Number.NEGATIVE_INFINITY;
  #lookAtMs = Number.NEGATIVE_INFINITY;
  #quietMs = FIRST_QUIET_MS;
  /** Polls in a row without anything new. */
  #missCount = 0;
  #glanceAtMs = Number.POSITIVE_INFINITY;
  #glancePauseMs = FIRST_GLANCE_MS;
  /** The newest object of level 0 held several TXIDs: the next may, too. */
  #isMerged = false;

  constructor(store: ObjectStore, name: string, env: Env) {
    this.#store = store;
    this.#sources = [new BucketSource(store, name)];
    this.#name = name;
    this.#env = env;
  }

  /**
   * The objects after `txid`, in order, each continuing the one before; ends when there is nothing more.
   * @throws DivergedError when nothing leads on from there, or a storage code
   */
  async *objectsAfter(txid: Txid, signal?: AbortSignal): AsyncGenerator<FetchedObject> {
    if (this.#env.monotonicMs() - this.#polledAtMs > BLIND_MS) this.lookSoon();
    let reached = txid;
    let hitCount = 0;
    /** Whether this poll found anything: the miss that ends it is no quiet time yet. */
    let hasFound = false;
    for (;;) {
      const isFarBehind = hitCount === HITS_BEFORE_LOOK;
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
      // Increments are deleted oldest first: where one was found, those after it are found by their names.
      if (hitCount > 0 && !isFarBehind) return this.#rest(FIRST_QUIET_MS);
      if (!isFarBehind && this.#polledAtMs < this.#lookAtMs) return;
      const objects = await this.#look(reached, signal);
      const hasNews = isFarBehind || objects.length > 0;
      this.#rest(hasNews ? FIRST_QUIET_MS : Math.min(2 * this.#quietMs, LAST_QUIET_MS));
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

  /** Has the next miss look at the whole source: after a failure, or when it is not known what happened. */
  lookSoon(): void {
    this.#lookAtMs = Number.NEGATIVE_INFINITY;
  }

  /** No look until it was quiet for this long. */
  #rest(quietMs: number): void {
    this.#quietMs = quietMs;
    this.#lookAtMs = this.#env.monotonicMs() + quietMs;
  }

  /** What follows `txid` by its name or, when that is due, by a glance; none when nothing does. */
  async *#nextObjects(txid: Txid, hasFound: boolean, signal?: AbortSignal): AsyncGenerator<FetchedObject> {
    // The glance of this poll has shown everything.
    if (this.#isMerged && hasFound) return;
    const fetched = this.#isMerged ? null : await this.#fetchNextOrNull(txid, signal);
    if (fetched !== null) {
      this.#hit(false);
      return yield fetched;
    }
    if (!this.#isGlanceDue(hasFound)) return;
    const plan = planForward(await this.#list(0, txid, signal), txid);
    if (plan.kind !== "forward") return;
    for await (const planned of fetchInOrder(this.#sources, plan.objects, signal)) {
      yield planned;
      this.#hit(planned.object.minTxid < planned.object.maxTxid);
    }
  }

  #hit(isMerged: boolean): void {
    this.#isMerged = isMerged;
    this.#missCount = 0;
    this.#glanceAtMs = Number.POSITIVE_INFINITY;
    this.#glancePauseMs = FIRST_GLANCE_MS;
  }

  #isGlanceDue(hasFound: boolean): boolean {
    const nowMs = this.#env.monotonicMs();
    if (this.#isMerged) {
      this.#isMerged = ++this.#missCount < GLANCES_AFTER_MERGED;
      this.#glanceAtMs = nowMs + this.#glancePauseMs;
      return true;
    }
    if (hasFound) return false;
    const isDue = ++this.#missCount === 2 || nowMs >= this.#glanceAtMs;
    if (isDue) {
      this.#glanceAtMs = nowMs + this.#glancePauseMs;
      this.#glancePauseMs = Math.min(2 * this.#glancePauseMs, LAST_GLANCE_MS);
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
   * The objects that lead on from `txid`; none when it is the newest. @throws DivergedError when there is no
   * way
   */
  async #look(txid: Txid, signal?: AbortSignal): Promise<readonly LtxObject[]> {
    const reading = await readManifest(this.#store, this.#name, signal);
    if (reading.kind === "manifest" && reading.manifest.latest.txid === txid) return [];
    const objects = await Promise.all(LEVELS.map((level) => this.#list(level, txid, signal)));
    const plan = planForward(objects.flat(), txid);
    switch (plan.kind) {
      case "forward":
        return plan.objects;
      case "current":
        return [];
      case "gap":
        throw new DivergedError(`Nothing continues TXID ${txid}: the next object is TXID ${plan.nextTxid}`);
      case "behind":
        throw new DivergedError(`Nothing of the source reaches TXID ${txid}: its history began anew`);
    }
  }

  /**
   * Increments are listed from `txid` on; what covers it on the other levels may begin anywhere before it.
   */
  #list(level: number, txid: Txid, signal?: AbortSignal): Promise<LtxObject[]> {
    const options = signal === undefined ? {} : { signal };
    if (level !== 0) return listLevel(this.#store, this.#name, level, options);
    const before = `${levelPrefix(this.#store.layout, this.#name, 0)}${formatTxid((txid - 1) as Txid)}-~`;
    return listLevel(this.#store, this.#name, level, { ...options, startAfter: before });
  }
}
