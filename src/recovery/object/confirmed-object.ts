/**
 * Judges an object that this process has just put, without reading it from the store: the judge reads the
 * local file that was put, and the store confirms that it holds the same bytes.
 *
 * The object counts as judged if and only if
 *  1. the judge (check-object.ts) finds nothing wrong with the local file and the metadata that were put,
 *  2. the store answers a HEAD with the size of the file and with this metadata, unchanged, and
 *  3. the store states a checksum of its own over the whole content (a SHA-256, or an ETag that is an MD5),
 *     which equals that of the very bytes that the judge has read.
 *
 * So the judge would give the same verdict on the bytes that the store received. It is not shown that the
 * store can read them again: for that its durability has to be trusted, as for every increment that it
 * acknowledged. A checksum that differs proves nothing, because not every ETag that looks like an MD5 is one;
 * then the object is read back.
 */
import { hex } from "../../format/chain.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import type { ContentChecksum, ObjectHead, ObjectMetadata } from "../../storage/contract/store.ts";
import { checkObject, type ObjectVerdict } from "./check-object.ts";

/** A local file as it was put. */
export interface PutObject {
  /** Its key and TXIDs, and its size. */
  readonly object: LtxObject;
  readonly metadata: ObjectMetadata;
  /** The bytes of the file. */
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/**
 * Judges an object by its local file and the answer of the store to a HEAD.
 * @returns the verdict on the file, which holds for the object; null when the store does not confirm the
 * bytes
 * @throws what the chunks throw
 */
export async function judgeConfirmed(put: PutObject, head: ObjectHead): Promise<ObjectVerdict | null> {
  const { checksum } = head;
  if (checksum === undefined || head.sizeBytes !== put.object.sizeBytes) return null;
  if (!isSameMetadata(put.metadata, head.metadata)) return null;
  const hasher = new Bun.CryptoHasher("md5");
  const verdict = await checkObject(put, { onChunk: (chunk) => void hasher.update(chunk) });
  return isConfirmed(checksum, verdict, hasher) ? verdict : null;
}

function isConfirmed(checksum: ContentChecksum, { sha256 }: ObjectVerdict, md5: Bun.CryptoHasher): boolean {
  if (checksum.algorithm === "md5") return checksum.hex === md5.digest("hex");
  return sha256 !== null && checksum.hex === hex(sha256);
}

function isSameMetadata(put: ObjectMetadata, stored: ObjectMetadata): boolean {
  return Object.entries(put).every(([name, value]) => stored[name] === value);
}
