/**
 * The judge of what one process shows: renders the dashboard's document, /health, /metrics and the document
 * of `walrust status` between two events, and judges them as `scripts/measure/observed/` does with a real
 * watch. A page that throws is a violation. So is a TXID that is shown as uploaded and is not in the bucket.
 *
 * Invariant: a look changes nothing for the rest of the run. No other process acts while it lasts, and its
 * chances are its own. Where the plan lets files fail, its reads fail more often than those of walrust.
 */
import { AnswerJudge } from "../../../scripts/measure/observed/answer-judge.ts";
import type { StatusDocument } from "../../../scripts/measure/observed/status-document.ts";
import { HEALTH_EXITS, judgeWatches } from "../../../src/commands/status/judged-watches.ts";
import { statusJson } from "../../../src/commands/status/status-json.ts";
import { DashboardSource } from "../../../src/observability/dashboard-source.ts";
import { ObservedPages, type PagesSource } from "../../../src/observability/observed-pages.ts";
import type { WatchEvent } from "../../../src/replication/context/watch-events.ts";
import { WatchReport } from "../../../src/replication/watch/watch-report.ts";
import type { Judge, Operation } from "../seam/gate.ts";
import type { Chance } from "../world/chance.ts";
import { errorsOf, systemError } from "../world/interventions.ts";

const PID = 1;
/** Share of the reads of a look that fail where files may fail. */
const FAILURE_SHARE = 0.2;
const OPEN_METRICS = "application/openmetrics-text";

/** Lets reads of a look fail. */
export class LookFaults implements Judge {
  constructor(
    readonly chance: Chance,
    readonly mayFail: boolean,
  ) {}

  before(operation: Operation): void {
    const errors = this.mayFail ? errorsOf(operation) : [];
    if (errors.length > 0 && this.chance.is(FAILURE_SHARE)) {
      throw systemError(this.chance.of(errors), operation.call, operation.path);
    }
  }

  after(): void {}
}

/** Reports that captures are lost, with the TXID after which the history continues. */
const CONTINUED = /: continuing after TXID (\d+) of the bucket|: a new history begins$/;

/** One look at everything that a process shows. */
export interface Look {
  /** The broken rules. */
  readonly faults: readonly string[];
  /** The databases in short, for the trace. */
  readonly text: string;
}

/** The parts of a process that show its state. */
export class ObservedProcess {
  readonly #pages: ObservedPages;
  readonly #dashboard: DashboardSource;
  readonly #report: WatchReport;
  readonly #judge = new AnswerJudge();
  #lookCount = 0;

  /** @param context that of the process */
  constructor(source: PagesSource, context: WatchReport["context"]) {
    const { env, version } = context;
    this.#pages = new ObservedPages(source, env, version, true);
    this.#dashboard = new DashboardSource(env);
    this.#report = new WatchReport({ statuses: () => source.statuses(), watchers: [] }, context);
  }

  /** Takes an event, as the observers of a watch do. */
  observe(event: WatchEvent): void {
    this.#pages.observe(event);
    this.#report.observe(event);
  }

  /** Takes a line of the log. */
  logged(database: string, message: string): void {
    const found = CONTINUED.exec(message);
    if (found !== null) this.#judge.continuesAfter(database, Number(found[1] ?? 0));
  }

  /**
   * Renders everything once.
   * @param newestTxid the most that may be shown as uploaded of a database
   * @throws what a page throws
   */
  look(newestTxid: (database: string) => number): Look {
    const isOpenMetrics = ++this.#lookCount % 2 === 0;
    const dashboard = sent(this.#pages.document(this.#dashboard));
    const health = sent(this.#pages.health());
    const metrics = [...this.#pages.metrics(isOpenMetrics ? OPEN_METRICS : null).body].join("");
    const answer = { pid: PID, result: sent(this.#report.status()), error: null, isOlder: false };
    const judged = judgeWatches([answer], { names: [], location: null });
    const faults = [
      ...this.#judge.dashboard(dashboard),
      ...this.#judge.health(health.status === "unhealthy" ? 503 : 200, health),
      ...this.#judge.metrics(metrics, isOpenMetrics),
      ...this.#judge.status(HEALTH_EXITS[judged.health], sent(statusJson(judged)) as StatusDocument, PID),
    ];
    for (const [name, , , , , uploadedTxid] of dashboard.databases) {
      const newest = newestTxid(name);
      if (uploadedTxid > newest) faults.push(`${name} shows TXID ${uploadedTxid}, the bucket has ${newest}`);
    }
    const rows = dashboard.databases.map(
      ([name, status, health, , txid, uploaded]) => `${name} ${status} ${health} ${uploaded}/${txid}`,
    );
    return { faults, text: rows.join(", ") };
  }
}

/** A document after its way over a connection. */
function sent<Document>(document: Document): Document {
  return JSON.parse(JSON.stringify(document)) as Document;
}
