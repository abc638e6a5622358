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
   * Excludes an object and plans again.
   * @returns a plan that leads to the same TXID without the object
   * @throws the error of the first excluded object when no such plan exists
   */
  exclude<T extends FailedPlan>(failed: LtxObject, error: WalrustError, plan: T): T & RestorePlan {
    this.#firstError ??= error;
    this.#excluded.add(failed.key);
    return { ...plan, ...this.plan(plan.listing, plan.txid) };
  }

  /** The objects of a listing that are not excluded. */
  without(listing: readonly LtxObject[]): readonly LtxObject[] {
    return this.isEmpty ? listing : listing.filter(({ key }) => !this.#excluded.has(key));
  }

  /** Plans without the excluded objects. @throws the error of the first of them when no plan exists */
  plan(listing: readonly LtxObject[], txid: Txid): RestorePlan {
    const plan = planRestore(this.without(listing), txid);
    if (plan.kind === "plan" && this.#excluded.size <= EXCLUDED_MAX) return plan;
    throw this.#firstError;
  }
}
