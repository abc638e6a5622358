/**
 * Opens the destination of a verb, from its flags, the environment and walrust.toml.
 */
import { resolveRetry, resolveStore } from "../../config/config.ts";
import { BY_DEFAULT, type Origin, valuesOf } from "../../config/resolve.ts";
import { PATIENCE_OPTIONS } from "../../config/settings/options.ts";
import type { Log } from "../../env.ts";
import { type ConditionSink, WalrustError } from "../../errors.ts";
import { patienceOf } from "../../storage/contract/retry.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { ReachabilityMonitor } from "../../storage/network/reachability-monitor.ts";
import type { StoreOptions } from "../../storage/open-store.ts";
import { openStore } from "../../storage/open-store.ts";
import { earlierUseOf } from "./local-places.ts";
import { StoreKeys } from "./store-keys.ts";
import { type Invocation, settingsOf } from "./verb.ts";

/** Options of the store that are not settings. */
export type MoreStoreOptions = Partial<
  Pick<
    StoreOptions,
    "putLimit" | "retry" | "stallMs" | "conditions" | "reachability" | "findEarlierUse" | "keys"
  >
>;

/**
 * Opens the store of the destination.
 * @param url a destination to open instead of the configured one, with the same options
 * @throws WalrustError code "usage" or "config" when it is missing or malformed
 */
export function openDestination(
  { sources, env }: Pick<Invocation, "sources" | "env">,
  more: MoreStoreOptions = {},
  url?: string,
): ObjectStore {
  const resolved = resolveStore(sources, url);
  const given = url ?? resolved.bucket.value;
  if (given === undefined) throw noDestination();
  const { bucket: _, region, ...values } = valuesOf(resolved);
  const known = Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined));
  const options = { url: given, region, retry: resolveRetry(sources), ...known, ...more };
  try {
    return openStore(options, env, sources.environment);
  } catch (error) {
    throw placed(error, url === undefined ? resolved.bucket.origin : BY_DEFAULT);
  }
}

/** The error for a command line, an environment and a walrust.toml without a destination. */
export function noDestination(): WalrustError {
  return new WalrustError("usage", "No destination is given", {
    hint:
      "Give one with -b s3://bucket/prefix or -b file:///folder, in WALRUST_S3_BUCKET, or as bucket in " +
      "[s3] of walrust.toml",
  });
}

/** Logs each condition as a warning when it begins: for verbs without a /health. */
export function warningSink(log: Log): ConditionSink {
  return { raise: ({ message }) => log.warn(message), clear: () => {} };
}

/** Adds the place in walrust.toml, or the variable, to an error about the destination. */
function placed(error: unknown, { kind, text }: Origin): unknown {
  const isPlace = kind === "file" || kind === "environment";
  if (!isPlace || !(error instanceof WalrustError) || error.code !== "usage") return error;
  const { hint } = error;
  return new WalrustError("config", `${text}: ${error.message}`, hint === undefined ? {} : { hint });
}

/**
 * Options for a verb that a person waits for: it logs when the store does not answer, and gives up after
 * `--timeout`.
 * @throws WalrustError code "usage" or "config"
 */
function patientOptions(invocation: Invocation): MoreStoreOptions {
  const { sources, env } = invocation;
  const patience = patienceOf(settingsOf(invocation, PATIENCE_OPTIONS).timeoutMs);
  return {
    retry: { ...resolveRetry(sources), patience },
    stallMs: patience.stallMs,
    reachability: new ReachabilityMonitor(env, warningSink(env.log)),
  };
}

/**
 * Opens the store, runs `work`, and closes the store in any case.
 * @param words paths and globs of databases on the command line, if the verb takes any
 */
export async function withDestination<T>(
  invocation: Invocation,
  work: (store: ObjectStore) => Promise<T>,
  more: MoreStoreOptions = {},
): Promise<T> {
  words: readonly string[] = [],
  const findEarlierUse = earlierUseOf(invocation, words);
  const store = openDestination(invocation, { findEarlierUse, ...more });
  try {
    return await work(store);
  } finally {
    await store.close();
  }
}

/** As `withDestination`, for a verb that a person waits for and that has `PATIENCE_OPTIONS`. */
export async function withPatience<T>(
  invocation: Invocation,
  work: (store: ObjectStore) => Promise<T>,
): Promise<T> {
  words: readonly string[] = [],
  return await withDestination(invocation, work, patientOptions(invocation), words);
}
