/** Configurations for tests: the defaults, with changes by section. */
import { type Config, resolveConfig } from "../../src/config/config.ts";
import type { BreakerConfig } from "../../src/storage/contract/circuit.ts";

/** Changes to a configuration, by section. */
export type ConfigChange = {
  readonly [Section in Exclude<keyof Config, "webhooks">]?: Partial<Config[Section]>;
};

/** The defaults, resolved without flags and without a configuration file. */
export const DEFAULT_CONFIG: Config = resolveConfig({
  words: { given: new Map(), positionals: [] },
  environment: {},
  file: null,
});

/** A configuration with changes. @param base the configuration to change */
export function configWith(change: ConfigChange, base: Config = DEFAULT_CONFIG): Config {
  const config: Record<string, unknown> = { ...base };
  for (const [section, values] of Object.entries(change)) {
    config[section] = { ...base[section as keyof Config], ...values };
  }
  return config as unknown as Config;
}

/**
 * Uploads each capture at once; checkpoints, snapshots, merges, retention and the circuit breaker are off.
 */
export const CAPTURES_ONLY: Config = configWith({
  sync: {
    walSyncIntervalMs: 1,
    checkpointIntervalMs: 3_600_000,
    minCheckpointPageCount: 1_000_000,
    walTruncateThresholdPages: 1_000_000,
    snapshotIntervalMs: 0,
    onStartup: false,
  },
  cache: { retentionMs: 0, maxSizeBytes: Number.POSITIVE_INFINITY, uploaderConcurrency: 4 },
  compaction: { enabled: false },
  retry: { circuitBreakerEnabled: false },
});

/** A circuit breaker that opens after `threshold` failures in a row. */
export function breakerOf(threshold: number, cooldownMs: number): BreakerConfig {
  return {
    circuitBreakerEnabled: true,
    circuitBreakerThreshold: threshold,
    circuitBreakerCooldownMs: cooldownMs,
  };
}
