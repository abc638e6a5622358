/**
 * One object of a verification: the verdict of the judge (object/check-object.ts) on its header and trailer,
 * or on every byte, and whether the object is still there.
 */
import { hasCode } from "../../errors.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkEnds, checkListed, type ObjectVerdict } from "../object/check-object.ts";
import type { Findings } from "./verify-report.ts";

/** Up to this size one whole get is cheaper than two ranged ones. */
export const WHOLE_SIZE_MAX = 8192;

/** The verdict on a listed object. */
export interface ListedVerdict extends ObjectVerdict {
  /** The object went away after it was listed. */
  readonly isVanished: boolean;
}

/**
 * Checks one object; `isWhole` reads every byte.
 * @throws WalrustError with a storage code
 */
export async function verifyObject(
  store: ObjectStore,
  object: LtxObject,
  isWhole: boolean,
  signal: AbortSignal | undefined,
): Promise<ListedVerdict> {
  try {
    const verdict = isWhole
      ? await checkListed(store, object, {}, signal)
      : await checkEnds(store, object, signal);
    return { ...verdict, isVanished: false };
  } catch (error) {
    if (!hasCode(error, "not-found")) throw error;
    return { object, facts: null, findings: [], sha256: null, isVanished: true };
  }
}

/** Adds the findings about an object to all findings. */
export function addFindings({ object, findings: found }: ObjectVerdict, findings: Findings): void {
  for (const { code, message } of found) findings.add(code, object.key, object.maxTxid, message);
}
