/**
 * The application beside the tools, a process of its own. Commits to many databases at an even rate, spread
 * over each second, until SIGTERM. The argument is a JSON file with WriterOptions.
 *
 * The first line of output is the wall clock at the start. The last line is JSON with the number of commits,
 * the largest delay of a commit behind its schedule, and the durations of the commits.
 */
import { readFileSync } from "node:fs";
import { openAsApplication, prepareCommit, seededRandom } from "./databases.ts";
import { quantile } from "./statistics.ts";
import type { WriterOptions, WriterResult } from "./writer.ts";

/** Number of commits whose durations are kept, so that the memory of a long run stays bounded. */
const MAX_DURATIONS = 200_000;
const MAX_PAUSE_MS = 20;

let isStopping = false;
process.on("SIGTERM", () => {
  isStopping = true;
});

const optionsPath = process.argv[2] ?? "";
const { databases, commitsPerSecond, seed } = JSON.parse(readFileSync(optionsPath, "utf8")) as WriterOptions;
const random = seededRandom(seed);
const connections = databases.map(openAsApplication);
const commits = connections.map(prepareCommit);
const isIdle = commitsPerSecond === 0;
const gapMs = 1000 / (commitsPerSecond * databases.length);
const durationsMs = new Float64Array(MAX_DURATIONS);
let commitCount = 0;
let latestMs = 0;

// The time of the first commit, from which the reader computes the times of all others.
console.log(Date.now());
const startMs = performance.now();
while (!isStopping) {
  const nowMs = performance.now();
  const dueMs = isIdle ? Number.POSITIVE_INFINITY : startMs + commitCount * gapMs;
  if (dueMs > nowMs) {
    await Bun.sleep(Math.min(MAX_PAUSE_MS, dueMs - nowMs));
    continue;
  }
  latestMs = Math.max(latestMs, nowMs - dueMs);
  commits[commitCount % commits.length]!(random);
  durationsMs[commitCount % MAX_DURATIONS] = performance.now() - nowMs;
  commitCount++;
  // Signals arrive only between two turns of the event loop.
  if (commitCount % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
}
const durationMs = performance.now() - startMs;
for (const connection of connections) connection.close(true);
const sorted = durationsMs.subarray(0, Math.min(commitCount, MAX_DURATIONS)).sort();
const result: WriterResult = {
  commitCount,
  durationMs,
  latestMs,
  commitP50Ms: quantile(sorted, 0.5),
  commitP99Ms: quantile(sorted, 0.99),
};
console.log(JSON.stringify(result));
