/**
 * An application with a long WAL, which measures its own commits. Fills the WAL with a few large transactions
 * while its checkpoints are off. Then commits at once, before a tool has shortened the WAL, in short bursts
 * and with SQLite's own autocheckpoint.
 *
 * The argument is a JSON file with CommitProbeOptions. Prints a JSON line with a CommitProbeResult.
 */
import type { Database } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { openAsApplication, prepareCommit } from "../../measure/databases.ts";
import type { CommitProbeOptions, CommitProbeResult } from "../cases/commit.ts";

const AUTOCHECKPOINT_PAGES = 1000;
const FILL_ROWS = 2_000;
/** An application commits a few times for each of its own requests. */
const BURST_COUNT = 10;
const GAP_MS = 20;

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as CommitProbeOptions;
const { databasePath, walFrames, commitCount, rounds } = options;
const database = openAsApplication(databasePath);
const commit = prepareCommit(database, 1);
const frameCount = database.query<{ log: number }, []>("PRAGMA wal_checkpoint(NOOP)");

/**
 * Frames in the WAL since its last restart. SQLite answers, because the application must not open the -shm
 * file itself: closing that descriptor would drop SQLite's locks of this process.
 */
function framesInWal(): number {
  return frameCount.get()!.log;
}

/** Writes frames until the WAL holds enough, or as many were written while something restarted the WAL. */
function fillWal(connection: Database): void {
  connection.run("PRAGMA wal_autocheckpoint = 0");
  const fill = connection.prepare(
    "UPDATE item SET version = version + 1 WHERE id % ?1 = ?2 AND id <= ?3 * ?1",
  );
  const { rows } = connection.query<{ rows: number }, []>("SELECT count(*) AS rows FROM item").get()!;
  const stride = Math.max(1, Math.floor(rows / FILL_ROWS));
  for (let turn = 0, written = 0; framesInWal() < walFrames && written < 2 * walFrames; turn++) {
    const wanted = Math.min(FILL_ROWS, Math.max(1, walFrames - framesInWal()));
    fill.run(stride, turn % stride, wanted);
    written += wanted;
  }
  connection.run(`PRAGMA wal_autocheckpoint = ${AUTOCHECKPOINT_PAGES}`);
}

const durationsMs: number[] = [];
const frames: number[] = [];
for (let round = 0; round < rounds; round++) {
  fillWal(database);
  for (let count = 0; count < commitCount; count++) {
    if (count % BURST_COUNT === 0) {
      await Bun.sleep(GAP_MS);
      frames.push(framesInWal());
    }
    const startMs = performance.now();
    commit();
    durationsMs.push(performance.now() - startMs);
  }
}
database.close(true);
console.log(JSON.stringify({ durationsMs, frames } satisfies CommitProbeResult));
