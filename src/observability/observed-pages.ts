/**
 * The pages of one watch, each made at the moment of its request from the statuses of the watch and from the
 * counts of its events.
 *
 * Invariant: nothing is computed between two requests. The counts of a database go with the database.
 */
import type { Env } from "../env.ts";
import type { Condition } from "../errors.ts";
import type { WatchEvent } from "../replication/context/watch-events.ts";
import type { DatabaseStatus } from "../replication/watch/watch-status.ts";
import type { DashboardDocument } from "./dashboard/dashboard-document.ts";
import type { DashboardSource } from "./dashboard-source.ts";
import { type HealthReport, healthReport } from "./health.ts";
import { metricFamilies } from "./metrics.ts";
import { acceptedFormat, metricsParts } from "./prometheus.ts";
import type { MetricsPage } from "./status-server.ts";
import { Tally } from "./tally.ts";

/** The facts that the pages read from a watch. */
export interface PagesSource {
  /** The databases at this moment. */
  statuses(): readonly DatabaseStatus[];
  /** Conditions of the store that all databases share. */
  storeConditions(): readonly Condition[];
}

/** The pages of one watch. */
export class ObservedPages {
  readonly #tally: Tally;

  /** @param isPerDatabase whether each database is counted by itself */
  constructor(
    readonly source: PagesSource,
    readonly env: Env,
    readonly version: string,
    isPerDatabase: boolean,
  ) {
    this.#tally = new Tally(env, isPerDatabase);
  }

  /** Counts an event. */
  observe(event: WatchEvent): void {
    this.#tally.observe(event);
  }

  /** The metrics. @param accept the media types that the reader accepts, or null for any */
  metrics(accept: string | null): MetricsPage {
    const format = acceptedFormat(accept);
    const facts = {
      tally: this.#tally,
      version: this.version,
      storeConditions: this.source.storeConditions(),
    };
    const body = metricsParts(metricFamilies(this.#statuses(), facts), format);
    return { body, contentType: format.contentType };
  }

  /** The answer to /health. */
  health(statuses = this.#statuses()): HealthReport {
    const tally = this.#tally;
    return healthReport(statuses, {
      version: this.version,
      uptimeMs: this.env.monotonicMs() - tally.startedMs,
      lastUploadTimeMs: tally.lastUploadTimeMs,
      sinceUploadMs: tally.sinceUploadMs(),
      failingMs: (database) => tally.failingMs(database),
      errorsLastHour: (database) => tally.errorsLastHour(database),
      storeConditions: this.source.storeConditions(),
    });
  }

  /** The document of the dashboard. @param dashboard its maker, which is loaded with the first request */
  document(dashboard: DashboardSource): DashboardDocument {
    const statuses = this.#statuses();
    return dashboard.document({ statuses, health: this.health(statuses), tally: this.#tally });
  }

  #statuses(): readonly DatabaseStatus[] {
    const statuses = this.source.statuses();
    this.#tally.forgetOthers(new Set(statuses.map(({ database }) => database)));
    return statuses;
  }
}
