/**
 * Finds the keys that sign requests: static keys of the options or the environment, otherwise the chain of
 * the AWS SDK (profiles, SSO, web identity, ECS, IMDS). The SDK is loaded only if the chain is needed.
 *
 * Temporary keys are cached until five minutes before they expire; simultaneous requests share one refresh.
 */
import type { Env } from "../../env.ts";
import { errorMessage, WalrustError } from "../../errors.ts";
import { readTlsTrust, type TlsTrust } from "../network/tls-trust.ts";
import { sdkRequestHandler } from "./sdk-http.ts";
import type { Credentials } from "./sigv4.ts";

/** Temporary keys are replaced this long before they expire. */
const REFRESH_AHEAD_MS = 5 * 60_000;

/** A source of the current keys. */
export interface CredentialSource {
  /** @throws WalrustError "auth" when no keys are found. */
  get(): Promise<Credentials>;
  /**
   * Drops keys that the store has refused, unless others have taken their place meanwhile.
   * @param areExpired whether the store calls them expired
   * @returns whether `get` may give others now
   */
  refresh(refused: Credentials, areExpired: boolean): boolean;
}

/** Static keys that may be replaced while a store is open. */
export interface ReplaceableKeys {
  readonly current: Credentials;
  /** Reads the keys again. @returns whether they have changed */
  refresh(): boolean;
}

/** Keys, or where to find them. */
export interface CredentialOptions {
  readonly accessKeyId?: string;
  readonly secretAccessKey?: string;
  readonly sessionToken?: string;
  /** A profile of the AWS configuration files; it overrules keys in the environment. */
  readonly profile?: string;
  /** Takes the place of all other keys. */
  readonly keys?: ReplaceableKeys | undefined;
}

/**
 * The keys in `options`, replaceable ones first, else the profile in `options`, else the keys in the
 * environment variables AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, else the keys that
 * the SDK's chain finds.
 *
 * @throws WalrustError "config" when only half of a pair of keys is set.
 */
export function credentialSource(
  options: CredentialOptions,
  environment: Readonly<Record<string, string | undefined>>,
  region: string,
  env: Env,
): CredentialSource {
  const { keys } = options;
  if (keys !== undefined) {
    return {
      get: async () => keys.current,
      refresh: (refused) => keys.current !== refused || keys.refresh(),
    };
  }
  const given = staticKeysOrNull(options, "accessKeyId and secretAccessKey");
  if (given !== null) return staticSource(given);
  if (options.profile === undefined) {
    const found = staticKeysOrNull(
      {
        accessKeyId: environment["AWS_ACCESS_KEY_ID"] || undefined,
        secretAccessKey: environment["AWS_SECRET_ACCESS_KEY"] || undefined,
        sessionToken: environment["AWS_SESSION_TOKEN"] || undefined,
      },
      "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    );
    if (found !== null) return staticSource(found);
  }
  const trust = readTlsTrust(undefined, environment);
  return cachedSource((isForced) => loadFromSdk(region, options.profile, trust, isForced), env);
}

function staticKeysOrNull(
  keys: { [Name in "accessKeyId" | "secretAccessKey" | "sessionToken"]?: string | undefined },
  names: string,
): Credentials | null {
  const { accessKeyId, secretAccessKey, sessionToken } = keys;
  if (accessKeyId === undefined && secretAccessKey === undefined) return null;
  if (accessKeyId === undefined || secretAccessKey === undefined) {
    throw new WalrustError("config", `Cannot sign requests: only one of ${names} is set`, {
      hint: "Set both, or neither to use the AWS credential chain.",
    });
  }
  return { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
}

/** A source of keys that never change. */
export function staticSource(credentials: Credentials): CredentialSource {
  return { get: async () => credentials, refresh: () => false };
}

/** A source that caches the keys of `load` until shortly before they expire. */
export function cachedSource(
  load: (isForced: boolean) => Promise<Credentials>,
  env: Pick<Env, "nowMs">,
): CredentialSource {
  let current: Credentials | null = null;
  let loading: Promise<Credentials> | null = null;
  let isForced = false;
  async function reload(): Promise<Credentials> {
    try {
      current = await load(isForced);
      isForced = false;
      return current;
    } finally {
      loading = null;
    }
  }
  return {
    async get() {
      const expiresMs = current?.expiresMs ?? Number.POSITIVE_INFINITY;
      if (current !== null && env.nowMs() < expiresMs - REFRESH_AHEAD_MS) return current;
      loading ??= reload();
      return await loading;
    },
    refresh(refused, areExpired) {
      // A refusal for another reason, such as a missing permission, stays one with other keys of the chain.
      if (!areExpired) return false;
      if (current !== null && current !== refused) return true;
      current = null;
      isForced = true;
      return true;
    },
  };
}

async function loadFromSdk(
  region: string,
  profile: string | undefined,
  trust: TlsTrust,
  isForced: boolean,
): Promise<Credentials> {
  try {
    const { S3Client } = await import("@aws-sdk/client-s3");
    const client = new S3Client({
      region,
      requestHandler: sdkRequestHandler(trust),
      ...(profile === undefined ? {} : { profile }),
    });
    const found = await client.config.credentials({ forceRefresh: isForced });
    client.destroy();
    const { accessKeyId, secretAccessKey, sessionToken, expiration } = found;
    return {
      accessKeyId,
      secretAccessKey,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      ...(expiration === undefined ? {} : { expiresMs: expiration.getTime() }),
    };
  } catch (cause) {
    throw new WalrustError("auth", `Cannot find keys for S3: ${errorMessage(cause)}`, {
      hint: "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile, or run where a role gives keys.",
      cause,
    });
  }
}
