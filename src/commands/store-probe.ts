/**
 * Whether a store enforces create-only puts, found out by trying: one small object is put twice and deleted.
 * Each try has a key of its own, or two that try at once would see each other's object.
 */
import type { Env } from "../env.ts";
import { errorMessage } from "../errors.ts";
import { hex } from "../format/chain.ts";
import type { ObjectStore, StoreCapabilities } from "../storage/store.ts";

/** @throws WalrustError with a storage code */
export async function probeStore(store: ObjectStore, env: Env): Promise<StoreCapabilities> {
  return await store.probe(`.walrust-probe-${hex(env.randomBytes(8))}`);
}

/**
 * Tries the store of a watch beside its start, and warns of one that would let two writers through. That it
 * cannot be tried now is no failure: uploads say what is wrong. Never rejects.
 */
export async function warnIfUnguarded(store: ObjectStore, env: Env): Promise<void> {
  if (store.layout === "file") return;
  try {
    if ((await probeStore(store, env)).conditionalPut !== "no") return;
    env.log.warn("the store does not enforce create-only writes: a second writer is noticed late", {
      hint: "See to it that only one walrust replicates to this prefix",
    });
  } catch (error) {
    env.log.debug(`the store could not be tried: ${errorMessage(error)}`);
  }
}
