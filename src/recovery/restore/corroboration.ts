/**
 * Asks the neighbours of a restored state whether it belongs to their history.
 *
 * The chain and the database checksums tie each object of a path to the object before it. Nothing ties the
 * first object, which holds the whole database: a snapshot of another history with the same TXIDs passes
 * every check of its own. Therefore the states of short paths need the word of objects that are not on the
 * path:
 *
 * 1. An object that ends at the same TXID, or that continues it, carries the same chain value and the same
 *    database checksum, or it contradicts. An object that is unsound or gone says nothing.
 * 2. A neighbour that contradicts the object before it is itself in doubt, unless that object contradicts the
 *    one before in turn. A doubtful neighbour cannot contradict, and a state needs more than its word.
 * 3. The manifest counts if no neighbour confirms the state.
 * 4. If no neighbour says anything, a merged object around the state does: applied to the state, it leads to
 *    the checksum that it claims.
 *
 * An end of a path needs no neighbours if two objects in a row begin exactly where the one before ends: then
 * chain and checksums tie three objects. An object that overlaps the one before may replace all that was
 * there. Objects without chain and checksum, such as those of Litestream, say nothing.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { type Checksum, NO_CHECKSUM } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ManifestReading } from "../../storage/bucket/manifest.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkEnds, checkListed } from "../object/check-object.ts";
import type { ObjectFacts } from "../object/object-links.ts";
import type { DatabaseBuilder } from "./database-builder.ts";
import type { PageSumState } from "./page-sum-state.ts";
import { leadsToClaimOrNull } from "./trial-state.ts";

/** The most neighbours of one kind that are asked. */
const NEIGHBOURS_MAX = 2;

/** The objects around a state. */
export interface Surroundings {
  readonly store: ObjectStore;
  /** The objects that may be asked, without those that are known to be damaged. */
  readonly listing: readonly LtxObject[];
  readonly manifest: ManifestReading;
  /** The database that was built. */
  readonly builder: DatabaseBuilder;
  readonly signal: AbortSignal | undefined;
}

/** Makes the page sums of a state, which the caller closes; null when the state cannot be read. */
type MakeTrial = () => Promise<PageSumState | null>;

/** A state as an object describes it: the chain value, and the checksum of the database. */
interface Described {
  readonly chain: string | null;
  readonly checksum: Checksum;
}

/** The word of a neighbour. */
interface Word {
  readonly key: string;
  readonly isAgreeing: boolean;
  readonly isDoubtful: boolean;
}

/** The objects of a path whose states need the word of other objects. */
export function planCorroboration(objects: readonly LtxObject[]): { first: boolean; newest: boolean } {
  const isExact = (index: number): boolean => {
    const [before, object] = [objects[index - 1], objects[index]];
    return before !== undefined && object !== undefined && object.minTxid === before.maxTxid + 1;
  };
  const last = objects.length - 1;
  return { first: !(isExact(1) && isExact(2)), newest: last === 0 || !(isExact(last) && isExact(last - 1)) };
}

/** Checks that no neighbour contradicts the first object of a path. @throws as `assertCorroborated` */
export function assertFirstCorroborated(first: ObjectFacts, around: Surroundings): Promise<void> {
  // The page sums are those of the newest object by now.
  return assertCorroborated(first, around, async () => null);
}

/** Checks that no neighbour contradicts the last object of a path. @throws as `assertCorroborated` */
export function assertNewestCorroborated(newest: ObjectFacts, around: Surroundings): Promise<void> {
  return assertCorroborated(newest, around, async () => around.builder.trial());
}

/**
 * Checks that the object by whose time a point was found is not later than a requested time, and that it
 * leads to the restored state. The path may end with another object of the same TXID, whose time may be
 * later: Litestream stamps a snapshot when it takes it.
 * @param newest the last object of the path
 * @throws WalrustError code "integrity" naming the object, or a storage code
 */
export async function assertFoundIsEarlier(
  found: LtxObject,
  newest: ObjectFacts,
  timeMs: number,
  around: Surroundings,
): Promise<void> {
  const facts = found.key === newest.object.key ? newest : await timedFacts(found, newest, timeMs, around);
  if (facts.header.timestampMs > timeMs) {
    throw notProven(newest, timeMs, `${found.key} was captured after that time`);
  }
  if (agreementOrNull(stateAfter(facts), stateAfter(newest)) === false) {
    throw contradiction(newest, found.key);
  }
}

/**
 * Checks that the first point after a requested time is later than that time, and that it belongs to the
 * history: the search for a time reads headers alone.
 * @param found the last object of the path
 * @throws WalrustError code "integrity" naming the object, or a storage code
 */
export async function assertNextIsLater(
  next: LtxObject,
  found: ObjectFacts,
  timeMs: number,
  around: Surroundings,
): Promise<void> {
  const facts = await timedFacts(next, found, timeMs, around);
  if (facts.header.timestampMs <= timeMs) {
    throw notProven(found, timeMs, `${next.key} was captured before that time`);
  }
  const isContinuation = next.minTxid === found.object.maxTxid + 1;
  if (isContinuation && agreementOrNull(stateBefore(facts), stateAfter(found)) === false) {
    throw notProven(found, timeMs, `${next.key} does not continue TXID ${found.object.maxTxid}`);
  }
  await assertCorroborated(facts, around, () => trialOf(next, found, around));
}

/** The facts of a sound object beside the path, with its time proven. */
async function timedFacts(
  object: LtxObject,
  found: ObjectFacts,
  timeMs: number,
  { store, signal }: Surroundings,
): Promise<ObjectFacts> {
  let { facts, findings } = await checkEnds(store, object, signal);
  // A time without its copy in the metadata is proven by the checksum of the whole file.
  if (facts?.metadata.timeMs === null) ({ facts, findings } = await checkListed(store, object, {}, signal));
  const [finding] = findings;
  if (facts !== null && finding === undefined) return facts;
  throw notProven(found, timeMs, finding?.error.message ?? `${object.key} cannot be read`);
}

/** The page sums at the end of an object beside the path. */
async function trialOf(
  object: LtxObject,
  found: ObjectFacts,
  around: Surroundings,
): Promise<PageSumState | null> {
  const isBase = object.minTxid === 1;
  if (!isBase && object.minTxid > found.object.maxTxid + 1) return null;
  const state = isBase ? around.builder.emptyTrial() : around.builder.trial();
  const context = { ...around, isForState: true };
  const isSound = await leadsToClaimOrNull(state, found.header.pageSizeBytes, object, context);
  if (isSound === true) return state;
  state.close();
  if (isSound === false) throw contradiction(found, object.key);
  return null;
}

/** The error about a time whose newest capture cannot be told. */
function notProven({ object }: ObjectFacts, timeMs: number, reason: string): WalrustError {
  const time = new Date(timeMs).toISOString();
  const what = `TXID ${object.maxTxid} cannot be proven to be the newest capture at or before ${time}`;
  return new WalrustError("integrity", `${what}: ${reason}`, {
    hint: `To restore that TXID: --point-in-time txid:${object.maxTxid}`,
    context: { txid: object.maxTxid },
  });
}

/**
 * Checks that no neighbour contradicts the state that an object leads to.
 * @throws WalrustError code "integrity" naming the object and the neighbour, or a storage code
 */
async function assertCorroborated(
  facts: ObjectFacts,
  around: Surroundings,
  makeTrial: MakeTrial,
): Promise<void> {
  const state = stateAfter(facts);
  const words = await neighbourWords(facts.object, state, around);
  const against = words.find(({ isAgreeing, isDoubtful }) => !isAgreeing && !isDoubtful);
  if (against !== undefined) throw contradiction(facts, against.key);
  const isConfirmed = words.some(({ isAgreeing, isDoubtful }) => isAgreeing && !isDoubtful);
  if (isConfirmed) return;
  const doubtful = words.find(({ isAgreeing }) => isAgreeing);
  if (doubtful !== undefined) throw contradiction(facts, `the object before ${doubtful.key}`);
  const isNamed = manifestAgreesOrNull(facts, around.manifest);
  if (isNamed === false) throw contradiction(facts, "the manifest");
  if (isNamed === null) await assertContinued(facts, around, makeTrial);
}

/**
 * Whether the manifest agrees with the chain value of its newest TXID, or with the size of a snapshot; null
 * if it names neither.
 */
function manifestAgreesOrNull({ object, metadata }: ObjectFacts, reading: ManifestReading): boolean | null {
  if (reading.kind !== "manifest") return null;
  const { latest, snapshots } = reading.manifest;
  const isNamed = latest.txid === object.maxTxid && /^[0-9a-f]{64}$/.test(latest.chain);
  if (isNamed && metadata.chain !== null) return latest.chain === metadata.chain;
  if (!Array.isArray(snapshots)) return null;
  const snapshot = snapshots.find((one) => one?.key === object.key);
  return Number.isSafeInteger(snapshot?.sizeBytes) && snapshot!.sizeBytes !== object.sizeBytes ? false : null;
}

/** Checks a state by the merged objects around it. */
async function assertContinued(
  facts: ObjectFacts,
  around: Surroundings,
  makeTrial: MakeTrial,
): Promise<void> {
  const { maxTxid } = facts.object;
  const spanning = around.listing
    .filter(({ minTxid, maxTxid: end }) => minTxid > 1 && minTxid <= maxTxid + 1 && end > maxTxid)
    .sort((a, b) => a.sizeBytes - b.sizeBytes)
    .slice(0, NEIGHBOURS_MAX);
  let against: LtxObject | null = null;
  for (const { object, postApplyChecksum } of await soundFacts(spanning, around)) {
    if (postApplyChecksum === NO_CHECKSUM) continue;
    const state = await makeTrial();
    if (state === null) return;
    try {
      const isLed = await leadsToClaimOrNull(state, facts.header.pageSizeBytes, object, around);
      if (isLed === true) return;
      if (isLed === false) against ??= object;
    } finally {
      state.close();
    }
  }
  if (against !== null) throw contradiction(facts, `${against.key} continues`);
}

async function neighbourWords(object: LtxObject, state: Described, around: Surroundings): Promise<Word[]> {
  const { listing } = around;
  const { maxTxid, key: ownKey } = object;
  const words: Word[] = [];
  const beside = listing.filter(({ key, maxTxid: end }) => end === maxTxid && key !== ownKey);
  for (const { object: neighbour, ...facts } of await soundFacts(beside, around)) {
    const isAgreeing = agreementOrNull(stateAfter({ object: neighbour, ...facts }), state);
    if (isAgreeing === null) continue;
    const isDoubtful = await contradictsPast({ object: neighbour, ...facts }, around, 2);
    words.push({ key: neighbour.key, isAgreeing, isDoubtful });
  }
  if (words.some(({ isAgreeing, isDoubtful }) => isAgreeing && !isDoubtful)) return words;
  const following = listing.filter(({ minTxid }) => minTxid === maxTxid + 1);
  for (const facts of await soundFacts(following, around)) {
    const isAgreeing = agreementOrNull(stateBefore(facts), state);
    if (isAgreeing === null) continue;
    words.push({ key: facts.object.key, isAgreeing, isDoubtful: await contradictsFuture(facts, around, 2) });
  }
  return words;
}

/**
 * Whether an object contradicts the object before it, which itself continues its own past.
 * @param depth how many objects back are asked
 */
async function contradictsPast(facts: ObjectFacts, around: Surroundings, depth: number): Promise<boolean> {
  const { minTxid } = facts.object;
  if (minTxid === 1 || depth === 0) return false;
  const before = around.listing.filter(({ maxTxid }) => maxTxid === minTxid - 1);
  for (const past of await soundFacts(before, around)) {
    if (agreementOrNull(stateAfter(past), stateBefore(facts)) !== false) continue;
    if (!(await contradictsPast(past, around, depth - 1))) return true;
  }
  return false;
}

/**
 * Whether the object that continues an object contradicts it, and itself agrees with its own future.
 * @param depth how many objects ahead are asked
 */
async function contradictsFuture(facts: ObjectFacts, around: Surroundings, depth: number): Promise<boolean> {
  if (depth === 0) return false;
  const { maxTxid } = facts.object;
  const after = around.listing.filter(({ minTxid }) => minTxid === maxTxid + 1);
  for (const future of await soundFacts(after, around)) {
    if (agreementOrNull(stateBefore(future), stateAfter(facts)) !== false) continue;
    if (!(await contradictsFuture(future, around, depth - 1))) return true;
  }
  return false;
}

/** The facts of the first objects that are sound, lower levels first. */
async function soundFacts(
  objects: readonly LtxObject[],
  { store, signal }: Surroundings,
): Promise<ObjectFacts[]> {
  const found: ObjectFacts[] = [];
  for (const object of objects.toSorted((a, b) => a.level - b.level).slice(0, NEIGHBOURS_MAX)) {
    try {
      const { facts, findings } = await checkEnds(store, object, signal);
      if (facts !== null && findings.length === 0) found.push(facts);
    } catch (error) {
      if (!hasCode(error, "not-found")) throw error;
    }
  }
  return found;
}

function stateAfter({ metadata, postApplyChecksum }: ObjectFacts): Described {
  return { chain: metadata.chain, checksum: postApplyChecksum };
}

function stateBefore({ metadata, header }: ObjectFacts): Described {
  return { chain: metadata.previousChain, checksum: header.preApplyChecksum };
}

/** Whether two descriptions of a state agree; null if they have nothing in common to compare. */
function agreementOrNull(one: Described, other: Described): boolean | null {
  const hasChains = one.chain !== null && other.chain !== null;
  const hasChecksums = one.checksum !== NO_CHECKSUM && other.checksum !== NO_CHECKSUM;
  if (hasChains && one.chain !== other.chain) return false;
  if (hasChecksums && one.checksum !== other.checksum) return false;
  return hasChains || hasChecksums ? true : null;
}

function contradiction({ object }: ObjectFacts, other: string): WalrustError {
  const { key, maxTxid } = object;
  return new WalrustError("integrity", `${key} leads to another state at TXID ${maxTxid} than ${other}`, {
    hint: "One of the two belongs to another history; run `walrust verify`, or restore another point",
    context: { key, txid: maxTxid },
  });
}
