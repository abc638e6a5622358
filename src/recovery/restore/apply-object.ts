/**
 * Applies one object to a database under construction, or to a replica in a transaction, while the judge
 * (object/check-object.ts) reads it. The first error that the judge finds is thrown.
 */
import { checkObject, type PageReceiver, type PathPoint } from "../object/check-object.ts";
import { throwFirstError } from "../object/object-finding.ts";
import { isChained } from "../object/object-links.ts";
import type { FetchedObject } from "../object/object-source.ts";

/** How far a path has led, and how much of it the SHA-256 chain proves. */
export interface PathState extends PathPoint {
  txid: number;
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
 * Applies one object and moves the path on.
 * @throws WalrustError codes "corrupt" or "integrity" naming the object; what the receiver has is worthless
 * then
 */
export async function applyObject(
  fetched: FetchedObject,
  receiver: PageReceiver,
  path: PathState,
  onBytes: (byteCount: number) => void,
): Promise<void> {
  const onChunk = (chunk: Uint8Array): void => onBytes(chunk.length);
  const { object, facts, findings } = await checkObject(fetched, { after: path, receiver, onChunk });
  throwFirstError(findings);
  if (facts === null) throw new Error("an object without findings has facts");
  const { metadata } = facts;
  path.txid = object.maxTxid;
  path.chain = metadata.chain;
  if (isChained(object, metadata)) path.chainedObjects++;
  else path.unchainedObjects++;
}
