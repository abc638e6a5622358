/**
 * A process of the application beside the tools. Commits to many databases at an even rate, spread
 * over each second, until SIGTERM. A late commit moves no later one. The argument is a JSON file with
 * ShareOptions.
 *
 * Prints "ready" when all databases are open, and at the end a line of JSON with a ShareResult. Writes the
 * time of each commit to a file.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { openAsApplication, prepareCommit } from "../../measure/databases.ts";
import type { ShareOptions, ShareResult } from "./writer.ts";

/** Number of commits whose durations are kept, so that the memory of a long run stays bounded. */
const MAX_DURATIONS = 200_000;
/** Number of durations in the report. */
const MAX_REPORTED = 2_000;
const MAX_PAUSE_MS = 20;

let isStopping = false;
process.on("SIGTERM", () => {
  isStopping = true;
});

const optionsPath = process.argv[2] ?? "";
const { databases, seeds, commitsPerSecond, timesPath } = JSON.parse(
  readFileSync(optionsPath, "utf8"),
) as ShareOptions;
const connections = databases.map(openAsApplication);
const commits = connections.map((connection, index) => prepareCommit(connection, seeds[index]!));
const isIdle = commitsPerSecond === 0;
const gapMs = 1000 / (commitsPerSecond * databases.length);
const durationsMs = new Float64Array(MAX_DURATIONS);
let timesMs = new Float64Array(1 << 16);
let commitCount = 0;
let latestMs = 0;

console.log("ready");
const startMs = performance.now();
while (!isStopping) {
  const nowMs = performance.now();
  const dueMs = isIdle ? Number.POSITIVE_INFINITY : startMs + commitCount * gapMs;
  if (dueMs > nowMs) {
    await Bun.sleep(Math.min(MAX_PAUSE_MS, dueMs - nowMs));
    continue;
  }
  latestMs = Math.max(latestMs, nowMs - dueMs);
  commits[commitCount % commits.length]!();
  durationsMs[commitCount % MAX_DURATIONS] = performance.now() - nowMs;
  if (commitCount === timesMs.length) timesMs = grown(timesMs);
  // The clock of the objects' times, in whole milliseconds like theirs.
  timesMs[commitCount] = Date.now();
  commitCount++;
  // Signals arrive only between two turns of the event loop.
  if (commitCount % 64 === 0) await new Promise((resolve) => setImmediate(resolve));
}
const durationMs = performance.now() - startMs;
for (const connection of connections) connection.close(true);
writeFileSync(timesPath, timesMs.subarray(0, commitCount));
const sorted = durationsMs.subarray(0, Math.min(commitCount, MAX_DURATIONS)).sort();
const step = Math.max(1, sorted.length / MAX_REPORTED);
const commitsMs = Array.from({ length: Math.floor(sorted.length / step) }, (_, rank) => {
  return sorted[Math.floor((rank + 0.5) * step)]!;
});
const result: ShareResult = { commitCount, durationMs, latestMs, commitsMs };
console.log(JSON.stringify(result));

function grown(values: Float64Array): Float64Array<ArrayBuffer> {
  const larger = new Float64Array(values.length * 2);
  larger.set(values);
  return larger;
}
