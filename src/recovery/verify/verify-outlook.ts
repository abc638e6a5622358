/**
 * What damage leaves: from which TXID on everything can be restored all the same, and which objects to delete
 * to be rid of it. Pure.
 *
 * Said only where the findings are about single objects or about holes, and only as far as objects were read.
 * Where objects contradict each other (a chain, a checksum, the manifest), nobody knows which one is right:
 * then nothing is said.
 */
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { newestTxid, plannableTxids } from "../plan/restore-plan.ts";
import type { Finding, FindingCode, Outlook } from "./verify-report.ts";

/** Findings that make one object useless and say nothing of the others. */
const OBJECT_CODES: ReadonlySet<FindingCode> = new Set([
  "missing-object",
  "corrupt-object",
  "bad-size",
  "wrong-key",
  "time-mismatch",
  "bad-metadata",
  "bad-sha256",
  "restore-failed",
]);

/** Keys that a description names. */
const NAMED_MAX = 10;

/** Judges what is left, or null where nothing is damaged or nothing certain can be said. */
export function planOutlookOrNull(
  objects: readonly LtxObject[],
  findings: readonly Finding[],
  omittedFindings: number,
): Outlook | null {
  const errors = findings.filter(({ severity }) => severity === "error");
  const isJudged = errors.every(({ code, object }) => {
    return code === "gap" || (OBJECT_CODES.has(code) && object !== null);
  });
  if (errors.length === 0 || omittedFindings > 0 || !isJudged) return null;
  const bad = new Set(errors.filter(({ code }) => code !== "gap").map(({ object }) => object));
  const sound = objects.filter(({ key }) => !bad.has(key));
  const newest = newestTxid(objects);
  const points = plannableTxids(sound);
  if (newest === 0 || points.at(-1) !== newest) return null;
  const holeEndTxid = lastHoleEnd(sound, newest);
  const lostTxid = newestLost(objects, points);
  const soundFromTxid = points.find((txid) => txid > lostTxid && txid >= holeEndTxid)!;
  // Behind the last hole there is a snapshot, else nothing would lead to the newest TXID: with it the history
  // may begin anew.
  const bases = sound.filter(({ minTxid }) => minTxid === 1).sort((a, b) => a.maxTxid - b.maxTxid);
  const firstBase = bases.find(({ maxTxid }) => maxTxid >= holeEndTxid)!;
  const givenUp = bases.filter(({ maxTxid }) => maxTxid < firstBase.maxTxid);
  const removals = [...objects.filter(({ key }) => bad.has(key)), ...givenUp].map(({ key }) => key);
  const keptFromTxid = givenUp.length > 0 ? firstBase.maxTxid : null;
  return { soundFromTxid, newestTxid: newest, removals, keptFromTxid };
}

/** The last TXID that no increment or compaction holds, from the oldest snapshot on; 0: there is none. */
function lastHoleEnd(objects: readonly LtxObject[], newest: Txid): number {
  const bases = objects.filter(({ minTxid }) => minTxid === 1).map(({ maxTxid }) => maxTxid);
  let reached = bases.reduce<number>((min, txid) => Math.min(min, txid), newest);
  let holeEnd = 0;
  const increments = objects.filter(({ level }) => level !== SNAPSHOT_LEVEL);
  for (const { minTxid, maxTxid } of increments.sort((a, b) => a.minTxid - b.minTxid)) {
    if (minTxid > reached + 1) holeEnd = minTxid - 1;
    reached = Math.max(reached, maxTxid);
  }
  return reached < newest ? newest : holeEnd;
}

/** The greatest TXID of the listing that nothing leads to any more, or 0. */
function newestLost(objects: readonly LtxObject[], points: readonly Txid[]): number {
  const restorable = new Set<number>(points);
  let lost = 0;
  for (const { maxTxid } of objects) if (!restorable.has(maxTxid)) lost = Math.max(lost, maxTxid);
  return lost;
}

/** Says it, in sentences for a report. */
export function describeOutlook(name: string, outlook: Outlook): string[] {
  const { soundFromTxid, newestTxid: newest, removals, keptFromTxid } = outlook;
  const state = `the newest state (TXID ${newest}) and everything from TXID ${soundFromTxid} on`;
  const sentences = [`${state} can be restored, as far as was read`];
  const keys = removals.slice(0, NAMED_MAX).join(" ");
  const more = removals.length > NAMED_MAX ? ` and ${removals.length - NAMED_MAX} more` : "";
  const price = keptFromTxid === null ? "" : `, giving up what is before TXID ${keptFromTxid}`;
  sentences.push(`to get clean${price}: delete ${keys}${more}; then walrust verify ${name} --fix`);
  return sentences;
}
