/**
 * The Config: all settings of walrust.toml, typed and frozen, as every room reads them.
 *
 * A setting keeps one name from its key to its effect. The row in settings/ is named after the key, in
 * camelCase with the unit: `cache.max_size` is `config.cache.maxSizeBytes`. Other rooms take the section
 * types of this file, or a `Pick` of them. They have no names and no defaults of their own.
 */
import { WalrustError } from "../errors.ts";
import type { DatabaseEntry } from "./database-entries.ts";
import { splitEnvironment } from "./environment.ts";
import type { Environment } from "./file-values.ts";
import { chooseCredentials, type Resolved, resolveOptions, type Sources, valuesOf } from "./resolve.ts";
import type { OptionGroup, OptionValues } from "./settings/option-spec.ts";
import { defaultValue } from "./settings/parse-value.ts";
import {
  CACHE_OPTIONS,
  COMPACTION_OPTIONS,
  RETENTION_OPTIONS,
  RETRY_OPTIONS,
  STATE_OPTIONS,
  STORE_OPTIONS,
  SYNC_OPTIONS,
} from "./settings/settings.ts";
import { HEARTBEAT_OPTIONS, METRICS_OPTIONS, WEBHOOK_OPTIONS } from "./settings/settings-notify.ts";
import { ownVariableOrNull } from "./settings/variables.ts";

/**
 * How long an object of level 0, 1, 2 stays after it was merged into the level above, in ms: an hour, a day,
 * a week. Fixed: no setting changes it.
 */
const LEVEL_LIFETIMES_MS = [3_600_000, 86_400_000, 604_800_000] as const;

/** [s3] */
export type StoreConfig = OptionValues<typeof STORE_OPTIONS>;
/** [sync] */
export type SyncConfig = OptionValues<typeof SYNC_OPTIONS>;
/** [state] */
export type StateConfig = OptionValues<typeof STATE_OPTIONS>;
/** [cache] */
export type CacheConfig = OptionValues<typeof CACHE_OPTIONS>;
/** [compaction], and how long the sources of a merge stay. */
export type CompactionConfig = OptionValues<typeof COMPACTION_OPTIONS> & {
  readonly lifetimesMs: readonly [number, number, number];
};
/** [retention] */
export type RetentionConfig = OptionValues<typeof RETENTION_OPTIONS>;
/** [retry] */
export type RetryConfig = OptionValues<typeof RETRY_OPTIONS>;
/** [metrics] */
export type MetricsConfig = OptionValues<typeof METRICS_OPTIONS>;
/** [heartbeat] */
export type HeartbeatConfig = OptionValues<typeof HEARTBEAT_OPTIONS>;
/** One of [[webhooks]]. */
export type WebhookConfig = OptionValues<typeof WEBHOOK_OPTIONS> & { readonly url: string };

/** All settings of a process, by section. */
export interface Config {
  readonly s3: StoreConfig;
  readonly sync: SyncConfig;
  readonly state: StateConfig;
  readonly cache: CacheConfig;
  readonly compaction: CompactionConfig;
  readonly retention: RetentionConfig;
  readonly retry: RetryConfig;
  readonly metrics: MetricsConfig;
  readonly heartbeat: HeartbeatConfig;
  readonly webhooks: readonly WebhookConfig[];
}

/** The sections that an entry of [[databases]] can override. */
export type DatabaseConfig = Pick<Config, "sync" | "compaction" | "retention">;

/** The sections that replication reads: those of the process, or what holds for one database. */
export type ReplicationConfig = Pick<Config, "sync" | "compaction" | "retention" | "cache" | "retry">;

/**
 * The settings of a process.
 * @throws WalrustError code "usage" or "config" naming the place of a value that cannot be used
 */
export function resolveConfig(sources: Sources): Config {
  return Object.freeze({
    s3: frozen(resolveStore(sources)),
    ...resolveDatabaseConfig(sources, null),
    state: frozen(resolveOptions(sources, STATE_OPTIONS)),
    cache: frozen(resolveOptions(sources, CACHE_OPTIONS)),
    retry: resolveRetry(sources),
    metrics: frozen(resolveOptions(sources, METRICS_OPTIONS)),
    heartbeat: frozen(resolveOptions(sources, HEARTBEAT_OPTIONS)),
    webhooks: webhooksOf(sources),
  });
}

/**
 * The settings of one database.
 * @param entry its entry in [[databases]], or null for databases without one
 * @throws WalrustError code "usage" or "config"
 */
export function resolveDatabaseConfig(sources: Sources, entry: DatabaseEntry | null): DatabaseConfig {
  const compaction = valuesOf(resolveOptions(sources, COMPACTION_OPTIONS, entry));
  return Object.freeze({
    sync: frozen(resolveOptions(sources, SYNC_OPTIONS, entry)),
    compaction: Object.freeze({ ...compaction, lifetimesMs: LEVEL_LIFETIMES_MS }),
    retention: frozen(resolveOptions(sources, RETENTION_OPTIONS, entry)),
  });
}

/**
 * The settings of the store, with the credentials from one place as a whole. A folder needs no credentials,
 * so there a contradiction between them is no error.
 * @param url the destination, if it is not the configured one
 * @throws WalrustError code "usage" or "config"
 */
export function resolveStore(sources: Sources, url?: string): Resolved<typeof STORE_OPTIONS> {
  const resolved = resolveOptions(sources, STORE_OPTIONS);
  const isFolder = /^file:/i.test(url ?? resolved.bucket.value ?? "");
  if (isFolder) return resolved;
  const { own, others } = splitEnvironment(sources.environment);
  const by = (environment: Environment) => resolveOptions({ ...sources, environment }, STORE_OPTIONS);
  return chooseCredentials(resolved, { environments: [by(own), by(others)], file: by({}) });
}

/**
 * How failed requests are retried.
 * @throws WalrustError code "config" when the base delay is above the greatest delay
 */
export function resolveRetry(sources: Sources): RetryConfig {
  const resolved = resolveOptions(sources, RETRY_OPTIONS);
  const { baseDelayMs, maxDelayMs } = resolved;
  if (baseDelayMs.value <= maxDelayMs.value) return frozen(resolved);
  const message = `The base delay (${baseDelayMs.value} ms) is above the greatest (${maxDelayMs.value} ms)`;
  throw new WalrustError("config", message, {
    hint: `See ${baseDelayMs.origin.text} and ${maxDelayMs.origin.text}`,
  });
}

function webhooksOf(sources: Sources): readonly WebhookConfig[] {
  const webhooks = (sources.file?.webhooks ?? []).map(({ values }) => {
    const given = <N extends keyof WebhookConfig>(name: N): WebhookConfig[N] => {
      const spec = WEBHOOK_OPTIONS[name];
      return (values.get(spec.key)?.value ?? defaultValue(spec)) as WebhookConfig[N];
    };
    return Object.freeze({ url: given("url"), events: given("events"), secret: given("secret") });
  });
  const oneMore = resolveWebhookOrNull(sources);
  if (oneMore !== null) webhooks.push(frozen(oneMore) as (typeof webhooks)[number]);
  return Object.freeze(webhooks);
}

/**
 * The webhook of the environment, which is one more than those of the file. Null: there is none.
 * @throws WalrustError code "config" when the environment gives other settings of it, and no URL
 */
export function resolveWebhookOrNull({
  words,
  environment,
}: Pick<Sources, "words" | "environment">): Resolved<typeof WEBHOOK_OPTIONS> | null {
  const webhook = resolveOptions({ words, environment, file: null }, WEBHOOK_OPTIONS);
  if (webhook.url.value !== undefined) return webhook;
  const alone = [webhook.events, webhook.secret].find(({ origin }) => origin.kind === "environment");
  if (alone === undefined) return null;
  throw new WalrustError("config", `${alone.origin.text} is set without a URL`, {
    hint: `Set ${ownVariableOrNull(WEBHOOK_OPTIONS.url)} too`,
  });
}

function frozen<T extends OptionGroup>(resolved: Resolved<T>): OptionValues<T> {
  return Object.freeze(valuesOf(resolved));
}
