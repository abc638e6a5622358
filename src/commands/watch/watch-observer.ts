/**
 * Who is told how the watch fares, as the settings say: the status server, webhooks, the heartbeat. Nothing
 * of it is loaded when none is enabled.
 */
import type { Config } from "../../config/config.ts";
import type { Condition } from "../../errors.ts";
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

/** Starts what is enabled, or nothing: null. @throws WalrustError code "config" */
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
