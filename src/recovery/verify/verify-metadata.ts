/**
 * Counts the objects that lost metadata: gateways and copies between buckets drop metadata that they do not
 * know. A restore works without (sizes come from the listing, times and checksums from the LTX files), but
 * the SHA-256 chain cannot be checked. Pure.
 *
 * Objects of Litestream never had metadata. Two signs tell them apart: walrust's objects carry database
 * checksums, and a history of walrust that continues one of Litestream begins a new chain with zeros.
 */
import { CHAIN_ZERO, hex, isChainLink } from "../../format/chain.ts";
import { NO_CHECKSUM } from "../../format/types.ts";
import { isChained, type ObjectFacts } from "../object/object-links.ts";
import type { Findings } from "./verify-report.ts";

const CHAIN_ZERO_HEX = hex(CHAIN_ZERO);

/** Counts the objects of walrust that lost metadata. */
export class LostMetadata {
  #isOurs: boolean;
  #count = 0;
  #firstKey: string | null = null;
  /** Key of the previous object if it lacks metadata. */
  #lastKey: string | null = null;
  readonly #fields = new Set<string>();

  /** @param hasManifest whether walrust wrote a manifest in the bucket */
  constructor(hasManifest: boolean) {
    this.#isOurs = hasManifest;
  }

  /** Adds the next object, by ascending last TXID. */
  add({ object, metadata, postApplyChecksum }: ObjectFacts): void {
    const { sha256, chain, previousChain, writer } = metadata;
    this.#lastKey = null;
    if (writer !== null || chain !== null) this.#isOurs = true;
    if (object.minTxid > 1 && previousChain === CHAIN_ZERO_HEX) this.#forget();
    if (postApplyChecksum === NO_CHECKSUM || (isChained(object, metadata) && writer !== null)) return;
    this.#count++;
    this.#firstKey ??= object.key;
    this.#lastKey = object.key;
    // A later snapshot begins at TXID 1, so it has no chain value before its first TXID.
    const before = isChainLink(object) ? previousChain : "";
    const missing = { sha256, chain, "prev-chain": before, "walrust-writer": writer };
    for (const [field, value] of Object.entries(missing)) if (value === null) this.#fields.add(field);
  }

  /** Removes the previous object: it is damaged, or the present one is. */
  dropLast(): void {
    if (this.#lastKey === null) return;
    this.#count--;
    if (this.#firstKey === this.#lastKey) this.#firstKey = null;
    this.#lastKey = null;
  }

  /** Forgets all objects so far: another tool wrote what precedes the beginning of a chain. */
  #forget(): void {
    this.#count = 0;
    this.#firstKey = null;
    this.#fields.clear();
  }

  /** Adds one finding about all objects. @returns their number */
  report(findings: Findings): number {
    if (!this.#isOurs || this.#count === 0) return 0;
    const others = this.#count === 1 ? "" : ` and ${this.#count - 1} more`;
    const message =
      `${this.#firstKey}${others} lost metadata in the storage (${[...this.#fields].join(", ")}): ` +
      "the SHA-256 chain is not checked there, their LTX checksums are";
    findings.add("metadata-lost", this.#firstKey, null, message);
    return this.#count;
  }
}
