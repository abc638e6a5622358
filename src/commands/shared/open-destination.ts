/**
 * Opens the destination of a verb, from its flags, the environment and walrust.toml.
 */
import { resolveRetry, resolveStore } from "../../config/config.ts";
import { rereadSecrets } from "../../config/config-file.ts";
import { BY_DEFAULT, type Origin, type Sources, valuesOf } from "../../config/resolve.ts";
import { PATIENCE_OPTIONS } from "../../config/settings/options.ts";
import type { Log } from "../../env.ts";
import { type ConditionSink, errorMessage, WalrustError } from "../../errors.ts";
import { patienceOf } from "../../storage/contract/retry.ts";
import type { ObjectStore } from "../../storage/contract/store.ts";
import { ReachabilityMonitor } from "../../storage/network/reachability-monitor.ts";
import type { StoreOptions } from "../../storage/open-store.ts";
import { openStore } from "../../storage/open-store.ts";
import type { ReplaceableKeys } from "../../storage/s3/credentials.ts";
import type { Credentials } from "../../storage/s3/sigv4.ts";
import { earlierUseOf } from "./local-places.ts";
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
  const keys = StoreKeys.ofOrNull({ sources, env }, url) ?? undefined;
  const options = { url: given, region, retry: resolveRetry(sources), keys, ...known, ...more };
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
  words: readonly string[] = [],
): Promise<T> {
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
  words: readonly string[] = [],
): Promise<T> {
  return await withDestination(invocation, work, patientOptions(invocation), words);
}

/**
 * The static keys of one store. Keys in files of their own (`secret_access_key_file`) are read again when the
 * store refuses a request, so that a rotation needs no restart. A reload replaces the keys of walrust.toml.
 */
export class StoreKeys implements ReplaceableKeys {
  #sources: Sources;
  #current: Credentials;

  private constructor(
    sources: Sources,
    current: Credentials,
    readonly env: Pick<Invocation["env"], "log">,
    readonly url: string | undefined,
  ) {
    this.#sources = sources;
    this.#current = current;
  }

  /**
   * The static keys, or null if the chain of AWS finds the keys, or none are needed.
   * @param url the destination, if it is not the configured one
   * @throws WalrustError code "usage" or "config"
   */
  static ofOrNull({ sources, env }: Pick<Invocation, "sources" | "env">, url?: string): StoreKeys | null {
    const keys = keysOrNull(sources, url);
    return keys === null ? null : new StoreKeys(sources, keys, env, url);
  }

  get current(): Credentials {
    return this.#current;
  }

  refresh(): boolean {
    const { file } = this.#sources;
    try {
      return this.replace({ ...this.#sources, file: file === null ? null : rereadSecrets(file) });
    } catch (error) {
      // A rotation replaces several files one after the other: the next refusal reads them again.
      this.env.log.debug(`cannot read the keys of the store again: ${errorMessage(error)}`);
      return false;
    }
  }

  /** Takes the keys of sources that were read again. @returns whether the keys have changed */
  replace(sources: Sources): boolean {
    const keys = keysOrNull(sources, this.url);
    if (keys === null || Bun.deepEquals(keys, this.#current)) return false;
    this.#sources = sources;
    this.#current = keys;
    this.env.log.info("the keys of the store have changed: requests are signed with the new ones");
    return true;
  }
}

function keysOrNull(sources: Sources, url: string | undefined): Credentials | null {
  const { accessKeyId, secretAccessKey, sessionToken } = resolveStore(sources, url);
  if (accessKeyId.value === undefined || secretAccessKey.value === undefined) return null;
  const token = sessionToken.value === undefined ? {} : { sessionToken: sessionToken.value };
  return { accessKeyId: accessKeyId.value, secretAccessKey: secretAccessKey.value, ...token };
}
