/**
 * The bucket as a source of objects. The bucket is always the last source: it holds every uploaded object.
 */
import { type LtxObject, listObjects } from "../../storage/bucket/catalog.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { getListed } from "./listed-body.ts";
import { type FetchedObject, fetchedFrom, type ObjectSource } from "./object-source.ts";

/** The objects of one database in a bucket. */
export class BucketSource implements ObjectSource {
  readonly kind = "bucket";

  constructor(
    readonly store: ObjectStore,
    readonly name: string,
  ) {}

  list(signal?: AbortSignal): Promise<readonly LtxObject[]> {
    return listObjects(this.store, this.name, signal);
  }

  /** Opens an object. @throws WalrustError code "not-found" when the object is gone, or a storage code */
  async openOrNull(object: LtxObject, signal?: AbortSignal): Promise<FetchedObject> {
    return fetchedFrom(object, await getListed(this.store, object, signal));
  }
}
