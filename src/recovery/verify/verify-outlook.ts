/**
 * Plans the outlook of a damaged database: the TXID from which on everything can be restored, and the objects
 * to delete for a clean bucket. Pure.
 *
 * There is an outlook only if every finding is about a single object or a gap, and it holds as far as objects
 * were read. When objects contradict each other (chain, checksum, manifest), nobody knows which one is right,
 * and there is no outlook.
 */
import { SNAPSHOT_LEVEL } from "../../format/keys.ts";
import type { Txid } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { newestTxid, plannableTxids } from "../plan/restore-plan.ts";
import type { Finding, FindingCode, Outlook } from "./verify-report.ts";

/** Findings that make one object unusable and do not concern the others. */
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

/** The most keys that a description names. */
const NAMED_MAX = 10;

/** Plans the outlook; null when nothing is damaged, or nothing certain follows from the findings. */
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
  // A path leads to the newest TXID, so a snapshot stands after the last gap: the history may begin with it.
  const bases = sound.filter(({ minTxid }) => minTxid === 1).sort((a, b) => a.maxTxid - b.maxTxid);
  const firstBase = bases.find(({ maxTxid }) => maxTxid >= holeEndTxid)!;
  const givenUp = bases.filter(({ maxTxid }) => maxTxid < firstBase.maxTxid);
  const removals = [...objects.filter(({ key }) => bad.has(key)), ...givenUp].map(({ key }) => key);
  const keptFromTxid = givenUp.length > 0 ? firstBase.maxTxid : null;
  return { soundFromTxid, newestTxid: newest, removals, keptFromTxid };
}

/** The last TXID after the oldest snapshot that no increment or compaction holds; 0 without a gap. */
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

/** The greatest TXID of the listing that no path leads to any more, or 0. */
function newestLost(objects: readonly LtxObject[], points: readonly Txid[]): number {
  const restorable = new Set<number>(points);
  let lost = 0;
  for (const { maxTxid } of objects) if (!restorable.has(maxTxid)) lost = Math.max(lost, maxTxid);
  return lost;
}

/** Describes an outlook in sentences for a report. */
export function describeOutlook(name: string, outlook: Outlook): string[] {
  const { soundFromTxid, newestTxid: newest, removals, keptFromTxid } = outlook;
  const state = `the newest state (TXID ${newest}) and everything from TXID ${soundFromTxid} on`;
  const sentences = [`${state} can be restored, as far as was read`];
  const keys = removals.slice(0, NAMED_MAX).join(" ");
  const more = removals.length > NAMED_MAX ? ` and ${removals.length - NAMED_MAX} more` : "";
  const price = keptFromTxid === null ? "" : `, without the points before TXID ${keptFromTxid}`;
  sentences.push(`for a clean bucket${price}: delete ${keys}${more}; then run walrust verify ${name} --fix`);
  return sentences;
}
