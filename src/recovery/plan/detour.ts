/**
 * The way around damaged objects: which ones a restore leaves out, and whether the others still lead to the
 * same TXID.
 *
 * Invariants:
 * 1. The TXID is never another one than was resolved from the whole listing.
 * 2. Each step leaves out one object more, up to a limit: it ends.
 * 3. Where there is no other way, the error is that of the first damaged object.
 */
import type { WalrustError } from "../../errors.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { planRestore, type RestorePlan } from "./restore-plan.ts";

/** Damaged objects that a restore goes around; where there are more, somebody should look. */
const DAMAGED_MAX = 16;

/** A plan that an object failed in. */
export interface FailedPlan {
  readonly txid: Txid;
  readonly listing: readonly LtxObject[];
}

/** What one restore leaves out. */
export class Detour {
  readonly #damaged = new Set<string>();
  readonly #missed = new Set<string>();
  #firstError: WalrustError | null = null;

  /** Keys of what is left out, in the order it was found. */
  get keys(): readonly string[] {
    return [...this.#damaged];
  }

  /** Whether anything is left out. */
  get isTaken(): boolean {
    return this.#damaged.size > 0;
  }

  /** Whether an object that could not be found was there until now, as far as is known. */
  isFirstMiss({ key }: LtxObject): boolean {
    const isFirst = !this.#missed.has(key);
    this.#missed.add(key);
    return isFirst;
  }

  /**
   * Leaves out one object more.
   * @returns the plan with another way to the same TXID
   * @throws the error of the first object that was left out, when there is none
   */
  around<T extends FailedPlan>(failed: LtxObject, error: WalrustError, plan: T): T & RestorePlan {
    this.#firstError ??= error;
    this.#damaged.add(failed.key);
    return { ...plan, ...this.plan(plan.listing, plan.txid) };
  }

  /** Plans without what is left out. @throws the error of the first object that was left out */
  plan(listing: readonly LtxObject[], txid: Txid): RestorePlan {
    const sound = listing.filter(({ key }) => !this.#damaged.has(key));
    const plan = planRestore(sound, txid);
    if (plan.kind === "plan" && this.#damaged.size <= DAMAGED_MAX) return plan;
    throw this.#firstError;
  }
}
