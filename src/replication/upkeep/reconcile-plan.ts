/**
 * Whether what the bucket lists leads to what it has acknowledged: pure, over a listing.
 *
 * The acknowledged TXID can be restored if and only if an object that holds the whole database is listed, and
 * from the newest of those on objects that each begin at or before the next TXID reach the acknowledged one.
 * The newest one is enough: every path from an older one goes on from it, too.
 */
import { parseObjectKey } from "../../format/keys.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { UnfinishedUpload } from "../../storage/contract/store.ts";

/** What a listing shows of a history. */
export type HistoryCheck =
  | { readonly kind: "sound" }
  /** Nothing to begin a restore with. */
  | { readonly kind: "no-base" }
  /** Nothing leads on from here. */
  | { readonly kind: "gap"; readonly afterTxid: number; readonly nextTxid: number | null };

/** @param acknowledgedTxid the newest TXID that the store had acknowledged before it was listed */
export function checkHistory(objects: readonly LtxObject[], acknowledgedTxid: number): HistoryCheck {
  const isBase = ({ minTxid }: LtxObject): boolean => minTxid === 1;
  let reachedTxid = objects.filter(isBase).reduce((max, { maxTxid }) => Math.max(max, maxTxid), 0);
  if (acknowledgedTxid === 0) return { kind: "sound" };
  if (reachedTxid === 0) return { kind: "no-base" };
  const others = objects.filter((object) => !isBase(object)).sort((a, b) => a.minTxid - b.minTxid);
  for (const { minTxid, maxTxid } of others) {
    if (reachedTxid >= acknowledgedTxid) break;
    if (minTxid > reachedTxid + 1) return { kind: "gap", afterTxid: reachedTxid, nextTxid: minTxid };
    reachedTxid = Math.max(reachedTxid, maxTxid);
  }
  if (reachedTxid >= acknowledgedTxid) return { kind: "sound" };
  return { kind: "gap", afterTxid: reachedTxid, nextTxid: null };
}

/** What is wrong, as a clause; null when nothing is. */
export function historyProblemOrNull(standing: HistoryCheck, acknowledgedTxid: number): string | null {
  if (standing.kind === "sound") return null;
  if (standing.kind === "no-base") {
    const what = "the bucket holds no snapshot to begin a restore with";
    return `${what}, though TXID ${acknowledgedTxid} was acknowledged`;
  }
  const { afterTxid, nextTxid } = standing;
  const last = nextTxid === null ? acknowledgedTxid : nextTxid - 1;
  return `the bucket lacks TXID ${afterTxid + 1} to ${last}, which it had acknowledged`;
}

const HOUR_MS = 3_600_000;
/** An upload of our own that this process does not know is given up when it is this old. */
const OWN_AGE_MS = HOUR_MS;
/** So is one that may be another writer's. */
const ANY_AGE_MS = 7 * 24 * HOUR_MS;

/** What is known when unfinished uploads are judged. */
export interface UploadFacts {
  readonly layout: "s3" | "file";
  readonly name: string;
  /** The keys that are listed. */
  readonly keys: ReadonlySet<string>;
  readonly acknowledgedTxid: number;
  /** Whether the newest object is ours: then nobody else was writing below it. */
  readonly isOurs: boolean;
  readonly nowMs: number;
}

/**
 * The unfinished uploads of a database that nobody will end. Never one that another writer may be at: an
 * upload counts as abandoned
 * 1. if its key is there, for then it cannot end well any more, whoever began it;
 * 2. if it is an hour old and below what we have written and acknowledged ourselves;
 * 3. if it is a week old.
 * @param uploads without those that this process works on
 */
export function planAbandoned(
  uploads: readonly UnfinishedUpload[],
  facts: UploadFacts,
): readonly UnfinishedUpload[] {
  return uploads.filter(({ key, initiatedMs }) => {
    const named = parseObjectKey(facts.layout, key);
    if (named === null || named.database !== facts.name) return false;
    const ageMs = facts.nowMs - initiatedMs;
    const isBelow = facts.isOurs && named.maxTxid <= facts.acknowledgedTxid;
    return facts.keys.has(key) || ageMs >= ANY_AGE_MS || (isBelow && ageMs >= OWN_AGE_MS);
  });
}
