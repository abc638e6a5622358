/**
 * Whether objects fit together: the SHA-256 chain and the database checksums from each object to the one that
 * continues it, and between objects of different levels that end at the same TXID. Pure.
 *
 * Objects are handed in by ascending last TXID, so whatever ends at n has been seen before what begins at n +
 * 1 and ends later. Memory: one mark for each TXID that a longer object still to come continues, and two
 * more.
 */
import { CHAIN_ZERO, hex } from "../../format/chain.ts";
import { formatChecksum, type LtxHeader } from "../../format/ltx.ts";
import { type Checksum, NO_CHECKSUM } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import { CLAIMED_SIZE_MAX } from "../object/growth-limit.ts";
import type { Findings } from "./verify-report.ts";
import { holdsAllPages, pagesMax } from "./verify-size.ts";

/** What an object says about itself, once its header agrees with its key. */
export interface ObjectFacts {
  readonly object: LtxObject;
  readonly header: LtxHeader;
  readonly postApplyChecksum: Checksum;
  readonly metadata: WalrustMetadata;
}

/** What is known of the state at a TXID, and which object said so first. */
interface Mark {
  readonly key: string;
  readonly chain: string | null;
  readonly checksum: Checksum;
  readonly pageSizeBytes: number;
  readonly commit: number;
}

const CHAIN_ZERO_HEX = hex(CHAIN_ZERO);

/** The order in which objects are handed in. */
export function compareForLinks(a: LtxObject, b: LtxObject): number {
  return a.maxTxid - b.maxTxid || a.level - b.level || a.minTxid - b.minTxid;
}

/** Follows the links of one database. */
export class LinkChecker {
  readonly #findings: Findings;
  readonly #marks = new Map<number, Mark>();
  /** TXIDs that an object of more than one TXID continues. */
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
    if (before !== undefined) this.#checkContinuation(facts, before);
    const same = this.#marks.get(maxTxid);
    if (same !== undefined) this.#checkAgreement(facts, same);
    this.#marks.set(maxTxid, mergeMark(same, facts));
  }

  #moveTo(txid: number): void {
    if (!this.#continuedLate.has(this.#previousTxid)) this.#marks.delete(this.#previousTxid);
    this.#previousTxid = this.#currentTxid;
    this.#currentTxid = txid;
  }

  #checkContinuation({ object, header, metadata }: ObjectFacts, before: Mark): void {
    const { chain, previousChain } = metadata;
    const isStated = chain !== null && previousChain !== null;
    if (isStated && before.chain !== null && previousChain !== before.chain) {
      this.#add(
        "broken-chain",
        object,
        `continues chain value ${previousChain}, ${before.key} ends at ${before.chain}`,
      );
    }
    // An object that continues one of Litestream's begins a new chain with zeros. Any other value means that
    // the object before had a chain value, and a gateway lost it: then the checksums prove the link.
    const isLost = before.chain === null && previousChain !== CHAIN_ZERO_HEX;
    if (isStated && isLost && !isSameChecksum(header.preApplyChecksum, before.checksum)) {
      this.#add(
        "broken-chain",
        object,
        `continues chain value ${previousChain}, ${before.key} has lost its own`,
      );
    }
    if (header.preApplyChecksum !== NO_CHECKSUM && before.checksum !== NO_CHECKSUM) {
      if (header.preApplyChecksum !== before.checksum) {
        const found = `${formatChecksum(header.preApplyChecksum)}, ${before.key} leads to`;
        this.#add(
          "checksum-mismatch",
          object,
          `applies to database checksum ${found} ${formatChecksum(before.checksum)}`,
        );
      }
    }
    const growth = header.commit - before.commit - pagesMax(header, object.sizeBytes);
    if (growth > CLAIMED_SIZE_MAX / header.pageSizeBytes) {
      const change = `from ${before.commit} to ${header.commit} pages`;
      this.#add("bad-size", object, `grows the database ${change} without holding the new ones`);
    }
    if (header.pageSizeBytes !== before.pageSizeBytes && !holdsAllPages(header, object.sizeBytes)) {
      const change = `from ${before.pageSizeBytes} to ${header.pageSizeBytes} bytes`;
      this.#add("page-size-mismatch", object, `changes the page size ${change} without holding all pages`);
    }
  }

  #checkAgreement({ object, header, postApplyChecksum, metadata }: ObjectFacts, same: Mark): void {
    const { chain } = metadata;
    if (chain !== null && same.chain !== null && chain !== same.chain) {
      this.#add(
        "broken-chain",
        object,
        `has chain value ${chain}, ${same.key} has ${same.chain} at the same TXID`,
      );
    }
    if (postApplyChecksum !== NO_CHECKSUM && same.checksum !== NO_CHECKSUM) {
      if (postApplyChecksum !== same.checksum) {
        const found = `${formatChecksum(postApplyChecksum)}, ${same.key} to ${formatChecksum(same.checksum)}`;
        this.#add("checksum-mismatch", object, `leads to database checksum ${found}`);
      }
    }
    if (header.pageSizeBytes !== same.pageSizeBytes) {
      const found = `${header.pageSizeBytes}, ${same.key} of ${same.pageSizeBytes}`;
      this.#add("page-size-mismatch", object, `has pages of ${found} bytes at the same TXID`);
    }
  }

  #add(code: Parameters<Findings["add"]>[0], object: LtxObject, message: string): void {
    this.#findings.add(code, object.key, object.maxTxid, message);
  }
}

/** Whether both are there and the same. */
function isSameChecksum(a: Checksum, b: Checksum): boolean {
  return a !== NO_CHECKSUM && a === b;
}

/** The first value that anybody carries stands. */
function mergeMark(
  same: Mark | undefined,
  { object, header, postApplyChecksum, metadata }: ObjectFacts,
): Mark {
  const { pageSizeBytes, commit } = header;
  if (same === undefined) {
    return { key: object.key, chain: metadata.chain, checksum: postApplyChecksum, pageSizeBytes, commit };
  }
  const chain = same.chain ?? metadata.chain;
  const checksum = same.checksum === NO_CHECKSUM ? postApplyChecksum : same.checksum;
  return { ...same, chain, checksum };
}
