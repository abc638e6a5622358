/**
 * The table of settings: what can be said in walrust.toml, and most of it by a flag or an environment
 * variable too. What is not here (or, for flags of single verbs, in options.ts) does not exist.
 */
import { group, type OptionSpec } from "./option-spec.ts";

const YEAR_SECONDS = 31_536_000;

/** [s3]: where objects go. */
export const STORE_OPTIONS = group({
  bucket: {
    flag: "bucket",
    alias: "b",
    key: "s3.bucket",
    kind: "text",
    value: "URL",
    meaning: "Destination: s3://bucket/prefix or file:///folder",
  },
  endpoint: {
    flag: "endpoint",
    key: "s3.endpoint",
    env: ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"],
    kind: "text",
    value: "URL",
    meaning: "S3 endpoint, for anything but AWS",
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
    meaning: "Access key; without one the AWS chain is asked (profiles, SSO, web identity, ECS, IMDS)",
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
    meaning: "Profile of the AWS configuration files, instead of keys",
  },
  pathStyle: {
    key: "s3.path_style",
    kind: "switch",
    meaning:
      "Bucket in the path of the URL, not in its host; by itself: with an endpoint, or a dot in the name",
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
    meaning: "PEM file of certificate authorities to trust, added to those of the system and `AWS_CA_BUNDLE`",
  },
  contentMd5: {
    key: "s3.content_md5",
    kind: "switch",
    meaning: "Send Content-MD5 with every upload; by itself: only when the bucket asks for it",
  },
});

/** [sync]: capture, checkpoints, snapshots. */
export const SYNC_OPTIONS = group({
  walSyncIntervalMs: {
    flag: "wal-sync-interval",
    key: "sync.wal_sync_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 1,
    min: 0.01,
    max: 3600,
    meaning: "Least time between two uploads of one database; the first of a burst goes at once",
  },
  checkpointIntervalMs: {
    flag: "checkpoint-interval",
    key: "sync.checkpoint_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 60,
    min: 0.1,
    max: 86_400,
    meaning: "Checkpoint a WAL that is shorter than that at least this often",
  },
  minCheckpointPageCount: {
    flag: "min-checkpoint-pages",
    key: "sync.min_checkpoint_page_count",
    kind: "count",
    value: "N",
    default: 1000,
    min: 1,
    max: 10_000_000,
    meaning: "Checkpoint as soon as the WAL has this many pages",
  },
  walTruncateThresholdPages: {
    flag: "wal-truncate-threshold",
    key: "sync.wal_truncate_threshold_pages",
    kind: "count",
    value: "N",
    default: 121_359,
    min: 1,
    max: 1_000_000_000,
    meaning: "Truncate a WAL of more than this many pages after its checkpoint",
  },
  validationIntervalMs: {
    flag: "validation-interval",
    key: "sync.validation_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Verify what is stored of each database this often, as `walrust verify` does; 0: never",
  },
  snapshotIntervalMs: {
    flag: "snapshot-interval",
    key: "sync.snapshot_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 3600,
    max: YEAR_SECONDS,
    meaning: "Snapshot a database that changed at least this often; 0: never",
  },
  maxChanges: {
    flag: "max-changes",
    key: "sync.max_changes",
    kind: "count",
    value: "N",
    default: 0,
    max: 1_000_000_000,
    meaning: "Snapshot after this many WAL frames; 0: off",
  },
  maxIntervalMs: {
    flag: "max-interval",
    key: "sync.max_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Snapshot this long after the first change since the last one; 0: off",
  },
  onIdleMs: {
    flag: "on-idle",
    key: "sync.on_idle",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Snapshot after this long without a change; 0: off",
  },
  onStartup: {
    flag: "on-startup",
    key: "sync.on_startup",
    kind: "switch",
    value: "true|false",
    default: true,
    meaning: "Snapshot at start when the newest is older than the snapshot interval",
  },
  compactIntervalMs: {
    flag: "compact-interval",
    key: "sync.compact_interval",
    kind: "seconds",
    value: "SECONDS",
    default: 0,
    max: YEAR_SECONDS,
    meaning: "Apply retention this often; 0: never",
  },
  compactAfterSnapshot: {
    flag: "compact-after-snapshot",
    key: "sync.compact_after_snapshot",
    kind: "switch",
    default: false,
    meaning: "Apply retention after each snapshot",
  },
  shutdownTimeoutMs: {
    key: "sync.shutdown_timeout",
    kind: "seconds",
    default: 5,
    max: 3600,
    meaning: "How long the last uploads may take after SIGINT or SIGTERM",
  },
});

/** [compaction]: merging increments. */
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
    meaning: "Merge as soon as this many increments wait; 0: only by the clock",
  },
  sizeBytes: {
    flag: "compact-size",
    key: "compaction.size",
    kind: "bytes",
    value: "BYTES",
    default: 0,
    meaning: "Merge as soon as increments of this size wait; 0: only by the clock",
  },
  maxIncrementalAgeMs: {
    flag: "compact-age",
    key: "compaction.max_incremental_age",
    kind: "duration",
    value: "DURATION",
    default: 0,
    meaning: "Merge as soon as an increment has waited this long; 0: only by the clock",
  },
  preserveRecent: {
    key: "compaction.preserve_recent",
    kind: "count",
    default: 10,
    min: 1,
    max: 1_000_000,
    meaning: "Keep at least this many of the newest increments as they were captured",
  },
  levelsMs: {
    key: "compaction.levels",
    kind: "durations",
    default: [30, 300, 3600],
    min: 1,
    max: 30 * 86_400,
    countMax: 3,
    meaning: "How often increments are merged into level 1, 2 and 3; fewer entries: fewer levels",
  },
});

/** A count of snapshots of one kind that retention keeps. */
function retention<const F extends string>(flag: F, kind: string, count: number) {
  return {
    flag,
    key: `retention.${kind}`,
    kind: "count",
    value: "N",
    default: count,
    max: 10_000,
    meaning: `Keep the newest snapshot of each of the last N ${kind} periods`,
  } as const satisfies OptionSpec;
}

/** [retention]: which snapshots stay, as flags of `watch`. */
export const RETENTION_OPTIONS = group({
  hourly: retention("retain-hourly", "hourly", 24),
  daily: retention("retain-daily", "daily", 7),
  weekly: retention("retain-weekly", "weekly", 12),
  monthly: retention("retain-monthly", "monthly", 12),
});

/** [retention], as flags of `compact`. */
export const KEEP_OPTIONS = group({
  hourly: retention("hourly", "hourly", 24),
  daily: retention("daily", "daily", 7),
  weekly: retention("weekly", "weekly", 12),
  monthly: retention("monthly", "monthly", 12),
});

/** [state]: where walrust keeps its own files. */
export const STATE_OPTIONS = group({
  path: {
    flag: "state-dir",
    key: "state.path",
    env: ["WALRUST_STATE_PATH"],
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning: "Folder for the state of every database, instead of a folder beside each",
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
    meaning:
      "Capture ahead of the uploads; without it, no further than what was uploaded, and keep nothing of it",
  },
  path: {
    flag: "cache-dir",
    key: "cache.path",
    kind: "text",
    value: "PATH",
    isPath: true,
    meaning: "Keep captured files there instead of beside each database",
  },
  retentionMs: {
    flag: "cache-retention",
    key: "cache.retention",
    kind: "duration",
    value: "DURATION",
    default: 86_400,
    meaning: "Keep uploaded increments on disk this long, for compaction and restore",
  },
  maxSizeBytes: {
    flag: "cache-max-size",
    key: "cache.max_size",
    kind: "bytes",
    value: "BYTES",
    default: 5 * 1024 ** 3,
    min: 1024 ** 2,
    meaning: "Most bytes of captured files on disk, over all databases",
  },
  uploaderConcurrency: {
    flag: "uploader-concurrency",
    key: "cache.uploader_concurrency",
    kind: "count",
    value: "N",
    default: 128,
    min: 1,
    max: 256,
    meaning: "Most uploads at once over all databases; the number in use adapts to the store",
  },
});

/** [retry]: what happens when the store fails. */
export const RETRY_OPTIONS = group({
  maxRetries: {
    flag: "max-retries",
    key: "retry.max_retries",
    kind: "count",
    value: "N",
    default: 5,
    max: 100,
    meaning: "Try a request that failed this many times more",
  },
  baseDelayMs: {
    flag: "base-delay-ms",
    key: "retry.base_delay_ms",
    kind: "milliseconds",
    value: "MS",
    default: 100,
    max: 600_000,
    meaning: "Wait before try n: a random time of up to this times 2^n",
  },
  maxDelayMs: {
    flag: "max-delay-ms",
    key: "retry.max_delay_ms",
    kind: "milliseconds",
    value: "MS",
    default: 30_000,
    max: 3_600_000,
    meaning: "Never wait longer than this before the next try",
  },
  circuitBreakerEnabled: {
    flag: "no-circuit-breaker",
    isNegative: true,
    key: "retry.circuit_breaker_enabled",
    kind: "switch",
    default: true,
    meaning: "Suspend the requests of a database whose calls keep failing",
  },
  circuitBreakerThreshold: {
    flag: "circuit-breaker-threshold",
    key: "retry.circuit_breaker_threshold",
    kind: "count",
    value: "N",
    default: 10,
    min: 1,
    max: 1_000_000,
    meaning:
      "Calls of one database in a row that failed (with all their tries) before its requests are suspended",
  },
  circuitBreakerCooldownMs: {
    key: "retry.circuit_breaker_cooldown_ms",
    kind: "milliseconds",
    default: 60_000,
    min: 1,
    max: 86_400_000,
    meaning: "How long they are suspended before one is tried",
  },
});
