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

/** The settings of observability. */
type ObserverConfig = Pick<Config, "metrics" | "heartbeat" | "webhooks">;

/** An observer that is made before its watch starts. */
interface WatchObserver {
  /** Hands over the running watch. */
  start(watch: ObservedWatch): void;
  observe(event: WatchEvent): void;
  close(): Promise<void>;
}

/** No status server. */
const NO_SERVER = { enabled: false } as const;
/** Neither heartbeat nor webhooks. */
const NO_NOTICES = { url: undefined } as const;

/**
 * The observers of one watch: one with the status server, which lasts as long as the watch, and one with
 * webhooks and heartbeat, which a reload replaces.
 */
export class WatchObservers {
  #notices: WatchObserver | null = null;
  #server: WatchObserver | null = null;

  private constructor(
    public config: ObserverConfig,
    readonly invocation: Pick<Invocation, "env" | "version">,
  ) {}

  /** Starts the enabled parts. @throws WalrustError code "config" */
  static async start(
    config: ObserverConfig,
    invocation: Pick<Invocation, "env" | "version">,
  ): Promise<WatchObservers> {
    const observers = new WatchObservers(config, invocation);
    const { metrics, heartbeat } = config;
    observers.#notices = await startObserver(
      { ...config, metrics: { ...metrics, ...NO_SERVER } },
      invocation,
    );
    const serverOnly = { metrics, heartbeat: { ...heartbeat, ...NO_NOTICES }, webhooks: [] };
    observers.#server = await startObserver(serverOnly, invocation);
    return observers;
  }

  /** Hands over the running watch. */
  begin(watch: ObservedWatch): void {
    this.#server?.start(watch);
    this.#notices?.start(watch);
  }

  observe(event: WatchEvent): void {
    this.#server?.observe(event);
    this.#notices?.observe(event);
  }

  /**
   * Takes the other webhooks and the other heartbeat of a configuration, if they are others. A failure that a
   * former webhook reported has no end for the new one.
   * @throws WalrustError code "config"; nothing has changed then
   */
  async reconfigure(config: ObserverConfig, watch: ObservedWatch): Promise<void> {
    const { metrics, heartbeat, webhooks } = this.config;
    if (Bun.deepEquals([heartbeat, webhooks], [config.heartbeat, config.webhooks])) return;
    const notices = await startObserver(
      { ...config, metrics: { ...metrics, ...NO_SERVER } },
      this.invocation,
    );
    const former = this.#notices;
    this.config = { ...config, metrics };
    this.#notices = notices;
    notices?.start(watch);
    await former?.close();
  }

  async close(): Promise<void> {
    await Promise.all([this.#server?.close(), this.#notices?.close()]);
  }
}

/** Starts the enabled parts; null if none is. @throws WalrustError code "config" */
async function startObserver(
  config: ObserverConfig,
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
