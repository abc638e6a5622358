/** The document of `walrust status --json`: null stands for everything that the watch does not know. */
import { expect, test } from "bun:test";
import { judgeWatches } from "../../../src/commands/status/judged-watches.ts";
import type { StatusDatabase } from "../../../src/commands/status/status-document.ts";
import { statusJson } from "../../../src/commands/status/status-json.ts";
import type { ReportedDatabase } from "../../../src/replication/watch/watch-report.ts";
import { answerOf, reportedOf, watchStatusOf } from "./status-samples.ts";

function databaseOf(overrides: Partial<ReportedDatabase>): StatusDatabase {
  const answer = answerOf(watchStatusOf({ databases: [reportedOf(overrides)] }));
  const judged = judgeWatches([answer], { names: [], location: null });
  return statusJson(judged).watches[0]!.databases[0]!;
}

test("a watched database has numbers", () => {
  expect(databaseOf({})).toMatchObject({ txid: 12, uploaded_txid: 12, lag_seconds: 0 });
});

test("a database that cannot be watched has neither a TXID 0 nor a lag 0", () => {
  const failure = { code: "not-wal", message: "app.db is not in WAL mode", hint: null };
  const unknown = { state: "failing", failure, txid: 0, uploadedTxid: 0 } as const;
  expect(databaseOf(unknown)).toMatchObject({ txid: null, uploaded_txid: null, lag_seconds: null });
  expect(databaseOf({ lagMs: null })).toMatchObject({ txid: 12, lag_seconds: null, health: "degraded" });
  expect(databaseOf({ ...unknown, txid: 7, lagMs: 1_500 })).toMatchObject({ txid: 7, lag_seconds: 1.5 });
});
