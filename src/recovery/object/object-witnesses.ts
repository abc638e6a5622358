/**
 * The evidence that justifies a deletion. An object that replaces others has to be sound (check-object.ts),
 * its neighbours in the bucket must not contradict it, and its bytes must be proven.
 *
 * Two neighbours are witnesses, each by header and trailer. The first witness shows the state before the
 * object: an object that begins at the same TXID, or else the object that ends before it. The second witness
 * shows the state after the object: an object that ends at the same TXID, or else the object that continues
 * it. A witness that is unsound or gone counts for nothing.
 *
 * The bytes are proven if and only if
 *  1. the object carries its SHA-256, and a chain value if the second witness shows one, or
 *  2. it is a snapshot with a database checksum, which the judge has compared with its pages, or
 *  3. neither the object nor a witness carries anything of walrust: a restore of Litestream's objects has no
 *     evidence but their LTX checksums either.
 * Otherwise the storage lost metadata of the object, and only its content can prove it.
 */
import { hasCode } from "../../errors.ts";
import { NO_CHECKSUM } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkEnds } from "./check-object.ts";
import { type ObjectFinding, objectFinding } from "./object-finding.ts";
import {
  agreementFindings,
  beginningFindings,
  continuationFindings,
  type ObjectFacts,
  stateAfter,
} from "./object-links.ts";

/** The objects of a listing by the TXIDs that they begin and end with. */
export class WitnessIndex {
  readonly #byMinTxid = new Map<number, LtxObject[]>();
  readonly #byMaxTxid = new Map<number, LtxObject[]>();

  /** @param objects a complete listing of a database */
  constructor(objects: readonly LtxObject[]) {
    for (const object of [...objects].sort((a, b) => a.level - b.level)) {
      listOf(this.#byMinTxid, object.minTxid).push(object);
      listOf(this.#byMaxTxid, object.maxTxid).push(object);
    }
  }

  /** Objects that begin at a TXID, lower levels first. */
  beginningAt(txid: number): readonly LtxObject[] {
    return this.#byMinTxid.get(txid) ?? [];
  }

  /** Objects that end at a TXID, lower levels first. */
  endingAt(txid: number): readonly LtxObject[] {
    return this.#byMaxTxid.get(txid) ?? [];
  }
}

function listOf(map: Map<number, LtxObject[]>, txid: number): LtxObject[] {
  const known = map.get(txid);
  if (known !== undefined) return known;
  const list: LtxObject[] = [];
  map.set(txid, list);
  return list;
}

/**
 * Compares a sound object with its neighbours.
 * @param facts from a check of every byte
 * @returns the contradictions, and a warning `metadata-lost` where the bytes are not proven
 * @throws WalrustError with a storage code
 */
export async function evidenceFindings(
  store: ObjectStore,
  facts: ObjectFacts,
  index: WitnessIndex,
  signal: AbortSignal | undefined,
): Promise<ObjectFinding[]> {
  const { object } = facts;
  const { minTxid, maxTxid } = object;
  const findings: ObjectFinding[] = [];
  const witnesses: ObjectFacts[] = [];
  const hear = async (candidates: readonly LtxObject[]): Promise<ObjectFacts | null> => {
    const candidate = candidates.find(({ key }) => key !== object.key);
    const witness = candidate === undefined ? null : await factsOrNull(store, candidate, signal);
    if (witness !== null) witnesses.push(witness);
    return witness;
  };
  if (minTxid > 1) {
    const beside = await hear(index.beginningAt(minTxid));
    if (beside !== null) findings.push(...beginningFindings(facts, beside));
    const before = beside === null ? await hear(index.endingAt(minTxid - 1)) : null;
    if (before !== null) findings.push(...continuationFindings(facts, stateAfter(before)));
  }
  const beside = await hear(index.endingAt(maxTxid));
  if (beside !== null) findings.push(...agreementFindings(facts, stateAfter(beside)));
  const after = beside === null ? await hear(index.beginningAt(maxTxid + 1)) : null;
  if (after !== null) {
    for (const { code, error } of continuationFindings(after, stateAfter(facts))) {
      findings.push(objectFinding(object, code, `does not lead to the object after it: ${error.message}`));
    }
  }
  const chainAtEnd = beside?.metadata.chain ?? after?.metadata.previousChain ?? null;
  if (!isProven(facts, witnesses, chainAtEnd)) findings.push(lostMetadata(object));
  return findings;
}

/** The facts of a witness; null when the witness is gone or unsound. */
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

/** @param chainAtEnd the chain value after the object by its second witness, or null */
function isProven(facts: ObjectFacts, witnesses: readonly ObjectFacts[], chainAtEnd: string | null): boolean {
  const { object, metadata, postApplyChecksum } = facts;
  if (metadata.sha256 !== null && (metadata.chain !== null || chainAtEnd === null)) return true;
  if (object.minTxid === 1 && postApplyChecksum !== NO_CHECKSUM) return true;
  return ![facts, ...witnesses].some(isOfWalrust);
}

/** Whether an object carries a value that Litestream never writes. */
function isOfWalrust({ metadata, postApplyChecksum }: ObjectFacts): boolean {
  const { sha256, chain, previousChain, writer, version } = metadata;
  return postApplyChecksum !== NO_CHECKSUM || [sha256, chain, previousChain, writer, version].some(isThere);
}

function isThere(value: string | null): boolean {
  return value !== null;
}

function lostMetadata(object: LtxObject): ObjectFinding {
  const what = "lost metadata in the storage: no SHA-256 and no place in the chain prove its bytes";
  return objectFinding(object, "metadata-lost", what);
}
