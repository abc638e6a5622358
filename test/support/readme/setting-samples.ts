/**
 * A value other than the default for every key of walrust.toml, as TOML text, for tests over all keys. A key
 * without a sample is an error, so no test forgets a new key.
 */
import type { OptionSpec } from "../../../src/config/settings/option-spec.ts";
import { SECTIONS } from "../../../src/config/settings/options.ts";

const SAMPLES: Readonly<Record<string, string>> = {
  "s3.bucket": '"s3://other-bucket/vm2"',
  "s3.endpoint": '"http://127.0.0.1:9999"',
  "s3.region": '"eu-central-1"',
  "s3.access_key_id": '"AKIDSAMPLE"',
  "s3.secret_access_key": '"SECRETSAMPLE"',
  "s3.session_token": '"TOKENSAMPLE"',
  "s3.profile": '"backup"',
  "s3.path_style": "true",
  "s3.storage_class": '"STANDARD_IA"',
  "s3.sse": '"AES256"',
  "s3.sse_kms_key_id": '"1234abcd-12ab-34cd-56ef-1234567890ab"',
  "s3.ca_file": '"/etc/walrust/ca.pem"',
  "s3.content_md5": "true",
  "sync.wal_sync_interval": "2.5",
  "sync.checkpoint_interval": "30",
  "sync.min_checkpoint_page_count": "500",
  "sync.wal_truncate_threshold_pages": "50000",
  "sync.validation_interval": "86400",
  "sync.snapshot_interval": "1800",
  "sync.max_changes": "1000",
  "sync.max_interval": "300",
  "sync.on_idle": "60",
  "sync.on_startup": "false",
  "sync.compact_interval": "3600",
  "sync.compact_after_snapshot": "true",
  "sync.shutdown_timeout": "9",
  "state.path": '"/var/lib/walrust-other"',
  "cache.enabled": "false",
  "cache.path": '"/var/cache/walrust"',
  "cache.retention": '"2h"',
  "cache.max_size": '"10GB"',
  "cache.uploader_concurrency": "3",
  "compaction.enabled": "false",
  "compaction.threshold": "100",
  "compaction.size": '"16MB"',
  "compaction.max_incremental_age": '"24h"',
  "compaction.preserve_recent": "25",
  "compaction.levels": '["10s", "1m"]',
  "retention.hourly": "48",
  "retention.daily": "14",
  "retention.weekly": "3",
  "retention.monthly": "6",
  "retry.max_retries": "2",
  "retry.base_delay_ms": "50",
  "retry.max_delay_ms": "1000",
  "retry.circuit_breaker_enabled": "false",
  "retry.circuit_breaker_threshold": "4",
  "retry.circuit_breaker_cooldown_ms": "5000",
  "metrics.enabled": "false",
  "metrics.port": "9100",
  "metrics.address": '"0.0.0.0"',
  "metrics.per_database": "false",
  "heartbeat.url": '"https://hc.example/ping/SECRETPATH"',
  "heartbeat.interval": "30",
  "heartbeat.max_lag": "20",
  "webhooks.url": '"https://hooks.example/T0/SECRETPATH"',
  "webhooks.events": '["auth_failure"]',
  "webhooks.secret": '"HMACSAMPLE"',
  "databases.path": '"/data/app.db"',
  "databases.name": '"shop"',
  "databases.prefix": '"production"',
  "databases.allow_empty": "true",
};

/** Parts of sample values that no output may contain. */
export const SECRET_SAMPLES = ["AKIDSAMPLE", "SECRETSAMPLE", "TOKENSAMPLE", "SECRETPATH", "HMACSAMPLE"];

/** The sample of a key, as TOML. */
export function sampleOf(key: string): string {
  const sample = SAMPLES[key];
  if (sample === undefined) throw new Error(`no sample for ${key}: add one`);
  return sample;
}

/** The sample of a key, as the text of an environment variable. */
export function variableSampleOf(key: string): string {
  const entries = sampleOf(key).replace(/^\[(.*)\]$/, "$1");
  return entries.replaceAll('"', "").replaceAll(", ", ",");
}

/** Every option that has a key, with its section. */
export function allKeys(): { readonly section: string; readonly key: string; readonly spec: OptionSpec }[] {
  return SECTIONS.flatMap(({ name, options }) =>
    Object.values(options).map((spec) => ({ section: name, key: spec.key ?? "", spec })),
  );
}
