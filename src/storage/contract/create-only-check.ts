/**
 * Finding out by trying whether a store enforces create-only writes: the second put of one key has to fail,
 * and so has an upload in parts to that key. Nothing is concluded from a store that did not answer as one: a
 * request that fails otherwise ends the probe with its error.
 */
import { hasCode, WalrustError } from "../../errors.ts";
import { answerStatusOf } from "./request-errors.ts";
import type { ObjectStore, StoreCapabilities } from "./store.ts";

/** What is put. */
export const PROBE_BODY = { kind: "bytes", bytes: new TextEncoder().encode("walrust probe\n") } as const;

/** Requests of a store as they are, without its own care for create-only puts. */
export interface ProbedStore {
  /** Puts the probe object, with If-None-Match or without. */
  put(isCreateOnly: boolean): Promise<void>;
  /** Uploads the probe object in one part and completes that with If-None-Match. */
  putInParts(): Promise<void>;
  /** Whether the probe object is there. */
  exists(): Promise<boolean>;
  /** Removes the probe object; a store that refuses keeps it. */
  remove(): Promise<void>;
}

/**
 * Tries one key. "yes" when the second write (or, on a leftover, the first) is refused, "no" when both go
 * through and the object is there, or when the store does not know the header.
 */
export async function probeCreateOnly(store: ProbedStore): Promise<Required<StoreCapabilities>> {
  try {
    const conditionalPut = await probePut(store);
    const conditionalComplete = conditionalPut === "yes" ? await probeParts(store) : "no";
    return { conditionalPut, conditionalComplete };
  } finally {
    // The failure that ended the probe is the one that counts; nothing is left of most of them.
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
    // Only a store that takes the object without the header has said that it does not know it.
    await store.put(false);
  }
  if (await store.exists()) return "no";
  throw new WalrustError("storage", "Cannot probe the store: an object that was put is not there", {
    retryable: true,
  });
}

/** "unknown" when the store takes no upload in parts. */
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
 * The same of a store whose puts do nothing of their own but to ask its file system: `key` is created twice
 * and removed again.
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
