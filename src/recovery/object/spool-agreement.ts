/**
 * Compares the spool of this machine with the bucket before a restore uses the spool.
 *
 * Name, size and own hash of a copy do not show that the bucket holds the same bytes. Another machine may
 * have uploaded another commit under the TXID that waits here: after this machine was set back to an older
 * image, or while two machines wrote. So the newest copied object of the plan is compared with the object in
 * the bucket, which costs one HEAD. Its chain value proves the copies before it, and each capture that still
 * waits names the chain value that it continues.
 */
import { WalrustError } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import type { SpoolFile } from "../../local/spool.ts";
import type { LtxObject } from "../../storage/bucket/catalog.ts";
import { decodeMetadata } from "../../storage/contract/object-metadata.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { checkListed } from "./check-object.ts";
import type { SpoolSource } from "./spool-source.ts";

/** An object of the bucket, and the local file with its name and size. */
export interface CopiedInSpool {
  readonly object: LtxObject;
  readonly copy: SpoolFile;
}

/** The newest object of a plan that is in the bucket and has a local copy, or null. */
export function newestCopiedOrNull(
  spool: Pick<SpoolSource, "isWaiting" | "copyOrNull">,
  objects: readonly LtxObject[],
): CopiedInSpool | null {
  for (const object of objects.toReversed()) {
    if (spool.isWaiting(object)) continue;
    const copy = spool.copyOrNull(object);
    if (copy !== null) return { object, copy };
  }
  return null;
}

/**
 * Checks that the bucket holds the bytes of a local copy.
 * @throws WalrustError code "integrity" when it holds others, "not-found" when the object is gone, or a
 * storage code
 */
export async function assertSameAsStored(
  store: ObjectStore,
  { object, copy }: CopiedInSpool,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { key } = object;
  const head = await store.head(key, { signal });
  let stored = decodeMetadata(key, head.metadata).sha256;
  if (stored === null) {
    // The storage lost the metadata, so only the bytes can tell.
    const { sha256 } = await checkListed(store, object, {}, signal);
    stored = sha256 === null ? null : hex(sha256);
  }
  if (stored === hex(copy.sha256)) return;
  throw new WalrustError("integrity", `${key} in the bucket is not the file that was captured here`, {
    context: { key },
  });
}
