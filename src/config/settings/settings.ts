/**
 * The table of settings, one row each: key in walrust.toml, flag, environment variable, default, range and
 * meaning. The name of a row is the name of its field in the Config: the key in camelCase, with the unit
 * (test/config/settings/setting-names.test.ts). A setting or flag that has no row here, in
 * settings-notify.ts or in options.ts does not exist.
 */
import { group, type OptionSpec } from "./option-spec.ts";

const YEAR_SECONDS = 31_536_000;

/** [s3]: the destination of the backups. */
export const STORE_OPTIONS = group({
  bucket: {
    flag: "bucket",
    alias: "b",
    key: "s3.bucket",
    kind: "text",
    value: "URL",
    meaning: "Destination of the backups: s3://bucket/prefix or file:///folder",
  },
  endpoint: {
    flag: "endpoint",
    key: "s3.endpoint",
    env: ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
    kind: "text",
    value: "URL",
    meaning: "URL of the S3 endpoint, for every provider but AWS",
  },
  region: {
    key: "s3.region",
    env: ["AWS_REGION", "AWS_DEFAULT_REGION"],
    kind: "text",
    default: "us-east-1",
    meaning: "Region of the bucket",
  },
  accessKeyId: {
    key: "s3.access_key_id",
    env: ["AWS_ACCESS_KEY_ID"],
    kind: "text",
    isSecret: true,
    meaning: "Access key; without it, the AWS chain gives the keys (profiles, SSO, web identity, ECS, IMDS)",
  },
  secretAccessKey: {
    key: "s3.secret_access_key",
    env: ["AWS_SECRET_ACCESS_KEY"],
    kind: "text",
    isSecret: true,
    meaning: "Secret of the access key",
  },
  sessionToken: {
    key: "s3.session_token",
    env: ["AWS_SESSION_TOKEN"],
    kind: "text",
    isSecret: true,
    meaning: "Session token of temporary keys",
  },
  profile: {
    key: "s3.profile",
    env: ["AWS_PROFILE"],
    kind: "text",
    meaning: "Profile of the AWS configuration files that holds the keys",
  },
  pathStyle: {
    key: "s3.path_style",
    kind: "switch",
    meaning:
      "Put the bucket into the path of the URL; default: true with an endpoint or a dot in the bucket's name",
  },
  storageClass: {
    key: "s3.storage_class",
    kind: "text",
    meaning: "Storage class of new objects, for example STANDARD_IA",
  },
  sse: {
    key: "s3.sse",
    kind: "text",
    choices: ["AES256", "aws:kms", "aws:kms:dsse"],
    meaning: "Server-side encryption of new objects",
  },
  sseKmsKeyId: {
    key: "s3.sse_kms_key_id",
    kind: "text",
    meaning: "Id or ARN of the KMS key that encrypts new objects; implies `sse` aws:kms",
  },
  caFile: {
    key: "s3.ca_file",
    kind: "text",
    isPath: true,
    meaning: "PEM file of certificate authorities to trust beside those of the system and of `AWS_CA_BUNDLE`",
  },
  contentMd5: {
    key: "s3.content_md5",
    kind: "switch",
    meaning: "Send Content-MD5 with every upload; default: only if the bucket asks for it",
  },
});

/** [sync]: captures, checkpoints and snapshots. */
export const SYNC_OPTIONS = group({
  walSyncIntervalMs: {
    flag: "wal-sync-interval",
    key: "sync.wal_sync_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 1,
    min: 0.01,
    max: 3600,
    meaning:
      "Upload the commits of a database at most this often; after a pause, upload the first commit at once",
  },
  checkpointIntervalMs: {
    flag: "checkpoint-interval",
    key: "sync.checkpoint_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 60,
    min: 0.1,
    max: 86_400,
    meaning:
      "Checkpoint this often, even if the WAL is shorter than `--min-checkpoint-pages`; " +
      "up to three times as seldom when walrust cannot keep up",
  },
  minCheckpointPageCount: {
    flag: "min-checkpoint-pages",
    key: "sync.min_checkpoint_page_count",
    kind: "count",
    value: "N",
    default: 1000,
    min: 1,
    max: 10_000_000,
    meaning: "Checkpoint as soon as the WAL has this many pages, or later when walrust cannot keep up",
  },
  walTruncateThresholdPages: {
    flag: "wal-truncate-threshold",
    key: "sync.wal_truncate_threshold_pages",
    kind: "count",
    value: "N",
    default: 121_359,
    min: 1,
    max: 1_000_000_000,
    meaning: "After a checkpoint, truncate a WAL of more than this many pages",
  },
  validationIntervalMs: {
    flag: "validation-interval",
    key: "sync.validation_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Verify the objects of each database this often, as `walrust verify` does; 0: never",
  },
  snapshotIntervalMs: {
    flag: "snapshot-interval",
    key: "sync.snapshot_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 3600,
    max: YEAR_SECONDS,
    meaning: "Take a snapshot this often if the database has changed; 0: never",
  },
  maxChanges: {
    flag: "max-changes",
    key: "sync.max_changes",
    kind: "count",
    value: "N",
    default: 0,
    max: 1_000_000_000,
    meaning: "Take a snapshot once this many WAL frames were captured since the last snapshot; 0: off",
  },
  maxIntervalMs: {
    flag: "max-interval",
    key: "sync.max_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Take a snapshot once a commit has waited this long for a snapshot; 0: off",
  },
  onIdleMs: {
    flag: "on-idle",
    key: "sync.on_idle",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Take a snapshot once a changed database has been idle this long; 0: off",
  },
  onStartup: {
    flag: "on-startup",
    key: "sync.on_startup",
    kind: "switch",
    value: "true|false",
    default: true,
    meaning:
      "Take a snapshot at start if the newest snapshot is older than the snapshot interval, " +
      "and the database has changed since",
  },
  compactIntervalMs: {
    flag: "compact-interval",
    key: "sync.compact_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Apply retention (`--retain-…`) this often; 0: never",
  },
  compactAfterSnapshot: {
    flag: "compact-after-snapshot",
    key: "sync.compact_after_snapshot",
    kind: "switch",
    default: false,
    meaning: "Apply retention (`--retain-…`) after each snapshot",
  },
  shutdownTimeoutMs: {
    key: "sync.shutdown_timeout",
    kind: "seconds",
    default: 5,
    max: 3600,
    meaning: "Time for the last uploads after SIGINT, SIGTERM or SIGHUP",
  },
});

/** [compaction]: merges of increments. */
export const COMPACTION_OPTIONS = group({
  enabled: {
    key: "compaction.enabled",
    kind: "switch",
    default: true,
    meaning: "Merge increments while watching",
  },
  threshold: {
    flag: "compact-threshold",
    key: "compaction.threshold",
    kind: "count",
    value: "N",
    default: 0,
    max: 1_000_000,
    meaning: "Merge increments early once this many wait for a merge; 0: off",
  },
  sizeBytes: {
    flag: "compact-size",
    key: "compaction.size",
    kind: "bytes",
    value: "BYTES",
    default: 0,
    meaning: "Merge increments early once the waiting increments reach this total size; 0: off",
  },
  maxIncrementalAgeMs: {
    flag: "compact-age",
    key: "compaction.max_incremental_age",
    kind: "duration",
    value: "DURATION",
    default: 0,
    meaning: "Merge increments early once the oldest has waited this long; 0: off",
  },
  preserveRecent: {
    key: "compaction.preserve_recent",
    kind: "count",
    default: 10,
    min: 1,
    max: 1_000_000,
    meaning: "Keep at least this many of the newest increments after they are merged",
  },
  levelsMs: {
    key: "compaction.levels",
    kind: "durations",
    default: [30, 300, 3600],
    min: 1,
    max: 30 * 86_400,
    countMax: 3,
    meaning: "Intervals of the merges into level 1, 2 and 3; fewer entries make fewer levels",
  },
});

/** The number of snapshots that one rule of retention keeps. */
function keep<const F extends string>(flag: F, rule: string, period: string, count: number) {
  return {
    flag,
    key: `retention.${rule}`,
    kind: "count",
    value: "N",
    default: count,
    max: 10_000,
    meaning: `For each of the last N ${period} with snapshots, keep the newest snapshot`,
  } as const satisfies OptionSpec;
}

/** [retention]: the snapshots to keep, as flags of `watch`. */
export const RETENTION_OPTIONS = group({
  hourly: keep("retain-hourly", "hourly", "hours", 24),
  daily: keep("retain-daily", "daily", "days", 7),
  weekly: keep("retain-weekly", "weekly", "weeks", 12),
  monthly: keep("retain-monthly", "monthly", "months", 12),
});

/** [retention], as flags of `compact`. */
export const KEEP_OPTIONS = group({
  hourly: keep("hourly", "hourly", "hours", 24),
  daily: keep("daily", "daily", "days", 7),
  weekly: keep("weekly", "weekly", "weeks", 12),
  monthly: keep("monthly", "monthly", "months", 12),
});

/** [state]: the place of walrust's own files. */
export const STATE_OPTIONS = group({
  path: {
    flag: "state-dir",
    key: "state.path",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning:
      "Folder for the state and captured files of all databases, instead of a folder beside each database",
  },
});

/** [cache]: captured files on the local disk. */
export const CACHE_OPTIONS = group({
  enabled: {
    flag: "no-cache",
    isNegative: true,
    key: "cache.enabled",
    kind: "switch",
    default: true,
    meaning: "Keep captured files on disk; off: delete each after its upload, and capture again only then",
    flagMeaning: "Delete each captured file after its upload, and capture again only then",
  },
  path: {
    flag: "cache-dir",
    key: "cache.path",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning: "Folder for the captured files of all databases, instead of the state folder of each database",
  },
  retentionMs: {
    flag: "cache-retention",
    key: "cache.retention",
    kind: "duration",
    value: "DURATION",
    default: 86_400,
    meaning: "Keep uploaded increments on disk this long, for compaction and restore to read",
  },
  maxSizeBytes: {
    flag: "cache-max-size",
    key: "cache.max_size",
    kind: "bytes",
    value: "BYTES",
    default: 5 * 1024 ** 3,
    min: 1024 ** 2,
    meaning:
      "Most bytes of captured files on disk over all databases; at the limit, captures wait for uploads",
  },
  uploaderConcurrency: {
    flag: "uploader-concurrency",
    key: "cache.uploader_concurrency",
    kind: "count",
    value: "N",
    default: 128,
    min: 1,
    max: 256,
    meaning: "Most uploads at once over all databases; walrust adapts the actual number to the store",
  },
});

/** [retry]: retries, and the suspension of requests, while the store fails. */
export const RETRY_OPTIONS = group({
  maxRetries: {
    flag: "max-retries",
    key: "retry.max_retries",
    kind: "count",
    value: "N",
    default: 5,
    max: 100,
    meaning: "Retry a failed request this many times",
  },
  baseDelayMs: {
    flag: "base-delay-ms",
    key: "retry.base_delay_ms",
    kind: "milliseconds",
    value: "MS",
    default: 100,
    max: 600_000,
    meaning: "Longest wait before the first retry; the wait doubles with each further retry",
  },
  maxDelayMs: {
    flag: "max-delay-ms",
    key: "retry.max_delay_ms",
    kind: "milliseconds",
    value: "MS",
    default: 30_000,
    max: 3_600_000,
    meaning: "Longest wait before any retry",
  },
  circuitBreakerEnabled: {
    flag: "no-circuit-breaker",
    isNegative: true,
    key: "retry.circuit_breaker_enabled",
    kind: "switch",
    default: true,
    meaning: "Suspend the requests of a database whose calls keep failing",
    flagMeaning: "Never suspend the requests of a database whose calls keep failing",
  },
  circuitBreakerThreshold: {
    flag: "circuit-breaker-threshold",
    key: "retry.circuit_breaker_threshold",
    kind: "count",
    value: "N",
    default: 10,
    min: 1,
    max: 1_000_000,
    meaning: "Suspend the requests of a database after this many calls in a row failed despite retries",
  },
  circuitBreakerCooldownMs: {
    key: "retry.circuit_breaker_cooldown_ms",
    kind: "milliseconds",
    default: 60_000,
    min: 1,
    max: 86_400_000,
    meaning: "Time from the suspension to the first trial request",
  },
});
