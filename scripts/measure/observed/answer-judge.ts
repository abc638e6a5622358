/**
 * Judges the answers of one process of `walrust watch` to its observers: the dashboard's document, /health,
 * /metrics, and the document of `walrust status`. A watch is sound if and only if, for every answer:
 *
 * 1. The answer is valid by itself (document-rules.ts), and /metrics parses in its format.
 * 2. A database is uploaded no further than captured, and something is pending unless all is uploaded. Before
 *    its attach, 0 stands for the uploaded TXID, and for the captured one if the local state cannot be read.
 * 3. Neither TXID of a database is below the one of an earlier answer, of whatever page, unless the watch has
 *    reported that it continues after a lower TXID of the bucket.
 * 4. No counter is below its value in an earlier answer, and none disappears while its database is listed.
 *
 * Hand in the answers in the order in which they were given. PURE, apart from the memory of earlier answers.
 */
import type { DashboardDocument } from "../../../src/observability/dashboard/dashboard-document.ts";
import type { HealthReport } from "../../../src/observability/health.ts";
import {
  type ReadFamily,
  readOpenMetricsText,
  readPrometheusText,
} from "../../../test/observability/prometheus-parser.ts";
import { dashboardFaults, healthFaults, isAmount, statusFaults } from "./document-rules.ts";
import type { StatusDocument } from "./status-document.ts";

/** The pages and the verb that observers ask. */
export type AnswerKind = "dashboard" | "health" | "metrics" | "status";

/** The progress of one database in one answer. */
interface Progress {
  readonly txid: number;
  readonly uploadedTxid: number;
  readonly pendingCount: number;
}

/** Metrics that count since the start of the process, by another type than counter. */
const COUNTED = ["walrust_snapshot_count", "walrust_error_count"];
/** The series of a database in a family of gauges. */
const seriesOf = (database: string): string => JSON.stringify({ db: database });

/** The judge of one process: a restart of the watch is another process. */
export class AnswerJudge {
  readonly #progress = new Map<string, Progress>();
  readonly #counts = new Map<string, number>();

  /** The watch has reported that its captures of a database are lost, and after which TXID it continues. */
  continuesAfter(database: string, txid: number): void {
    const last = this.#progress.get(database);
    if (last === undefined) return;
    const uploadedTxid = Math.min(last.uploadedTxid, txid);
    this.#progress.set(database, { ...last, txid: Math.min(last.txid, txid), uploadedTxid });
  }

  /** The faults of a document of the dashboard. */
  dashboard(document: DashboardDocument): string[] {
    return faultsOf("dashboard", () => [
      ...dashboardFaults(document),
      ...this.#count("uptime of the dashboard", document.uptime_seconds),
      ...this.#count("uploads of the dashboard", document.totals.uploads),
      ...this.#count("uploaded bytes of the dashboard", document.totals.upload_bytes),
      ...document.databases.flatMap(([name, , , , txid, uploadedTxid, pendingCount]) =>
        this.#advance(name, { txid, uploadedTxid, pendingCount }),
      ),
    ]);
  }

  /** The faults of an answer to /health. @param httpStatus the status of the answer */
  health(httpStatus: number, report: HealthReport): string[] {
    return faultsOf("health", () => [
      ...healthFaults(httpStatus, report),
      ...this.#count("uptime of /health", report.uptime_seconds),
      ...Object.entries(report.databases).flatMap(([name, one]) =>
        this.#advance(name, {
          ...{ txid: one.txid, uploadedTxid: one.uploaded_txid, pendingCount: one.pending_files },
        }),
      ),
    ]);
  }

  /** The faults of a document of `walrust status`. @param pid the observed process */
  status(exitCode: number, document: StatusDocument, pid: number): string[] {
    return faultsOf("status", () => {
      const own = document.watches.find((watch) => watch.pid === pid);
      return [
        ...statusFaults(exitCode, document),
        ...(own?.databases ?? []).flatMap((one) =>
          this.#advance(one.name, {
            txid: one.txid ?? 0,
            uploadedTxid: one.uploaded_txid ?? 0,
            pendingCount: one.pending_files,
          }),
        ),
      ];
    });
  }

  /** The faults of a text of /metrics. */
  metrics(text: string, isOpenMetrics: boolean): string[] {
    return faultsOf("metrics", () => {
      const families = isOpenMetrics ? readOpenMetricsText(text) : readPrometheusText(text);
      return [...gaugeFaults(families), ...this.#countAll(families), ...this.#advanceAll(families)];
    });
  }

  #advance(name: string, next: Progress): string[] {
    const { txid, uploadedTxid, pendingCount } = next;
    const last = this.#progress.get(name) ?? { txid: 0, uploadedTxid: 0 };
    if (txid === 0 && uploadedTxid === 0 && last.uploadedTxid === 0) return [];
    this.#progress.set(name, next);
    const isBehind = uploadedTxid > 0 && uploadedTxid < txid;
    const rules: [isBroken: boolean, text: string][] = [
      [uploadedTxid > txid, `TXID ${uploadedTxid} is uploaded, and ${txid} is captured`],
      [isBehind && pendingCount === 0, `nothing waits between TXID ${uploadedTxid} and ${txid}`],
      [txid < last.txid, `TXID ${txid} is captured after ${last.txid}`],
      [uploadedTxid < last.uploadedTxid, `TXID ${uploadedTxid} is uploaded after ${last.uploadedTxid}`],
    ];
    return rules.flatMap(([isBroken, text]) => (isBroken ? [`${name}: ${text}`] : []));
  }

  #count(label: string, value: number): string[] {
    const last = this.#counts.get(label) ?? 0;
    this.#counts.set(label, value);
    if (!isAmount(value)) return [`${label} is ${value}`];
    return value < last ? [`${label} went from ${last} to ${value}`] : [];
  }

  #countAll(families: ReadonlyMap<string, ReadFamily>): string[] {
    const listed = families.get("walrust_current_txid")?.samples;
    const faults: string[] = [];
    const seen = new Set<string>();
    for (const [name, { type, samples }] of families) {
      if (type !== "counter" && type !== "histogram" && !COUNTED.includes(name)) continue;
      for (const [series, value] of samples) {
        // OpenMetrics leaves the ending of a counter to its samples.
        const label = `${name.replace(/_total$/, "")} ${series}`;
        seen.add(label);
        faults.push(...this.#count(label, value));
      }
    }
    for (const label of this.#counts.keys()) {
      if (seen.has(label) || !label.includes("{")) continue;
      const { db } = JSON.parse(label.slice(label.indexOf("{"))) as { db?: string };
      if (db === undefined || listed?.has(seriesOf(db)) === true) faults.push(`${label} has disappeared`);
      this.#counts.delete(label);
    }
    return faults;
  }

  #advanceAll(families: ReadonlyMap<string, ReadFamily>): string[] {
    const samplesOf = (name: string) => families.get(`walrust_${name}`)?.samples ?? new Map();
    const [uploaded, pending] = [samplesOf("uploaded_txid"), samplesOf("cache_pending_uploads")];
    return [...samplesOf("current_txid")].flatMap(([series, txid]) => {
      const { db } = JSON.parse(series) as { db: string };
      const uploadedTxid = uploaded.get(series) ?? 0;
      return this.#advance(db, { txid, uploadedTxid, pendingCount: pending.get(series) ?? 0 });
    });
  }
}

function gaugeFaults(families: ReadonlyMap<string, ReadFamily>): string[] {
  const isUp = families.get("walrust_up")?.samples.get("{}") === 1;
  const faults = isUp ? [] : ["walrust_up is not 1"];
  for (const [name, { type, samples }] of families) {
    if (type !== "gauge") continue;
    for (const [series, value] of samples) if (!isAmount(value)) faults.push(`${name}${series} is ${value}`);
  }
  return faults;
}

/** The faults, each with the page; an answer whose form is another one has a fault, too. */
function faultsOf(kind: AnswerKind, find: () => readonly string[]): string[] {
  try {
    return find().map((text) => `${kind}: ${text}`);
  } catch (error) {
    return [`${kind}: ${error instanceof Error ? error.message : String(error)}`];
  }
}
