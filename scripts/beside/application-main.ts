/**
 * One process of the application beside walrust, until SIGTERM. The argument is JSON with ApplicationOptions.
 * Prints a JSON line with an ApplicationResult.
 *
 * - `writer`: commits one row after the other.
 * - `reader`: holds a read transaction for a time, and rests for half of that time.
 * - `checkpointer`: runs a blocking checkpoint with a busy timeout, in each mode by turns.
 */
import type { Database } from "bun:sqlite";
import { openAsApplication, prepareCommit } from "../measure/databases.ts";
import { quantile } from "../measure/statistics.ts";
import type { ApplicationOptions, ApplicationResult } from "./cases.ts";

const CHECKPOINT_TIMEOUT_MS = 5_000;
const MODES = ["FULL", "RESTART", "TRUNCATE"];
const SLICE_MS = 20;
const READER_REST = 2;

const options = JSON.parse(process.argv[2] ?? "{}") as ApplicationOptions;
const durationsMs: number[] = [];
let busyCount = 0;
let isStopping = false;
process.on("SIGTERM", () => {
  isStopping = true;
});

/** Sleeps in slices, so that SIGTERM ends the sleep. */
async function pause(durationMs: number): Promise<void> {
  const untilMs = performance.now() + durationMs;
  do await Bun.sleep(Math.min(SLICE_MS, durationMs));
  while (!isStopping && performance.now() < untilMs);
}

function timed(work: () => void): void {
  const startMs = performance.now();
  work();
  durationsMs.push(performance.now() - startMs);
}

async function write(database: Database): Promise<void> {
  database.run(`PRAGMA synchronous = ${options.synchronous}`);
  database.run("PRAGMA busy_timeout = 60000");
  const commit = prepareCommit(database, options.seed);
  for (let count = 0; !isStopping; count++) {
    timed(commit);
    // A loop without any turn of the event loop would never see SIGTERM.
    if (options.pauseMs > 0 || count % 50 === 0) await pause(options.pauseMs);
  }
}

async function read(database: Database): Promise<void> {
  while (!isStopping) {
    database.run("BEGIN");
    timed(() => database.query("SELECT count(*) FROM sqlite_schema").get());
    await pause(options.pauseMs);
    database.run("COMMIT");
    await pause(options.pauseMs / READER_REST);
  }
}

async function checkpoint(database: Database): Promise<void> {
  database.run(`PRAGMA busy_timeout = ${CHECKPOINT_TIMEOUT_MS}`);
  for (let count = 0; !isStopping; count++) {
    await pause(options.pauseMs);
    const statement = database.query<{ busy: number }, []>(
      `PRAGMA wal_checkpoint(${MODES[count % MODES.length]})`,
    );
    timed(() => {
      if (statement.get()?.busy !== 0) busyCount++;
    });
  }
}

const database = openAsApplication(options.path);
await { writer: write, reader: read, checkpointer: checkpoint }[options.role](database);
database.close(true);
const sorted = durationsMs.toSorted((left, right) => left - right);
console.log(
  JSON.stringify({
    ...{ count: sorted.length, busyCount },
    ...{ p50Ms: quantile(sorted, 0.5), p99Ms: quantile(sorted, 0.99), maxMs: quantile(sorted, 1) },
  } satisfies ApplicationResult),
);
