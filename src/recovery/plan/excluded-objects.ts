/**
 * The damaged objects that a restore excludes, and the plans without them.
 *
 * Invariants:
 * 1. The TXID is always the one that was resolved from the whole listing.
 * 2. Each step excludes one more object, up to a limit, so the restore ends.
 * 3. When no other objects lead to the TXID, the error is that of the first excluded object.
 */
import type { WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { planRestore, type RestorePlan } from "./restore-plan.ts";

/** A restore excludes at most this many objects; a bucket with more damage needs a person. */
const EXCLUDED_MAX = 16;

/** A plan with an object that failed. */
export interface FailedPlan {
  readonly txid: Txid;
  readonly listing: readonly LtxObject[];
}

/** The objects that one restore excludes. */
export class ExcludedObjects {
  readonly #excluded = new Set<string>();
  readonly #missed = new Set<string>();
  #firstError: WalrustError | null = null;

  /** Keys of the excluded objects, in the order they failed. */
  get keys(): readonly string[] {
    return [...this.#excluded];
  }

  get isEmpty(): boolean {
    return this.#excluded.size === 0;
  }

  /** Records that an object was not found. @returns whether that is the first time */
  isFirstMiss({ key }: LtxObject): boolean {
    const isFirst = !this.#missed.has(key);
    this.#missed.add(key);
    return isFirst;
  }

  /**
   * Excludes one object and plans again: the first suspect without which other objects lead to the same TXID.
   * @param suspects the object that failed, and then those that it contradicts
   * @returns the plan, and the excluded object
   * @throws the error of the first excluded object when no such plan exists
   */
  exclude<T extends FailedPlan>(
    suspects: readonly LtxObject[],
    error: WalrustError,
    plan: T,
  ): { readonly plan: T & RestorePlan; readonly excluded: LtxObject } {
    this.#firstError ??= error;
    for (const excluded of suspects) {
      this.#excluded.add(excluded.key);
      const next = this.#planOrNull(plan.listing, plan.txid);
      if (next !== null) return { plan: { ...plan, ...next }, excluded };
      this.#excluded.delete(excluded.key);
    }
    throw this.#firstError;
  }

  /** The objects of a listing that are not excluded. */
  without(listing: readonly LtxObject[]): readonly LtxObject[] {
    return this.isEmpty ? listing : listing.filter(({ key }) => !this.#excluded.has(key));
  }

  /** Plans without the excluded objects. @throws the error of the first of them when no plan exists */
  plan(listing: readonly LtxObject[], txid: Txid): RestorePlan {
    const plan = this.#planOrNull(listing, txid);
    if (plan !== null) return plan;
    throw this.#firstError;
  }

  #planOrNull(listing: readonly LtxObject[], txid: Txid): RestorePlan | null {
    const plan = planRestore(this.without(listing), txid);
    return plan.kind === "plan" && this.#excluded.size <= EXCLUDED_MAX ? plan : null;
  }
}
