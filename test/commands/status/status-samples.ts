/** Reports of watches, as they answer `walrust status`. */
import type { WatchAnswer } from "../../../src/replication/control/control-client.ts";
import type { ReportedDatabase, WatchStatus } from "../../../src/replication/watch/watch-report.ts";
import { statusOf } from "../../observability/samples.ts";

/** A healthy database, with `overrides`. */
export function reportedOf(overrides: Partial<ReportedDatabase> = {}): ReportedDatabase {
  const facts = { failingMs: null, walBytes: 4_152, snapshot: { txid: 10, timeMs: 0 }, validation: null };
  return { ...statusOf(), ...facts, ...overrides };
}

/** A watch of one healthy database, with `overrides`. */
export function watchStatusOf(overrides: Partial<WatchStatus> = {}): WatchStatus {
  return {
    version: "1.2.3",
    uptimeMs: 3_600_000,
    destination: "s3://memory",
    location: "s3://memory",
    lastUploadTimeMs: 5_000,
    sinceUploadMs: 1_000,
    storeConditions: [],
    databases: [reportedOf()],
    ...overrides,
  };
}

/** The answer of the watch with pid 1. */
export function answerOf(status: WatchStatus): WatchAnswer {
  return { pid: 1, result: status, error: null, isOlder: false };
}
