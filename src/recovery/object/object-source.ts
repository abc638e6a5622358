/**
 * Where objects come from: the interface of a source, and the listing of several sources.
 *
 * A restore asks its sources in order. Each source names the objects that it knows and opens those that it
 * holds. A further kind, such as a journal of a whole host, is one more implementation of the interface.
 */
import { type LtxObject, newestObjectOrNull } from "../../storage/bucket/catalog.ts";
import type { ObjectBody, ObjectMetadata } from "../../storage/contract/store.ts";

/** Objects up to this size are read as a whole; larger ones are streamed. */
export const SMALL_OBJECT_SIZE = 1 << 20;

/** An object, opened for reading. */
export interface FetchedObject {
  readonly object: LtxObject;
  readonly metadata: ObjectMetadata;
  /** The object's bytes in order; a chunk is valid until the next one. */
  readonly chunks: AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** A place that holds objects of one database. */
export interface ObjectSource {
  readonly kind: "bucket" | "spool";
  /** Lists the objects that this source names. */
  list(signal?: AbortSignal): Promise<readonly LtxObject[]>;
  /**
   * Opens an object.
   * @returns null when the object has to come from the next source
   * @throws WalrustError code "integrity" when only this source names the object and its copy is unsound, or
   * a storage code
   */
  openOrNull(object: LtxObject, signal?: AbortSignal): Promise<FetchedObject | null>;
}

/** Reads a small object as a whole, and leaves a large one to be streamed. */
export async function fetchedFrom(object: LtxObject, body: ObjectBody): Promise<FetchedObject> {
  const chunks = body.sizeBytes > SMALL_OBJECT_SIZE ? body.chunks : [await body.bytes()];
  return { object, metadata: body.metadata, chunks };
}

/**
 * Joins the listing of the bucket with the objects that wait for their upload. An object that the bucket has
 * already waits because the answer to its put was lost; those after it still count. If the bucket ends inside
 * a waiting object, it continued without the waiting objects, and they are void.
 */
export function joinListings(
  stored: readonly LtxObject[],
  waiting: readonly LtxObject[],
): readonly LtxObject[] {
  const newestTxid = newestObjectOrNull(stored)?.maxTxid ?? 0;
  const missing = waiting.filter(({ maxTxid }) => maxTxid > newestTxid);
  const isContinuation = missing.every(({ minTxid }) => minTxid > newestTxid);
  return isContinuation ? [...stored, ...missing] : stored;
}
