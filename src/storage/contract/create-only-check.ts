/**
 * Probes whether a store enforces create-only writes: a second put to one key must fail, and a multipart
 * upload to that key must fail too. Any other failure ends the probe with an error, because that failure
 * shows nothing about create-only writes.
 */
import type { Env } from "../../env.ts";
import { hasCode, WalrustError } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import { answerStatusOf } from "./request-errors.ts";
import type { ObjectStore, StoreCapabilities } from "./store.ts";

/** The content of the probe object. */
export const PROBE_BODY = { kind: "bytes", bytes: new TextEncoder().encode("walrust probe\n") } as const;

/** Keys of probe objects begin with this. A probe that is killed leaves its object. */
export const PROBE_PREFIX = ".walrust-probe-";

/** A key for one probe: two probes with one key would see each other's object. */
export function probeKey(env: Pick<Env, "randomBytes">): string {
  return `${PROBE_PREFIX}${hex(env.randomBytes(8))}`;
}

/** Single requests of a store, without its own checks around create-only puts. */
export interface ProbedStore {
  /** Puts the probe object, with If-None-Match or without. */
  put(isCreateOnly: boolean): Promise<void>;
  /** Uploads the probe object in one part, and completes the upload with If-None-Match. */
  putInParts(): Promise<void>;
  /** Whether the probe object exists. */
  exists(): Promise<boolean>;
  /** Removes the probe object, unless the store refuses to. */
  remove(): Promise<void>;
}

/**
 * Probes one key. "yes" when the store refuses the second write (or the first one, on a leftover); "no" when
 * it takes both and the object exists, or when it does not know the header.
 */
export async function probeCreateOnly(store: ProbedStore): Promise<Required<StoreCapabilities>> {
  try {
    const conditionalPut = await probePut(store);
    const conditionalComplete = conditionalPut === "yes" ? await probeParts(store) : "no";
    return { conditionalPut, conditionalComplete };
  } finally {
    // The failure that ended the probe counts, not that of the removal.
    await store.remove().catch(() => {});
  }
}

async function probePut(store: ProbedStore): Promise<"yes" | "no"> {
  try {
    await store.put(true);
    await store.put(true);
  } catch (error) {
    if (hasCode(error, "precondition")) return "yes";
    if (answerStatusOf(error) !== 501) throw error;
    // The 501 was about the header only if the store accepts the object without it.
    await store.put(false);
  }
  if (await store.exists()) return "no";
  throw new WalrustError(
    "storage",
    "Cannot probe the store: it has not stored the object that it acknowledged",
    {
      retryable: true,
    },
  );
}

/** "unknown" when the store takes no multipart uploads. */
async function probeParts(store: ProbedStore): Promise<StoreCapabilities["conditionalPut"]> {
  try {
    await store.putInParts();
    return "no";
  } catch (error) {
    if (hasCode(error, "precondition")) return "yes";
    if (error instanceof WalrustError && !error.retryable) return "unknown";
    throw error;
  }
}

/**
 * The same for a store whose create-only puts depend on its file system alone: creates `key` twice and
 * removes it again.
 */
export async function probeConditionalPut(
  store: Pick<ObjectStore, "put" | "delete">,
  key: string,
): Promise<"yes" | "no"> {
  try {
    await store.put(key, PROBE_BODY, { createOnly: true });
    await store.put(key, PROBE_BODY, { createOnly: true });
    return "no";
  } catch (error) {
    if (!hasCode(error, "precondition")) throw error;
    return "yes";
  } finally {
    await store.delete([key]).catch(() => {});
  }
}
