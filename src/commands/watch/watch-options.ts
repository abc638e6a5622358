/**
 * From settings to what replication takes: for the process, and for each database that overrides something.
 */
import type { DatabaseEntry } from "../../config/database-entries.ts";
import { type Resolved, resolveOptions, type Sources, valuesOf } from "../../config/resolve.ts";
import type { OptionValues } from "../../config/settings/option-spec.ts";
import {
  CACHE_OPTIONS,
  COMPACTION_OPTIONS,
  RETENTION_OPTIONS,
  RETRY_OPTIONS,
  SYNC_OPTIONS,
} from "../../config/settings/settings.ts";
import type { DatabaseOptions, WatchOptions } from "../../replication/context/database-options.ts";
import type { CompactionPolicy } from "../../replication/context/policies.ts";
import { DEFAULT_COMPACTION } from "../../replication/upkeep/compaction-plan.ts";
import type { BreakerPolicy } from "../../storage/contract/circuit.ts";

/** The settings of one database, or of those without an entry of their own. */
export interface DatabaseSettings {
  readonly sync: Resolved<typeof SYNC_OPTIONS>;
  readonly compaction: Resolved<typeof COMPACTION_OPTIONS>;
  readonly retention: Resolved<typeof RETENTION_OPTIONS>;
}

/** @throws WalrustError code "usage" or "config" */
export function databaseSettings(sources: Sources, entry: DatabaseEntry | null): DatabaseSettings {
  return {
    sync: resolveOptions(sources, SYNC_OPTIONS, entry),
    compaction: resolveOptions(sources, COMPACTION_OPTIONS, entry),
    retention: resolveOptions(sources, RETENTION_OPTIONS, entry),
  };
}

/** How a database is replicated. @throws WalrustError code "usage" or "config" */
export function databaseOptions(sources: Sources, entry: DatabaseEntry | null): DatabaseOptions {
  const settings = databaseSettings(sources, entry);
  const sync = valuesOf(settings.sync);
  const compaction = valuesOf(settings.compaction);
  const retention = valuesOf(settings.retention);
  const cache = valuesOf(resolveOptions(sources, CACHE_OPTIONS));
  return {
    walSyncIntervalMs: sync.walSyncInterval,
    checkpointIntervalMs: sync.checkpointInterval,
    minCheckpointPages: sync.minCheckpointPages,
    walTruncateThresholdPages: sync.walTruncateThreshold,
    shutdownTimeoutMs: sync.shutdownTimeout,
    validationIntervalMs: sync.validationInterval,
    maintenance: {
      snapshots: {
        intervalMs: sync.snapshotInterval,
        maxChanges: sync.maxChanges,
        maxIntervalMs: sync.maxInterval,
        onIdleMs: sync.onIdle,
        onStartup: sync.onStartup,
      },
      compaction: compaction.compaction ? compactionPolicy(compaction) : null,
      retention: {
        hourly: retention.retainHourly,
        daily: retention.retainDaily,
        weekly: retention.retainWeekly,
        monthly: retention.retainMonthly,
      },
      retentionIntervalMs: sync.compactInterval,
      retainAfterSnapshot: sync.compactAfterSnapshot,
      cacheRetentionMs: cache.cache ? cache.cacheRetention : 0,
    },
  };
}

/** How increments are merged; a level without an interval is not made. */
export function compactionPolicy(values: OptionValues<typeof COMPACTION_OPTIONS>): CompactionPolicy {
  const { levels } = values;
  const never = Number.POSITIVE_INFINITY;
  return {
    ...DEFAULT_COMPACTION,
    intervalsMs: [levels[0] ?? never, levels[1] ?? never, levels[2] ?? never],
    threshold: values.compactThreshold,
    sizeBytes: values.compactSize,
    maxIncrementalAgeMs: values.compactAge,
    preserveRecent: values.preserveRecent,
  };
}

/** How all databases of a process are replicated. @throws WalrustError code "usage" or "config" */
export function watchOptions(sources: Sources): WatchOptions {
  const cache = valuesOf(resolveOptions(sources, CACHE_OPTIONS));
  return {
    ...databaseOptions(sources, null),
    uploaderConcurrency: cache.uploaderConcurrency,
    isDirect: !cache.cache,
    spoolBytesMax: cache.cacheMaxSize,
    breaker: breakerPolicy(sources),
  };
}

function breakerPolicy(sources: Sources): BreakerPolicy | null {
  const { circuitBreaker, circuitBreakerThreshold, circuitBreakerCooldownMs } = valuesOf(
    resolveOptions(sources, RETRY_OPTIONS),
  );
  return circuitBreaker ? { threshold: circuitBreakerThreshold, cooldownMs: circuitBreakerCooldownMs } : null;
}
