/**
 * Reads the metrics of a running watch.
 */

const METRICS_LIMIT_MS = 5_000;

/** Fetches /metrics. @throws Error when the watch does not answer */
export async function fetchMetrics(metricsUrl: string): Promise<MetricFigures> {
  const signal = AbortSignal.timeout(METRICS_LIMIT_MS);
  return parseMetrics(await (await fetch(`${metricsUrl}/metrics`, { signal })).text());
}

/** Figures of the watch's own metrics. */
export interface MetricFigures {
  /** Lag of the database that is farthest behind. */
  readonly lagSeconds: number;
  /** Captured files that wait for their upload, over all databases. */
  readonly pendingCount: number;
  readonly incrementCount: number;
  readonly snapshotCount: number;
  readonly mergeCount: number;
  readonly events: Readonly<Record<string, number>>;
}

/** Parses the text of /metrics. @throws Error when a metric is missing */
export function parseMetrics(text: string): MetricFigures {
  const values = (name: string, label = ""): number[] =>
    [...text.matchAll(new RegExp(`^walrust_${name}(\\{[^}]*\\})? (\\S+)$`, "gm"))]
      .filter(([, labels = ""]) => labels.includes(label))
      .map(([, , value]) => Number(value));
  const sum = (name: string, label = ""): number =>
    values(name, label).reduce((total, value) => total + value, 0);
  if (values("up").length === 0) throw new Error(`The watch has no metrics: ${text.slice(0, 200)}`);
  return {
    lagSeconds: Math.max(0, ...values("lag_seconds")),
    pendingCount: sum("cache_pending_uploads"),
    incrementCount: sum("uploads_total", 'kind="increment"'),
    snapshotCount: sum("snapshot_count"),
    mergeCount: sum("compaction_total"),
    events: {
      checkpoints: sum("checkpoint_total"),
      "re-anchors": sum("re_anchor_total"),
      "open breakers": sum("circuit_open_total"),
      validations: sum("validation_success_total"),
      "failed validations": sum("validation_failure_total"),
      failures: sum("errors_total"),
    },
  };
}
