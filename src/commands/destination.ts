/**
 * The destination a verb works on, from its options.
 */
import { STORE_OPTIONS } from "../config/options.ts";
import { optionValues } from "../config/parse-options.ts";
import { WalrustError } from "../errors.ts";
import { openStore } from "../storage/open-store.ts";
import type { ObjectStore } from "../storage/store.ts";
import type { Invocation } from "./verb.ts";

/**
 * Opens the store that `--bucket` names. @throws WalrustError code "usage" when it is missing or malformed
 */
export function openDestination(invocation: Invocation): ObjectStore {
  const { bucket, endpoint } = optionValues(invocation.words, STORE_OPTIONS);
  if (bucket === undefined) {
    throw new WalrustError("usage", "No destination is given", {
      hint: "Give one with -b s3://bucket/prefix or -b file:///folder",
    });
  }
  return openStore({ url: bucket, ...(endpoint === undefined ? {} : { endpoint }) }, invocation.env);
}

/** Opens the store, runs `work` and closes the store whatever happens. */
export async function withDestination<T>(
  invocation: Invocation,
  work: (store: ObjectStore) => Promise<T>,
): Promise<T> {
  const store = openDestination(invocation);
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}
