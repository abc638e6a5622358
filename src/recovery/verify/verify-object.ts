/**
 * One object of a verification: the verdict of the judge (object/check-object.ts) on its header and trailer,
 * or on every byte, and whether the object is still there.
 *
 * An object of a few kilobytes is read whole: that takes one request less than its header and trailer.
 */
import { hasCode } from "../../errors.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkEnds, checkListed, type ObjectVerdict } from "../object/check-object.ts";
import { LTX_SIZE_MIN } from "../object/object-size.ts";
import type { Findings } from "./verify-report.ts";

/** Up to this size one whole get is cheaper than two ranged ones. */
export const WHOLE_SIZE_MAX = 8192;

/** The verdict on a listed object. */
export interface ListedVerdict extends ObjectVerdict {
  /** The object went away after it was listed. */
  readonly isVanished: boolean;
  /** Whether every byte was read. */
  readonly isRead: boolean;
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
  const isRead = object.sizeBytes >= LTX_SIZE_MIN && (isWhole || object.sizeBytes <= WHOLE_SIZE_MAX);
  try {
    const verdict = isRead
      ? await checkListed(store, object, {}, signal)
      : await checkEnds(store, object, signal);
    return { ...verdict, isVanished: false, isRead };
  } catch (error) {
    if (!hasCode(error, "not-found")) throw error;
    return { object, facts: null, findings: [], sha256: null, isVanished: true, isRead };
  }
}

/** Adds the findings about an object to all findings. */
export function addFindings({ object, findings: found }: ObjectVerdict, findings: Findings): void {
  for (const { code, message } of found) findings.add(code, object.key, object.maxTxid, message);
}
