/**
 * The interface of the memory of the objects of one database, for the store wrapper that keeps the memory in
 * step with the bucket (bucket/remembering-store.ts). `local/` implements the memory.
 */
import type { Txid } from "../../format/types.ts";

/** A remembered LTX object of one level. */
export interface RememberedObject {
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
  readonly sizeBytes: number;
  /** When the object was stored: by the listing, or by our own clock after our own put. */
  readonly storedMs: number;
}

/** The objects of one database, level by level. A level is either known as a whole, or not known. */
export interface ObjectMemory {
  /**
   * The objects of a level whose min TXID is at least `fromTxid`, by ascending min and max TXID. Null when
   * the level is not known.
   */
  readOrNull(level: number, fromTxid: number): RememberedObject[] | null;
  /** Makes a level known. @param objects all objects of the level, in any order */
  replace(level: number, objects: readonly RememberedObject[]): void;
  /** Adds an object to a level, if the level is known. */
  add(level: number, object: RememberedObject): void;
  /** Removes objects from a level, if the level is known. */
  remove(level: number, isGone: (object: RememberedObject) => boolean): void;
  /** Forgets a level. */
  forget(level: number): void;
}
