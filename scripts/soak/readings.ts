/**
 * Reads the figures of a running watch: memory, descriptors and threads from /proc, its files on disk, and
 * its own metrics.
 */
import { sizeOfFolder } from "../measure/folders.ts";
import { fetchMetrics } from "../measure/metrics.ts";
import { readPssBytes, sampleProcess } from "../measure/proc.ts";
import type { Storage } from "../measure/storage/storage.ts";
import type { Reading } from "./figures.ts";

/** Places that a reading looks at. */
export interface Watched {
  readonly pid: number;
  readonly metricsUrl: string;
  /** Folder of walrust's local files. */
  readonly stateFolder: string;
  readonly databasesFolder: string;
  readonly storage: Storage;
}

/** Paths of uploaded increments that walrust keeps for merges and restores. */
const SENT = /\/sent\//;

/** Takes one reading. @throws Error when the process is gone or its metrics do not answer */
export async function takeReading(watched: Watched, atMs: number): Promise<Reading> {
  const { rssBytes, anonymousBytes, descriptorCount, threadCount, cpuMs } = sampleProcess(watched.pid);
  const pssBytes = readPssBytes(watched.pid);
  const metrics = await fetchMetrics(watched.metricsUrl);
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
