/**
 * Verifies one object of a listing: asks the judge (object/check-object.ts) about header and trailer, or
 * about every byte, and notes an object that vanished.
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
  /** The object vanished after it was listed. */
  readonly isVanished: boolean;
}

/**
 * Checks one object. @param isWhole whether to read every byte
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

/** Adds the findings about one object to the findings about the database. */
export function addFindings({ object, findings: found }: ObjectVerdict, findings: Findings): void {
  for (const { code, message } of found) findings.add(code, object.key, object.maxTxid, message);
}
