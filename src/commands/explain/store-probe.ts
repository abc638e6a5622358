/**
 * Whether a store enforces create-only puts, found out by trying: one small object is put twice and deleted.
 * Each try has a key of its own, or two that try at once would see each other's object.
 */
import type { Env } from "../../env.ts";
import { hex } from "../../format/chain.ts";
import type { ObjectStore, StoreCapabilities } from "../../storage/contract/store.ts";

/** @throws WalrustError with a storage code */
export async function probeStore(store: ObjectStore, env: Env): Promise<StoreCapabilities> {
  return await store.probe(`.walrust-probe-${hex(env.randomBytes(8))}`);
}
