/**
 * Checks the links between all objects of a database: from each object to the object that continues it, and
 * between objects of different levels that end at the same TXID. Pure; object/object-links.ts compares two
 * objects.
 *
 * Objects come by ascending last TXID, so an object that ends at n comes before an object that begins at n +
 * 1 and ends later. Memory: one state for each TXID that a longer, later object continues, and two more.
 */
import { NO_CHECKSUM } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ObjectFinding } from "../object/object-finding.ts";
import {
  agreementFindings,
  continuationFindings,
  type ObjectFacts,
  type StatePoint,
  stateAfter,
} from "../object/object-links.ts";
import type { Findings } from "./verify-report.ts";

/** Compares two objects by the order in which the checker takes them. */
export function compareForLinks(a: LtxObject, b: LtxObject): number {
  return a.maxTxid - b.maxTxid || a.level - b.level || a.minTxid - b.minTxid;
}

/** Checks the links of one database, object by object. */
export class LinkChecker {
  readonly #findings: Findings;
  readonly #marks = new Map<number, StatePoint>();
  /** TXIDs that an object with more than one TXID continues. */
  readonly #continuedLate: ReadonlySet<number>;
  #currentTxid = 0;
  #previousTxid = 0;

  constructor(objects: readonly LtxObject[], findings: Findings) {
    this.#findings = findings;
    this.#continuedLate = new Set(
      objects.filter(({ minTxid, maxTxid }) => maxTxid > minTxid).map(({ minTxid }) => minTxid - 1),
    );
  }

  /** Checks the next object, in the order of compareForLinks. */
  add(facts: ObjectFacts): void {
    const { minTxid, maxTxid } = facts.object;
    if (maxTxid !== this.#currentTxid) this.#moveTo(maxTxid);
    const before = minTxid === 1 ? undefined : this.#marks.get(minTxid - 1);
    if (before !== undefined) this.#add(facts, continuationFindings(facts, before));
    const same = this.#marks.get(maxTxid);
    if (same !== undefined) this.#add(facts, agreementFindings(facts, same));
    this.#marks.set(maxTxid, mergePoint(same, facts));
  }

  #moveTo(txid: number): void {
    if (!this.#continuedLate.has(this.#previousTxid)) this.#marks.delete(this.#previousTxid);
    this.#previousTxid = this.#currentTxid;
    this.#currentTxid = txid;
  }

  #add({ object }: ObjectFacts, findings: readonly ObjectFinding[]): void {
    for (const { code, message } of findings) this.#findings.add(code, object.key, object.maxTxid, message);
  }
}

/** Joins two states at one TXID: the first object that carries a value decides. */
function mergePoint(same: StatePoint | undefined, facts: ObjectFacts): StatePoint {
  const point = stateAfter(facts);
  if (same === undefined) return point;
  const checksum = same.checksum === NO_CHECKSUM ? point.checksum : same.checksum;
  return { ...same, chain: same.chain ?? point.chain, checksum };
}
