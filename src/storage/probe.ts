/**
 * Finding out by trying whether a store enforces create-only puts: the second put of one key has to fail.
 */
import { hasCode } from "../errors.ts";
import type { ObjectStore, PutBody, StoreCapabilities } from "./store.ts";

const PROBE_BODY: PutBody = { kind: "bytes", bytes: new TextEncoder().encode("walrust probe\n") };

/**
 * Creates `key` twice and removes it again. "yes" when the second put (or, on a leftover, the first) is
 * refused, "no" when both go through.
 */
export async function probeConditionalPut(
  store: Pick<ObjectStore, "put" | "delete">,
  key: string,
): Promise<StoreCapabilities["conditionalPut"]> {
  let answer: StoreCapabilities["conditionalPut"] = "no";
  try {
    await store.put(key, PROBE_BODY, { createOnly: true });
    await store.put(key, PROBE_BODY, { createOnly: true });
  } catch (error) {
    if (!hasCode(error, "precondition")) {
      // The first failure is the one that counts; nothing is left of most of them.
      await store.delete([key]).catch(() => {});
      throw error;
    }
    answer = "yes";
  }
  await store.delete([key]);
  return answer;
}
