/**
 * Applies one fetched LTX object to a database under construction, with every check an object can be put to:
 * SHA-256, key and metadata against its header, LTX checksums, and its link of the SHA-256 chain.
 */
import { WalrustError } from "../../errors.ts";
import { CHAIN_ZERO, hex, isChainLink, nextChain, parseHex32 } from "../../format/chain.ts";
import type { LtxHeader, LtxTrailer } from "../../format/ltx.ts";
import { LtxDecoder } from "../../format/ltx-decoder.ts";
import { type LtxObject, withKey } from "../../storage/bucket/catalog.ts";
import { decodeMetadata, type WalrustMetadata } from "../../storage/contract/object-metadata.ts";
import type { FetchedObject } from "../object/object-source.ts";
import type { DatabaseBuilder } from "./database-builder.ts";

/** What an object is applied to: a database under construction, or a replica in a transaction. */
export type ObjectTarget = Pick<DatabaseBuilder, "begin" | "page" | "end">;

/** How far a path has been checked, from object to object. */
export interface PathState {
  /** TXID that was reached, 0 at the start. */
  txid: number;
  /** Chain value there, 64 hex digits, or null where the objects carry none. */
  chain: string | null;
  /** Objects whose SHA-256 and chain link were checked. */
  chainedObjects: number;
  /** Objects without such metadata: written by Litestream, or a gateway lost it. */
  unchainedObjects: number;
}

/** The start of a path. */
export function startOfPath(): PathState {
  return { txid: 0, chain: null, chainedObjects: 0, unchainedObjects: 0 };
}

/**
 * Applies one object.
 * @throws WalrustError codes "corrupt" or "integrity" naming the object; the builder is worthless then
 */
export async function applyObject(
  fetched: FetchedObject,
  builder: ObjectTarget,
  path: PathState,
  onBytes: (byteCount: number) => void,
): Promise<void> {
  const { object } = fetched;
  const metadata = decodeMetadata(object.key, fetched.metadata);
  const hasher = new Bun.CryptoHasher("sha256");
  const decoder = new LtxDecoder();
  let header: LtxHeader | null = null;
  let sizeBytes = 0;
  for await (const chunk of fetched.chunks) {
    hasher.update(chunk);
    sizeBytes += chunk.length;
    if (sizeBytes > object.sizeBytes)
      throw integrity(object, `is longer than the ${object.sizeBytes} bytes listed`);
    withKey(object.key, () => decoder.push(chunk));
    while (withKey(object.key, () => decoder.next())) {
      header ??= begin(decoder, object, metadata, builder);
      builder.page(decoder.pgno, decoder.page);
    }
    onBytes(chunk.length);
  }
  if (sizeBytes !== object.sizeBytes) {
    throw integrity(object, `has ${sizeBytes} bytes, the listing says ${object.sizeBytes}`);
  }
  const sha256 = new Uint8Array(hasher.digest());
  checkSha(object, metadata, sha256);
  const trailer: LtxTrailer = withKey(object.key, () => decoder.finish());
  if (header === null) begin(decoder, object, metadata, builder);
  builder.end(object.key, trailer);
  checkChain(object, metadata, sha256, path);
  path.txid = object.maxTxid;
}

/** The first page has come, so the header is complete: it has to agree with the key and the metadata. */
function begin(
  decoder: LtxDecoder,
  object: LtxObject,
  metadata: WalrustMetadata,
  builder: ObjectTarget,
): LtxHeader {
  const { header } = decoder;
  if (header === null) throw integrity(object, "ends before its header");
  if (header.minTxid !== object.minTxid || header.maxTxid !== object.maxTxid) {
    throw integrity(object, `says in its header that it is TXID ${header.minTxid} to ${header.maxTxid}`);
  }
  if (metadata.timeMs !== null && metadata.timeMs !== header.timestampMs) {
    const headerTime = new Date(header.timestampMs).toISOString();
    throw integrity(
      object,
      `has the time ${new Date(metadata.timeMs).toISOString()}, its header ${headerTime}`,
    );
  }
  builder.begin(object.key, header, object.sizeBytes);
  return header;
}

function checkSha(object: LtxObject, metadata: WalrustMetadata, sha256: Uint8Array): void {
  if (metadata.sha256 !== null && metadata.sha256 !== hex(sha256)) {
    throw integrity(object, `has SHA-256 ${hex(sha256)}, its metadata says ${metadata.sha256}`);
  }
}

/**
 * Checks the link from the path so far to this object, and moves the path's chain value on. A value that is
 * missing is no contradiction: a gateway lost it, or Litestream wrote the object. The LTX checksums prove the
 * object all the same.
 */
function checkChain(object: LtxObject, metadata: WalrustMetadata, sha256: Uint8Array, path: PathState): void {
  const { chain, previousChain } = metadata;
  const isLink = isChainLink(object);
  const isContinuation = path.txid > 0 && object.minTxid === path.txid + 1;
  if (isContinuation && path.chain !== null && previousChain !== null && previousChain !== path.chain) {
    throw integrity(
      object,
      `continues chain value ${previousChain}, the object before it ends at ${path.chain}`,
    );
  }
  const before = previousChain ?? (isContinuation ? path.chain : null);
  if (isLink && before !== null && chain !== null) {
    if (hex(nextChain(parseHex32(before), sha256)) !== chain) {
      throw integrity(object, "does not follow from its own previous chain value");
    }
    if (object.maxTxid === 1 && before !== hex(CHAIN_ZERO)) {
      throw integrity(object, "is the first snapshot but does not begin the chain");
    }
  }
  path.chain = chain;
  if (isChained(object, metadata)) path.chainedObjects++;
  else path.unchainedObjects++;
}

/** Whether an object carries its SHA-256 and all of its place in the chain. */
export function isChained(object: LtxObject, metadata: WalrustMetadata): boolean {
  const { sha256, chain, previousChain } = metadata;
  const isLink = isChainLink(object);
  return sha256 !== null && chain !== null && (previousChain !== null || !isLink);
}

function integrity(object: LtxObject, what: string): WalrustError {
  return new WalrustError("integrity", `${object.key} ${what}`, {
    hint: "The object was damaged, replaced or edited; run `walrust verify` and restore another point",
    context: { key: object.key, txid: object.maxTxid },
  });
}
