/**
 * Configurations for tests: the defaults, and what a test changes of them, by section.
 */
import { type Config, resolveConfig } from "../../src/config/config.ts";
import type { BreakerConfig } from "../../src/storage/contract/circuit.ts";

/** What a test changes of a configuration. */
export type ConfigChange = {
  readonly [Section in Exclude<keyof Config, "webhooks">]?: Partial<Config[Section]>;
};

/** The defaults: nothing is given, and no file is read. */
export const DEFAULT_CONFIG: Config = resolveConfig({
  words: { given: new Map(), positionals: [] },
  environment: {},
  file: null,
});

/** A configuration with changes. @param base what is changed */
export function configWith(change: ConfigChange, base: Config = DEFAULT_CONFIG): Config {
  const config: Record<string, unknown> = { ...base };
  for (const [section, values] of Object.entries(change)) {
    config[section] = { ...base[section as keyof Config], ...values };
  }
  return config as unknown as Config;
}

/**
 * Captures are uploaded at once, and nothing else happens by itself: no checkpoint, snapshot, merge,
 * retention or circuit breaker.
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

/** A circuit breaker that opens after so many failures. */
export function breakerOf(threshold: number, cooldownMs: number): BreakerConfig {
  return {
    circuitBreakerEnabled: true,
    circuitBreakerThreshold: threshold,
    circuitBreakerCooldownMs: cooldownMs,
  };
}
