/**
 * The judge of observed answers: the real pages of a watch have no fault, and each rule that a changed answer
 * breaks is named.
 */
import { describe, expect, test } from "bun:test";
import { AnswerJudge } from "../../../../scripts/measure/observed/answer-judge.ts";
import type { StatusDocument } from "../../../../scripts/measure/observed/status-document.ts";
import { HEALTH_EXITS, judgeWatches } from "../../../../src/commands/status/judged-watches.ts";
import { statusJson } from "../../../../src/commands/status/status-json.ts";
import type { DashboardDocument } from "../../../../src/observability/dashboard/dashboard-document.ts";
import { DashboardSource } from "../../../../src/observability/dashboard-source.ts";
import type { HealthReport } from "../../../../src/observability/health.ts";
import { ObservedPages } from "../../../../src/observability/observed-pages.ts";
import type { DatabaseStatus } from "../../../../src/replication/watch/watch-status.ts";
import { answerOf, reportedOf, watchStatusOf } from "../../../commands/status/status-samples.ts";
import { ManualTime } from "../../../observability/manual-time.ts";
import { checkpointed, failed, failingWith, statusOf, uploaded } from "../../../observability/samples.ts";

const OPEN_METRICS = "application/openmetrics-text";
const PID = 1;
/** A healthy database, one with captures that wait, and one that fails. */
const STATUSES = [
  statusOf(),
  statusOf({
    database: "behind",
    txid: 9,
    uploadedTxid: 7,
    pendingCount: 2,
    pendingBytes: 99,
    lagMs: 12_000,
  }),
  failingWith("storage", { database: "failing", circuit: "open", lagMs: 61_000 }),
];

/** A copy of a document with another value at a path such as `databases.0.4`; undefined removes the value. */
function changed<Document>(document: Document, path: string, value: unknown): Document {
  const copy = JSON.parse(JSON.stringify(document)) as Document;
  const steps = path.split(".");
  const last = steps.pop()!;
  let place = copy as Record<string, unknown>;
  for (const step of steps) place = place[step] as Record<string, unknown>;
  if (value === undefined) delete place[last];
  else place[last] = value;
  return copy;
}

/** The pages of a watch with these databases, and with some events behind it. */
class Watched {
  readonly pages: ObservedPages;
  readonly time = new ManualTime();
  readonly #dashboard = new DashboardSource(this.time.env);

  constructor(public statuses: readonly DatabaseStatus[] = STATUSES) {
    const source = { statuses: () => this.statuses, storeConditions: () => [] };
    this.pages = new ObservedPages(source, this.time.env, "0.4.0", true);
    this.pages.observe(uploaded());
    this.pages.observe(checkpointed());
    this.pages.observe(failed("storage", "failing"));
  }

  get dashboard(): DashboardDocument {
    return this.pages.document(this.#dashboard);
  }

  get health(): HealthReport {
    return this.pages.health();
  }

  metrics(isOpenMetrics = false): string {
    return [...this.pages.metrics(isOpenMetrics ? OPEN_METRICS : null).body].join("");
  }
}

function statusDocument(databases = [reportedOf()]): { document: StatusDocument; exitCode: number } {
  const answers = [answerOf(watchStatusOf({ databases }))];
  const judged = judgeWatches(answers, { names: [], location: null });
  return { document: statusJson(judged) as StatusDocument, exitCode: HEALTH_EXITS[judged.health] };
}

test("the pages of a watch have no fault, in both formats, while it goes on", () => {
  const watched = new Watched();
  const judge = new AnswerJudge();
  for (let round = 0; round < 3; round++) {
    expect(judge.dashboard(watched.dashboard)).toEqual([]);
    expect(judge.health(503, watched.health)).toEqual([]);
    for (const isOpen of [true, false]) expect(judge.metrics(watched.metrics(isOpen), isOpen)).toEqual([]);
    watched.time.pass(31_000);
    for (const kind of ["increment", "snapshot"] as const) watched.pages.observe(uploaded(kind));
    watched.statuses = STATUSES.map((one) => ({ ...one, txid: one.txid + round + 1 })).map((one) => ({
      ...one,
      pendingCount: one.txid - one.uploadedTxid,
    }));
  }
});

test("walrust status has no fault", () => {
  const { document, exitCode } = statusDocument();
  expect(new AnswerJudge().status(exitCode, document, PID)).toEqual([]);
  const behind = statusDocument([reportedOf({ ...STATUSES[1]! })]);
  expect(behind.exitCode).toBe(1);
  expect(new AnswerJudge().status(behind.exitCode, behind.document, PID)).toEqual([]);
});

describe("rules of one document of the dashboard", () => {
  test.each([
    ["columns", ["database", "status"], "the columns are database, status"],
    ["time", "now", "the time is now"],
    ["databases.0", ["app", "syncing", "healthy"], "app has 3 columns"],
    ["databases.0.1", "fine", "app is fine"],
    ["databases.0.4", 1.5, "app has 1.5 where a count is"],
    ["databases.0.3", -1, "app has -1 where an amount is"],
    ["databases.0.11", "ajar", "the circuit of app is ajar"],
    ["totals.healthy", 2, "totals.healthy is 2, and the rows have 1"],
    ["totals.pending_files", 3, "totals.pending_files is 3, and the rows have 2"],
    ["status", "degraded", "the whole is degraded, and a database unhealthy"],
    ["reasons", [], "unhealthy with 0 reasons"],
    ["problems", [], "behind is degraded without a problem"],
    ["problems", [], "the store is out of reach without a problem"],
    ["problems.0.hint", "", "has no message or no remedy"],
    ["problems.0.database", "gone", "problems of no database: gone"],
    ["history.lag_seconds", [1, 2], "the history has 2,1 steps"],
    ["history.not_healthy.0", -1, "history.not_healthy has -1"],
    ["databases.0.5", 13, "app: TXID 13 is uploaded, and 12 is captured"],
    ["databases.0.5", 11, "app: nothing waits between TXID 11 and 12"],
    ["totals.uploads", -1, "uploads of the dashboard is -1"],
    ["totals", undefined, "dashboard: "],
  ])("%s = %p: %s", (path, value, fault) => {
    const document = changed(new Watched().dashboard, path, value);
    expect(new AnswerJudge().dashboard(document).join("; ")).toContain(fault);
  });
});

describe("rules of one answer to /health", () => {
  test.each([
    ["status", "healthy", "the whole is healthy, and a database unhealthy"],
    ["databases.app.status", "fine", "app is fine"],
    ["databases.app.reasons", ["x"], "app is healthy with 1 reasons"],
    ["databases.behind.reasons", [], "behind is degraded with 0 reasons"],
    ["databases.app.txid", -2, "app has -2 where a count is"],
    ["databases.app.lag_seconds", null, "the lag of app is null"],
    ["databases.app.last_sync", "soon", "the last sync of app is soon"],
    ["databases.app.circuit", "ajar", "the circuit of app is ajar"],
  ])("%s = %p: %s", (path, value, fault) => {
    const report = changed(new Watched().health, path, value);
    expect(new AnswerJudge().health(503, report).join("; ")).toContain(fault);
  });

  test("the status of the answer is 503 if and only if the process is unhealthy", () => {
    expect(new AnswerJudge().health(200, new Watched().health)).toEqual([
      "health: unhealthy with the status 200",
    ]);
    const healthy = new Watched([statusOf()]).health;
    expect(new AnswerJudge().health(200, healthy)).toEqual([]);
    expect(new AnswerJudge().health(503, healthy)).toEqual(["health: healthy with the status 503"]);
  });
});

describe("rules of one document of walrust status", () => {
  test.each([
    ["status", "degraded", "degraded with the exit code 0"],
    ["watches.0.databases.0.health", "unhealthy", "the whole is healthy, and a database unhealthy"],
    ["watches.0.databases.0.path", "app.db", "the path of app is app.db"],
    ["watches.0.databases.0.pending_files", "1", "app has 1 where a count is"],
    ["watches.0.databases.0.uploaded_txid", 13, "TXID 13 is uploaded, and 12 is captured"],
    ["watches", undefined, "status: "],
  ])("%s = %p: %s", (path, value, fault) => {
    const { document, exitCode } = statusDocument();
    expect(new AnswerJudge().status(exitCode, changed(document, path, value), PID).join("; ")).toContain(
      fault,
    );
  });
});

describe("rules of one text of /metrics", () => {
  const rules: readonly [from: RegExp, to: string, fault: string][] = [
    [/\nwalrust_up 1\n/, "\nwalrust_up 0\n", "walrust_up is not 1"],
    [/(walrust_lag_seconds\{db="app"\}) 0\n/, "$1 -1\n", 'walrust_lag_seconds{"db":"app"} is -1'],
    [/(walrust_lag_seconds\{db="app"\}) 0\n/, "$1 NaN\n", 'walrust_lag_seconds{"db":"app"} is NaN'],
    [/(walrust_uploaded_txid\{db="app"\}) 12/, "$1 13", "TXID 13 is uploaded, and 12 is captured"],
    [/$/, "more", "metrics: the last line does not end"],
  ];
  test.each(rules)("%s becomes %p: %s", (from, to, fault) => {
    const text = new Watched().metrics();
    expect(text).toMatch(from);
    expect(new AnswerJudge().metrics(text.replace(from, to), false).join("; ")).toContain(fault);
  });
});

describe("rules over the answers of one process", () => {
  test("a TXID that falls, from one page to another", () => {
    const judge = new AnswerJudge();
    const watched = new Watched();
    judge.dashboard(watched.dashboard);
    watched.statuses = [statusOf({ txid: 11, uploadedTxid: 11 }), ...STATUSES.slice(1)];
    const faults = ["app: TXID 11 is captured after 12", "app: TXID 11 is uploaded after 12"];
    expect(judge.health(503, watched.health)).toEqual(faults.map((text) => `health: ${text}`));
    expect(judge.metrics(watched.metrics(), false)).toEqual([]);
  });

  test("a TXID may fall as far as the watch has reported, and no further", () => {
    const judge = new AnswerJudge();
    const watched = new Watched();
    judge.dashboard(watched.dashboard);
    judge.continuesAfter("app", 5);
    judge.continuesAfter("never seen", 5);
    watched.statuses = [statusOf({ txid: 5, uploadedTxid: 5 }), ...STATUSES.slice(1)];
    expect(judge.health(503, watched.health)).toEqual([]);
    watched.statuses = [statusOf({ txid: 4, uploadedTxid: 4 }), ...STATUSES.slice(1)];
    expect(judge.health(503, watched.health)[0]).toBe("health: app: TXID 4 is captured after 5");
  });

  test("an uploaded TXID that disappears", () => {
    const judge = new AnswerJudge();
    const watched = new Watched();
    judge.dashboard(watched.dashboard);
    const text = watched.metrics().replace(/walrust_uploaded_txid\{db="app"\} 12\n/, "");
    expect(judge.metrics(text, false)).toEqual(["metrics: app: TXID 0 is uploaded after 12"]);
    expect(new AnswerJudge().metrics(text, false)).toEqual([]);
  });

  test("a counter that falls, from one format to the other", () => {
    const judge = new AnswerJudge();
    const watched = new Watched();
    watched.pages.observe(uploaded());
    judge.metrics(watched.metrics(true), true);
    const earlier = new Watched().metrics();
    expect(judge.metrics(earlier, false)).toContain(
      'metrics: walrust_uploads {"db":"app","kind":"increment"} went from 2 to 1',
    );
  });

  test("a metric that counts under another type, and a histogram, fall", () => {
    const judge = new AnswerJudge();
    const watched = new Watched();
    watched.pages.observe(failed("storage", "failing"));
    watched.pages.observe(uploaded());
    judge.metrics(watched.metrics(), false);
    const faults = judge.metrics(new Watched().metrics(), false).join("; ");
    expect(faults).toContain('walrust_error_count {"db":"failing"} went from 2 to 1');
    expect(faults).toContain('walrust_sync_latency_seconds _count{"db":"app"} went from 2 to 1');
  });

  test("a counter that disappears; the counters of a database that leaves may", () => {
    const judge = new AnswerJudge();
    const watched = new Watched();
    judge.metrics(watched.metrics(), false);
    watched.statuses = STATUSES.slice(0, 2);
    expect(judge.metrics(watched.metrics(), false)).toEqual([]);
    const text = watched.metrics().replace(/walrust_upload_bytes_total\{db="app"\} .*\n/, "");
    expect(judge.metrics(text, false)).toEqual([
      'metrics: walrust_upload_bytes {"db":"app"} has disappeared',
    ]);
  });

  test("an uptime that falls", () => {
    const judge = new AnswerJudge();
    const watched = new Watched();
    watched.time.pass(10_000);
    judge.dashboard(watched.dashboard);
    expect(judge.dashboard(new Watched().dashboard)).toEqual([
      "dashboard: uptime of the dashboard went from 10 to 0",
    ]);
  });
});
