/**
 * Compares the state of a replica with the objects that end at its TXID. A source whose history began anew
 * may have reached the same TXID.
 */
import { hasCode } from "../../errors.ts";
import { NO_CHECKSUM } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkEnds } from "../object/check-object.ts";
import type { ObjectFacts } from "../object/object-links.ts";
import type { ReplicaPoint } from "./replica-state.ts";

/** The most objects that are asked; a bucket has one for each level. */
const OBJECTS_MAX = 8;

/** The state of a replica, as objects can confirm it. */
export type FollowedState = Pick<ReplicaPoint, "txid" | "chain" | "checksum">;

/**
 * Whether the source has the state of the replica: true if one object leads to it, false if objects lead to
 * others only, null if no object says anything (Litestream's carry neither chain nor checksum).
 * @param ending the objects that end at the TXID of the replica
 * @throws WalrustError with a storage code
 */
export async function agreementOrNull(
  store: ObjectStore,
  ending: readonly LtxObject[],
  state: FollowedState,
  signal: AbortSignal | undefined,
): Promise<boolean | null> {
  let isContradicted = false;
  for (const object of ending.slice(0, OBJECTS_MAX)) {
    const facts = await factsOrNull(store, object, signal);
    const isSame = facts === null ? null : isSameOrNull(facts, state);
    if (isSame === true) return true;
    isContradicted ||= isSame === false;
  }
  return isContradicted ? false : null;
}

function isSameOrNull({ metadata, postApplyChecksum }: ObjectFacts, state: FollowedState): boolean | null {
  if (metadata.chain !== null && state.chain !== null) return metadata.chain === state.chain;
  return postApplyChecksum === NO_CHECKSUM ? null : postApplyChecksum === state.checksum;
}

/** The facts of an object; null when it is gone or unsound. */
async function factsOrNull(
  store: ObjectStore,
  object: LtxObject,
  signal: AbortSignal | undefined,
): Promise<ObjectFacts | null> {
  try {
    const { facts, findings } = await checkEnds(store, object, signal);
    return findings.length === 0 ? facts : null;
  } catch (error) {
    if (hasCode(error, "not-found")) return null;
    throw error;
  }
}
