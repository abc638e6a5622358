/**
 * Reads the figures of a running watch: memory, descriptors and threads from /proc, its files on disk, and
 * its own metrics.
 */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { readPssBytes, sampleProcess } from "../measure/proc.ts";
import type { Reading } from "./figures.ts";
import type { Storage } from "./storage.ts";

/** Places that a reading looks at. */
export interface Watched {
  readonly pid: number;
  readonly metricsUrl: string;
  /** Folder of walrust's local files. */
  readonly stateFolder: string;
  readonly databasesFolder: string;
  readonly storage: Storage;
}

const METRICS_LIMIT_MS = 5_000;
/** Paths of uploaded increments that walrust keeps for merges and restores. */
const SENT = /\/sent\//;

/** Takes one reading. @throws Error when the process is gone or its metrics do not answer */
export async function takeReading(watched: Watched, atMs: number): Promise<Reading> {
  const { rssBytes, anonymousBytes, descriptorCount, threadCount, cpuMs } = sampleProcess(watched.pid);
  const pssBytes = readPssBytes(watched.pid);
  const answer = await fetch(`${watched.metricsUrl}/metrics`, {
    signal: AbortSignal.timeout(METRICS_LIMIT_MS),
  });
  const metrics = parseMetrics(await answer.text());
  const { requests, faults } = watched.storage.readCounts();
  return {
    atMs,
    ...{ rssBytes, anonymousBytes, descriptorCount, threadCount, cpuMs },
    ...(pssBytes === null ? {} : { pssBytes }),
    spoolBytes: sizeOfFolder(watched.stateFolder, (path) => !SENT.test(path)),
    sentBytes: sizeOfFolder(watched.stateFolder, (path) => SENT.test(path)),
    walBytes: sizeOfFolder(watched.databasesFolder, (path) => path.endsWith("-wal")),
    ...metrics,
    ...{ requests, faults },
  };
}

/** Figures of the watch's own metrics. */
export type MetricFigures = Pick<
  Reading,
  "lagSeconds" | "pendingCount" | "incrementCount" | "snapshotCount" | "mergeCount" | "events"
>;

/** Parses the text of /metrics. @throws Error when a metric is missing */
export function parseMetrics(text: string): MetricFigures {
  const values = (name: string, label = ""): number[] =>
    [...text.matchAll(new RegExp(`^walrust_${name}(\\{[^}]*\\})? (\\S+)$`, "gm"))]
      .filter(([, labels = ""]) => labels.includes(label))
      .map(([, , value]) => Number(value));
  const sum = (name: string, label = ""): number =>
    values(name, label).reduce((total, value) => total + value, 0);
  if (values("up").length === 0) throw new Error(`The watch has no metrics: ${text.slice(0, 200)}`);
  return {
    lagSeconds: Math.max(0, ...values("lag_seconds")),
    pendingCount: sum("cache_pending_uploads"),
    incrementCount: sum("uploads_total", 'kind="increment"'),
    snapshotCount: sum("snapshot_count"),
    mergeCount: sum("compaction_total"),
    events: {
      checkpoints: sum("checkpoint_total"),
      "re-anchors": sum("re_anchor_total"),
      "open breakers": sum("circuit_open_total"),
      validations: sum("validation_success_total"),
      "failed validations": sum("validation_failure_total"),
      failures: sum("errors_total"),
    },
  };
}

/** Bytes of the files below a folder whose path passes; a file that disappears meanwhile counts nothing. */
export function sizeOfFolder(folder: string, passes: (path: string) => boolean): number {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .filter(passes)
    .reduce((sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0), 0);
}
