/**
 * Starts the observability of a watch as configured: status server, webhooks and heartbeat. Their code is
 * loaded only if one of them is enabled.
 */
import type { Config } from "../../config/config.ts";
import type { Condition } from "../../errors.ts";
import type { WatchEvent } from "../../replication/context/watch-events.ts";
import type { DatabaseStatus } from "../../replication/watch/watch-status.ts";
import type { Invocation } from "../shared/verb.ts";

/** The facts that observability reads from a running watch. */
export interface ObservedWatch {
  statuses(): readonly DatabaseStatus[];
  storeConditions(): readonly Condition[];
}

/** An observer that is made before its watch starts. */
export interface WatchObserver {
  /** Hands over the running watch. */
  start(watch: ObservedWatch): void;
  observe(event: WatchEvent): void;
  close(): Promise<void>;
}

/** Starts the enabled parts; null if none is. @throws WalrustError code "config" */
export async function startObserver(
  config: Config,
  { env, version }: Pick<Invocation, "env" | "version">,
): Promise<WatchObserver | null> {
  const { metrics, heartbeat, webhooks } = config;
  if (!metrics.enabled && heartbeat.url === undefined && webhooks.length === 0) return null;
  const { startObservability } = await import("../../observability/observer.ts");
  let watched: ObservedWatch = { statuses: () => [], storeConditions: () => [] };
  const source = {
    statuses: () => watched.statuses(),
    storeConditions: () => watched.storeConditions(),
    writerOf: (database: string) =>
      watched.statuses().find((status) => status.database === database)?.writer ?? null,
  };
  const observer = startObservability(config, source, env, version);
  return {
    start: (watch) => {
      watched = watch;
    },
    observe: (event) => observer.observe(event),
    close: () => observer.close(),
  };
}
