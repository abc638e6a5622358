/**
 * Probes a destination for `explain` and `doctor`: whether it can be reached, and whether it enforces
 * create-only writes. To find out, it puts one small object twice and deletes it.
 */
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { probeKey } from "../../storage/contract/create-only-check.ts";
import type { ObjectStore, StoreCapabilities } from "../../storage/contract/store.ts";
import { SINGLE_PUT_SIZE_MAX } from "../../storage/s3/s3-multipart.ts";

/** A destination, as a probe has found it. */
export interface ProbedDestination {
  readonly url: string;
  readonly isReachable: boolean;
  readonly conditionalPut: StoreCapabilities["conditionalPut"];
  /** The same for objects that are uploaded in parts. */
  readonly conditionalComplete: StoreCapabilities["conditionalPut"];
  readonly problem: WalrustError | null;
}

/**
 * Tries the store. A folder that does not exist yet is not created: the first put of a watch does that.
 * @param isExpected whether a database was replicated there before, so that a missing folder is a problem
 */
export async function probeDestination(
  store: ObjectStore,
  env: Env,
  isExpected = false,
): Promise<ProbedDestination> {
  const { url, layout, capabilities } = store;
  const reached = ({ conditionalPut, conditionalComplete = conditionalPut }: StoreCapabilities) => {
    return { url, isReachable: true, conditionalPut, conditionalComplete, problem: null };
  };
  try {
    if (layout === "file") {
      await listRoot(store, isExpected);
      return reached(capabilities);
    }
    const found = await store.probe(probeKey(env));
    // Every restore begins with a listing. An endpoint that also contains the bucket accepts puts, but lists
    // nothing.
    for await (const _ of store.list("", { limit: 1 })) break;
    return reached(found);
  } catch (error) {
    if (!(error instanceof WalrustError)) throw error;
    const unknown = { conditionalPut: "unknown", conditionalComplete: "unknown" } as const;
    return { url, isReachable: false, ...unknown, problem: error };
  }
}

async function listRoot(folder: ObjectStore, isExpected: boolean): Promise<void> {
  try {
    await folder.listFolders("");
  } catch (error) {
    if (isExpected || !hasCode(error, "missing-bucket")) throw error;
  }
}

/** The protection against a second writer, as text. */
export function guaranteeText({ conditionalPut, conditionalComplete }: ProbedDestination): string {
  if (conditionalPut === "yes" && conditionalComplete === "no") {
    const limit = `${SINGLE_PUT_SIZE_MAX / 2 ** 20} MB`;
    return `enforced up to ${limit}; for larger objects two writers at the same moment could both succeed`;
  }
  if (conditionalPut === "yes") return "enforced: of two writers, one stops within two uploads";
  if (conditionalPut === "unknown") return "unknown, because the destination cannot be reached";
  return "not enforced: two writers at the same moment could both succeed; walrust notices this late";
}
