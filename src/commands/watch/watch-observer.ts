/**
 * Who is told how the watch fares, as the settings say: the status server, webhooks, the heartbeat. Nothing
 * of it is loaded when none is enabled.
 */
import { resolveOptions, type Sources, valuesOf } from "../../config/resolve.ts";
import { HEARTBEAT_OPTIONS, METRICS_OPTIONS, WEBHOOK_EVENTS } from "../../config/settings/settings-notify.ts";
import type { Condition } from "../../errors.ts";
import type { ObservabilityOptions } from "../../observability/observer.ts";
import type { WatchEvent } from "../../replication/context/watch-events.ts";
import type { DatabaseStatus } from "../../replication/watch/watch-status.ts";
import type { Invocation } from "../shared/verb.ts";

/** What is observed of a running watch. */
export interface ObservedWatch {
  statuses(): readonly DatabaseStatus[];
  storeConditions(): readonly Condition[];
}

/** An observer of a watch that has not begun yet. */
export interface WatchObserver {
  /** The watch has begun. */
  start(watch: ObservedWatch): void;
  observe(event: WatchEvent): void;
  close(): Promise<void>;
}

/** What the settings enable. @throws WalrustError code "config" */
export function observabilityOptions(sources: Sources): ObservabilityOptions {
  const { metrics, metricsPort, metricsAddress } = valuesOf(resolveOptions(sources, METRICS_OPTIONS));
  const { heartbeatUrl, heartbeatInterval, heartbeatMaxLag } = valuesOf(
    resolveOptions(sources, HEARTBEAT_OPTIONS),
  );
  return {
    metrics: metrics ? { port: metricsPort, address: metricsAddress } : null,
    heartbeat:
      heartbeatUrl === undefined
        ? null
        : { url: heartbeatUrl, intervalMs: heartbeatInterval, maxLagMs: heartbeatMaxLag },
    webhooks: (sources.file?.webhooks ?? []).map(({ values }) => {
      const secret = values.get("webhooks.secret")?.value as string | undefined;
      return {
        url: values.get("webhooks.url")?.value as string,
        events: (values.get("webhooks.events")?.value as readonly string[] | undefined) ?? WEBHOOK_EVENTS,
        ...(secret === undefined ? {} : { secret }),
      };
    }),
  };
}

/** Starts what is enabled, or nothing: null. @throws WalrustError code "config" */
export async function startObserver({ sources, env, version }: Invocation): Promise<WatchObserver | null> {
  const options = observabilityOptions(sources);
  const { metrics, heartbeat, webhooks } = options;
  if (metrics === null && heartbeat === null && webhooks.length === 0) return null;
  const { startObservability } = await import("../../observability/observer.ts");
  let watched: ObservedWatch = { statuses: () => [], storeConditions: () => [] };
  const source = {
    statuses: () => watched.statuses(),
    storeConditions: () => watched.storeConditions(),
    writerOf: (database: string) =>
      watched.statuses().find((status) => status.database === database)?.writer ?? null,
  };
  const observer = startObservability(options, source, env, version);
  return {
    start: (watch) => {
      watched = watch;
    },
    observe: (event) => observer.observe(event),
    close: () => observer.close(),
  };
}
