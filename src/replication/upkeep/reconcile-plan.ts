/**
 * Decides whether a listing leads to the newest acknowledged TXID, and which unfinished uploads are
 * abandoned: pure functions of listings.
 *
 * The acknowledged TXID can be restored if and only if the listing holds an object with the whole database,
 * and from the newest such object, objects that each begin at or before the next TXID lead to the
 * acknowledged one. The newest whole database is enough: a path from an older one can also continue from it.
 */
import { parseObjectKey } from "../../format/keys.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { UnfinishedUpload } from "../../storage/contract/store.ts";

/** The state of a listed history. */
export type HistoryCheck =
  | { readonly kind: "sound" }
  /** No object begins a restore. */
  | { readonly kind: "no-base" }
  /** No object continues after this TXID. */
  | { readonly kind: "gap"; readonly afterTxid: number; readonly nextTxid: number | null };

/**
 * Checks whether the listed objects lead to a TXID.
 * @param acknowledgedTxid the newest TXID that the store had acknowledged before the listing
 */
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

/** The problem as a clause; null for a sound history. */
export function historyProblemOrNull(history: HistoryCheck, acknowledgedTxid: number): string | null {
  if (history.kind === "sound") return null;
  if (history.kind === "no-base") {
    const what = "the bucket holds no snapshot to begin a restore with";
    return `${what}, though TXID ${acknowledgedTxid} was acknowledged`;
  }
  const { afterTxid, nextTxid } = history;
  const last = nextTxid === null ? acknowledgedTxid : nextTxid - 1;
  return `the bucket lacks TXID ${afterTxid + 1} to ${last}, which it had acknowledged`;
}

const HOUR_MS = 3_600_000;
/** An unknown upload that only this writer can have begun is aborted at this age. */
const OWN_AGE_MS = HOUR_MS;
/** An upload that another writer may have begun is aborted at this age. */
const ANY_AGE_MS = 7 * 24 * HOUR_MS;

/** The facts that decide about unfinished uploads. */
export interface UploadFacts {
  readonly layout: "s3" | "file";
  readonly name: string;
  /** The keys of the listing. */
  readonly keys: ReadonlySet<string>;
  readonly acknowledgedTxid: number;
  /** Whether the newest object is ours, so that no other writer writes below it. */
  readonly isOurs: boolean;
  readonly nowMs: number;
}

/**
 * The abandoned multipart uploads of a database, never one that another writer may still complete. An upload
 * is abandoned if and only if
 * 1. its key exists, so that a create-only completion must fail, or
 * 2. it is an hour old and lies below our own newest acknowledged TXID, or
 * 3. it is a week old.
 * @param uploads unfinished uploads, without those of this process
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
