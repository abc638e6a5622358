/**
 * What `explain` finds out about the destination: whether it can be reached, and what it guarantees. To see
 * whether create-only puts are enforced one small object is put twice and deleted again.
 */
import type { Env } from "../env.ts";
import { hasCode, WalrustError } from "../errors.ts";
import type { ObjectStore, StoreCapabilities } from "../storage/store.ts";
import { probeStore } from "./store-probe.ts";

/** A destination. */
export interface ExplainedStorage {
  readonly url: string;
  readonly isReachable: boolean;
  readonly conditionalPut: StoreCapabilities["conditionalPut"];
  readonly problem: WalrustError | null;
}

/** Tries a store; a folder that does not exist yet is made by the first put, so it is left alone. */
export async function explainStorage(store: ObjectStore, env: Env): Promise<ExplainedStorage> {
  const { url, layout, capabilities } = store;
  try {
    if (layout === "file") {
      await lookInto(store);
      return { url, isReachable: true, conditionalPut: capabilities.conditionalPut, problem: null };
    }
    const { conditionalPut } = await probeStore(store, env);
    // Every restore begins with a listing. An endpoint that names the bucket too takes puts, and lists
    // nothing.
    for await (const _ of store.list("")) break;
    return { url, isReachable: true, conditionalPut, problem: null };
  } catch (error) {
    if (!(error instanceof WalrustError)) throw error;
    return { url, isReachable: false, conditionalPut: "unknown", problem: error };
  }
}

async function lookInto(folder: ObjectStore): Promise<void> {
  try {
    await folder.listFolders("");
  } catch (error) {
    if (!hasCode(error, "missing-bucket")) throw error;
  }
}

/** What a second writer meets there. */
export function guaranteeText({ conditionalPut }: ExplainedStorage): string {
  if (conditionalPut === "yes") return "enforced: a second writer is refused at its first upload";
  if (conditionalPut === "unknown") return "unknown, because the destination cannot be reached";
  return "not enforced: two writers at the same moment could both succeed; one is noticed at its next look";
}
