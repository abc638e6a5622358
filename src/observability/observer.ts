/**
 * Observes one watch: runs the status server, the webhooks and the heartbeat over its events and statuses.
 *
 * Replication never waits: `observe` is synchronous and never throws, the server answers from memory, and
 * webhooks and heartbeat send in tasks of their own. This room is loaded only when a part of it is enabled.
 */
import { hostname } from "node:os";
import type { Config } from "../config/config.ts";
import type { Env } from "../env.ts";
import { errorMessage } from "../errors.ts";
import type { WatchEvent } from "../replication/context/watch-events.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import type { DashboardDocument } from "./dashboard/dashboard-document.ts";
import type { DashboardSource } from "./dashboard-source.ts";
import { Heartbeat } from "./heartbeat.ts";
import { ObservedPages, type PagesSource } from "./observed-pages.ts";
import { LastingStatusServer } from "./status-server.ts";
import { Webhooks } from "./webhooks.ts";

/** Time for the notices that wait at the end. */
const CLOSE_TIMEOUT_MS = 2_000;

/** The settings of observability. */
export type ObservabilityConfig = Pick<Config, "metrics" | "heartbeat" | "webhooks">;

/** The watch to observe. */
export interface ObservedSource extends PagesSource {
  /** The writer id of a database, or null while it is unknown; for the body of webhooks. */
  writerOf(database: string): string | null;
}

/** Observes until it is closed. */
export interface Observer {
  /** URL of the status server; null without one, or while it has no port. */
  readonly metricsUrl: string | null;
  /** Counts an event and notifies webhooks. Cheap, synchronous, never throws. */
  observe(event: WatchEvent): void;
  /** Ends all parts. Waiting notices get two seconds. Never rejects. */
  close(): Promise<void>;
}

/**
 * Starts the enabled parts. If the port of the status server is taken, a warning is logged, the port is tried
 * again, and the other parts run.
 * @throws WalrustError code "config" when the URL of a webhook or heartbeat is invalid
 */
export function startObservability(
  config: ObservabilityConfig,
  source: ObservedSource,
  env: Env,
  version: string,
): Observer {
  return new ProcessObserver(config, source, env, version);
}

class ProcessObserver implements Observer {
  readonly #pages: ObservedPages;
  readonly #webhooks: Webhooks;
  readonly #heartbeat: Heartbeat | null;
  readonly #server: LastingStatusServer | null;
  /** The heartbeat ends at once; webhooks end after their two seconds. */
  readonly #heartbeatEnd = new AbortController();
  readonly #webhooksEnd = new AbortController();
  #closed: Promise<void> | null = null;
  /** Made with the first request for the dashboard. */
  #dashboard: Promise<DashboardSource> | null = null;

  constructor(
    { metrics, heartbeat, webhooks }: ObservabilityConfig,
    source: ObservedSource,
    readonly env: Env,
    version: string,
  ) {
    this.#pages = new ObservedPages(source, env, version, metrics.perDatabase);
    const { signal } = this.#webhooksEnd;
    const context = { hostname: hostname(), version, env, signal };
    const writerOf = (database: string): string | null => source.writerOf(database);
    this.#webhooks = new Webhooks(webhooks, context, writerOf);
    const { url } = heartbeat;
    const statuses = (): readonly DatabaseStatus[] => source.statuses();
    this.#heartbeat =
      url === undefined
        ? null
        : new Heartbeat({ ...heartbeat, url }, statuses, env, version, this.#heartbeatEnd.signal);
    const pages = {
      metrics: (accept: string | null) => this.#pages.metrics(accept),
      health: () => this.#pages.health(),
      dashboard: () => this.#dashboardDocument(),
    };
    this.#server = metrics.enabled ? new LastingStatusServer(metrics, pages, env) : null;
  }

  get metricsUrl(): string | null {
    return this.#server?.url ?? null;
  }

  observe(event: WatchEvent): void {
    try {
      this.#pages.observe(event);
      this.#webhooks.observe(event);
    } catch (error) {
      // A mistake of ours must not stop the watch.
      this.env.log.error(`cannot observe "${event.event}": ${errorMessage(error)}`);
    }
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<void> {
    this.#heartbeatEnd.abort();
    await this.#server?.close();
    const timeout = new AbortController();
    await Promise.race([this.#webhooks.done(), this.env.sleep(CLOSE_TIMEOUT_MS, timeout.signal)]);
    timeout.abort();
    this.#webhooksEnd.abort();
    await Promise.all([this.#webhooks.done(), this.#heartbeat?.done()]);
  }

  async #dashboardDocument(): Promise<DashboardDocument> {
    this.#dashboard ??= import("./dashboard-source.ts").then(
      (loaded) => new loaded.DashboardSource(this.env),
    );
    return this.#pages.document(await this.#dashboard);
  }
}
