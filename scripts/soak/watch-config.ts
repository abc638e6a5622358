/**
 * Writes the walrust.toml of a soak. PURE. The intervals are short, so that snapshots, merges, retention,
 * validations and the expiry of local files happen many times in each minute. The lifetimes of merged
 * sources in the bucket (an hour on level 0) have no setting: only a run of more than an hour reaches them.
 */
import { tomlText } from "../measure/toml.ts";
import type { DatabasePlan } from "./load-plan.ts";

/** Places of one run. */
export interface WatchPlaces {
  /** Destination, such as s3://bucket/prefix. */
  readonly bucket: string;
  readonly endpoint: string;
  readonly stateFolder: string;
  readonly metricsPort: number;
  /** Path of a database by its name. */
  readonly pathOf: (name: string) => string;
}

/** The text of the file. */
export function watchConfig(plans: readonly DatabasePlan[], places: WatchPlaces): string {
  const sections: Record<string, object> = {
    s3: { bucket: places.bucket, endpoint: places.endpoint },
    sync: { checkpoint_interval: 10, shutdown_timeout: 60 },
    state: { path: places.stateFolder },
    // Uploaded copies expire every ten minutes; the limit on their size is reached before.
    cache: { retention: "30s", max_size: "120MB" },
    compaction: { levels: ["5s", "20s", "60s"] },
    retention: { hourly: 1, daily: 1, weekly: 0, monthly: 0 },
    // Short, so that a breaker opens and closes in each outage.
    retry: { max_retries: 3, base_delay_ms: 50, max_delay_ms: 1_000 },
    metrics: { port: places.metricsPort },
  };
  Object.assign(sections["retry"]!, { circuit_breaker_threshold: 3, circuit_breaker_cooldown_ms: 3_000 });
  return tomlText(
    sections,
    plans.map(({ name, settings }) => ({ path: places.pathOf(name), ...settings })),
  );
}
