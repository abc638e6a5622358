/**
 * Applies one object to a database under construction, or to an open transaction of a replica, while the
 * judge (object/check-object.ts) reads the object. Throws the first error of the judge.
 */
import { checkObject, type PageReceiver, type PathPoint } from "../object/check-object.ts";
import { throwFirstError } from "../object/object-finding.ts";
import { isChained, type ObjectFacts } from "../object/object-links.ts";
import type { FetchedObject } from "../object/object-source.ts";

/** The point that a path has reached, and the share of its objects that the SHA-256 chain proves. */
export interface PathState extends PathPoint {
  txid: number;
  chain: string | null;
  /** Objects with a checked SHA-256 and chain link. */
  chainedObjects: number;
  /** Objects without: Litestream wrote them, or a gateway lost their metadata. */
  unchainedObjects: number;
  /** The object that the path begins with, and the newest one. */
  first: ObjectFacts | null;
  newest: ObjectFacts | null;
}

/** The start of a path. */
export function startOfPath(): PathState {
  return { txid: 0, chain: null, chainedObjects: 0, unchainedObjects: 0, first: null, newest: null };
}

/**
 * Applies one object and moves the path on.
 * @throws WalrustError codes "corrupt" or "integrity" naming the object; the receiver's result is worthless
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
  path.first ??= facts;
  path.newest = facts;
  if (isChained(object, metadata)) path.chainedObjects++;
  else path.unchainedObjects++;
}
