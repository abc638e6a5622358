/**
 * Compares an object with its neighbours: chain and database checksums from one object to the object that
 * continues it, and between two objects that lead to the same TXID. Pure.
 *
 * A missing value contradicts nothing: Litestream wrote the object, or the storage lost its metadata.
 */
import { CHAIN_ZERO, hex, isChainLink } from "../../format/chain.ts";
import { formatChecksum, type LtxHeader } from "../../format/ltx.ts";
import { type Checksum, NO_CHECKSUM } from "../../format/types.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import { CLAIMED_SIZE_MAX } from "./growth-limit.ts";
import { type ObjectFinding, objectFinding } from "./object-finding.ts";
import { holdsAllPages, pagesMax } from "./object-size.ts";

/** The claims of an object whose header agrees with its key. */
export interface ObjectFacts {
  readonly object: LtxObject;
  readonly header: LtxHeader;
  readonly postApplyChecksum: Checksum;
  readonly metadata: WalrustMetadata;
}

/** The state that an object leads to, as the object claims. */
export interface StatePoint {
  readonly key: string;
  /** Chain value, 64 hex digits, or null. */
  readonly chain: string | null;
  readonly checksum: Checksum;
  readonly pageSizeBytes: number;
  readonly commit: number;
}

const CHAIN_ZERO_HEX = hex(CHAIN_ZERO);

/** The state that an object leads to. */
export function stateAfter({ object, header, postApplyChecksum, metadata }: ObjectFacts): StatePoint {
  const { pageSizeBytes, commit } = header;
  return { key: object.key, chain: metadata.chain, checksum: postApplyChecksum, pageSizeBytes, commit };
}

/** Whether an object carries its SHA-256 and all of its place in the chain. */
export function isChained(object: LtxObject, metadata: WalrustMetadata): boolean {
  const { sha256, chain, previousChain } = metadata;
  return sha256 !== null && chain !== null && (previousChain !== null || !isChainLink(object));
}

/** Checks that an object continues the chain value of the object before it. */
export function chainLinkFindings(
  object: LtxObject,
  { previousChain }: Pick<WalrustMetadata, "previousChain">,
  before: { readonly key: string; readonly chain: string | null },
): ObjectFinding[] {
  if (previousChain === null || before.chain === null || previousChain === before.chain) return [];
  const what = `continues chain value ${previousChain}, ${before.key} ends at ${before.chain}`;
  return [objectFinding(object, "broken-chain", what)];
}

/** Checks that an object continues the state before its first TXID. */
export function continuationFindings(facts: ObjectFacts, before: StatePoint): ObjectFinding[] {
  const { object, header, metadata } = facts;
  const findings = chainLinkFindings(object, metadata, before);
  const add = (code: ObjectFinding["code"], what: string): void =>
    void findings.push(objectFinding(object, code, what));
  const { chain, previousChain } = metadata;
  // After an object of Litestream a new chain begins with zeros. Any other value means that a gateway lost
  // the chain value of the object before; then the checksums have to prove the link.
  const isLost = before.chain === null && previousChain !== CHAIN_ZERO_HEX;
  const isStated = chain !== null && previousChain !== null;
  if (isStated && isLost && !isSameChecksum(header.preApplyChecksum, before.checksum)) {
    add("broken-chain", `continues chain value ${previousChain}, ${before.key} lost its own value`);
  }
  if (contradict(header.preApplyChecksum, before.checksum)) {
    const found = `${formatChecksum(header.preApplyChecksum)}, ${before.key} leads to`;
    add("checksum-mismatch", `applies to database checksum ${found} ${formatChecksum(before.checksum)}`);
  }
  const growth = header.commit - before.commit - pagesMax(header, object.sizeBytes);
  if (growth > CLAIMED_SIZE_MAX / header.pageSizeBytes) {
    const change = `from ${before.commit} to ${header.commit} pages`;
    add("bad-size", `grows the database ${change} without holding the new ones`);
  }
  if (header.pageSizeBytes !== before.pageSizeBytes && !holdsAllPages(header, object.sizeBytes)) {
    const change = `from ${before.pageSizeBytes} to ${header.pageSizeBytes} bytes`;
    add("page-size-mismatch", `changes the page size ${change} without holding all pages`);
  }
  return findings;
}

/** Checks that an object leads to the same state as another object with the same last TXID. */
export function agreementFindings(facts: ObjectFacts, same: StatePoint): ObjectFinding[] {
  const { object, header, postApplyChecksum, metadata } = facts;
  const findings: ObjectFinding[] = [];
  const { chain } = metadata;
  if (chain !== null && same.chain !== null && chain !== same.chain) {
    const what = `has chain value ${chain}, ${same.key} has ${same.chain} at the same TXID`;
    findings.push(objectFinding(object, "broken-chain", what));
  }
  if (contradict(postApplyChecksum, same.checksum)) {
    const found = `${formatChecksum(postApplyChecksum)}, ${same.key} to ${formatChecksum(same.checksum)}`;
    findings.push(objectFinding(object, "checksum-mismatch", `leads to database checksum ${found}`));
  }
  if (header.pageSizeBytes !== same.pageSizeBytes) {
    const found = `${header.pageSizeBytes}, ${same.key} of ${same.pageSizeBytes}`;
    const what = `has pages of ${found} bytes at the same TXID`;
    findings.push(objectFinding(object, "page-size-mismatch", what));
  }
  return findings;
}

/** Checks that an object begins in the same state as another object with the same first TXID. */
export function beginningFindings(facts: ObjectFacts, same: ObjectFacts): ObjectFinding[] {
  const { object, header, metadata } = facts;
  const findings: ObjectFinding[] = [];
  const [own, other] = [metadata.previousChain, same.metadata.previousChain];
  if (own !== null && other !== null && own !== other) {
    const what = `continues chain value ${own}, ${same.object.key} continues ${other} at the same TXID`;
    findings.push(objectFinding(object, "broken-chain", what));
  }
  if (contradict(header.preApplyChecksum, same.header.preApplyChecksum)) {
    const expected = `${same.object.key} to ${formatChecksum(same.header.preApplyChecksum)}`;
    const what = `applies to database checksum ${formatChecksum(header.preApplyChecksum)}, ${expected}`;
    findings.push(objectFinding(object, "checksum-mismatch", what));
  }
  return findings;
}

/** Whether both checksums exist and differ. */
function contradict(a: Checksum, b: Checksum): boolean {
  return a !== NO_CHECKSUM && b !== NO_CHECKSUM && a !== b;
}

/** Whether both checksums exist and are equal. */
function isSameChecksum(a: Checksum, b: Checksum): boolean {
  return a !== NO_CHECKSUM && a === b;
}
