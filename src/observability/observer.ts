/**
 * Observability of one process: the status server, webhooks and the heartbeat, over the events of watching
 * and the status of its databases.
 *
 * It never disturbs what it observes: `observe` is synchronous and never throws, requests of others are
 * answered from what is in memory, and whatever is sent is sent beside everything else. This room is loaded
 * only when something of it is enabled.
 */
import { hostname } from "node:os";
import type { Env } from "../env.ts";
import { type Condition, errorMessage } from "../errors.ts";
import type { WatchEvent } from "../replication/context/watch-events.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import { type HealthReport, healthReport } from "./health.ts";
import { Heartbeat, type HeartbeatOptions } from "./heartbeat.ts";
import { metricFamilies } from "./metrics.ts";
import { prometheusText } from "./prometheus.ts";
import { LastingStatusServer, type MetricsOptions } from "./status-server.ts";
import { Tally } from "./tally.ts";
import type { WebhookOptions } from "./webhook-queue.ts";
import { Webhooks } from "./webhooks.ts";

/** How long notices that wait at the end are given. */
const CLOSE_TIMEOUT_MS = 2_000;

/** What is enabled. */
export interface ObservabilityOptions {
  readonly metrics: MetricsOptions | null;
  readonly heartbeat: HeartbeatOptions | null;
  readonly webhooks: readonly WebhookOptions[];
  /** For the body of webhooks; the machine's own by default. */
  readonly hostname?: string;
}

/** What is observed. */
export interface ObservedSource {
  /** The databases at this moment. */
  statuses(): readonly DatabaseStatus[];
  /** Conditions of the store that all databases share; none by default. */
  storeConditions?(): readonly Condition[];
  /** The id that a database's objects are written under, or null; for the body of webhooks. */
  writerOf?(database: string): string | null;
}

/** Observes until it is closed. */
export interface Observer {
  /** Where the status server is, or null without one, or while it has no port. */
  readonly metricsUrl: string | null;
  /** Takes note of an event: cheap, synchronous, never throws. */
  observe(event: WatchEvent): void;
  /** Ends everything. What webhooks have not been told yet gets two seconds. Never rejects. */
  close(): Promise<void>;
}

/**
 * Starts what is enabled. A port that is taken is warned of and tried again, and the rest goes on.
 * @throws WalrustError with code "config" when the URL of a webhook or heartbeat is none
 */
export function startObservability(
  options: ObservabilityOptions,
  source: ObservedSource,
  env: Env,
  version: string,
): Observer {
  return new ProcessObserver(options, source, env, version);
}

class ProcessObserver implements Observer {
  readonly #tally: Tally;
  readonly #webhooks: Webhooks;
  readonly #heartbeat: Heartbeat | null;
  readonly #server: LastingStatusServer | null;
  /** Ends the heartbeat at once, and webhooks after their time. */
  readonly #heartbeatEnd = new AbortController();
  readonly #webhooksEnd = new AbortController();
  #closed: Promise<void> | null = null;

  constructor(
    { metrics, heartbeat, webhooks, ...options }: ObservabilityOptions,
    readonly source: ObservedSource,
    readonly env: Env,
    readonly version: string,
  ) {
    this.#tally = new Tally(env);
    const { signal } = this.#webhooksEnd;
    const context = { hostname: options.hostname ?? hostname(), version, env, signal };
    const writerOf = (database: string): string | null => source.writerOf?.(database) ?? null;
    this.#webhooks = new Webhooks(webhooks, context, writerOf);
    const statuses = (): readonly DatabaseStatus[] => source.statuses();
    this.#heartbeat =
      heartbeat && new Heartbeat(heartbeat, statuses, env, version, this.#heartbeatEnd.signal);
    const pages = { metrics: () => this.#metrics(), health: () => this.#health() };
    this.#server = metrics && new LastingStatusServer(metrics, pages, env);
  }

  get metricsUrl(): string | null {
    return this.#server?.url ?? null;
  }

  observe(event: WatchEvent): void {
    try {
      this.#tally.observe(event);
      this.#webhooks.observe(event);
    } catch (error) {
      // A mistake of ours; what is observed must go on.
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

  #statuses(): readonly DatabaseStatus[] {
    const statuses = this.source.statuses();
    this.#tally.forgetOthers(new Set(statuses.map(({ database }) => database)));
    return statuses;
  }

  #metrics(): string {
    return prometheusText(metricFamilies(this.#statuses(), this.#tally, this.version));
  }

  #health(): HealthReport {
    const tally = this.#tally;
    return healthReport(this.#statuses(), {
      version: this.version,
      uptimeMs: this.env.monotonicMs() - tally.startedMs,
      lastUploadTimeMs: tally.lastUploadTimeMs,
      sinceUploadMs: tally.sinceUploadMs(),
      failingMs: (database) => tally.failingMs(database),
      errorsLastHour: (database) => tally.errorsLastHour(database),
      storeConditions: this.source.storeConditions?.() ?? [],
    });
  }
}
