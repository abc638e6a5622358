/**
 * A process of the application: commits rows to one database, and journals each commit in a file after the
 * commit has returned. Between its commits it does what applications do to a WAL: checkpoints of all kinds,
 * also by a second connection; autocheckpoints of all lengths; large transactions and rollbacks; a close of
 * the last connection; and, if the options ask for it, a VACUUM. The argument is a JSON file with
 * JournalWriterOptions. SIGTERM ends the process after its transaction.
 */
import { Database } from "bun:sqlite";
import { appendFileSync, readFileSync } from "node:fs";
import { seededRandom } from "../databases.ts";
import { commitRows } from "./journal-rows.ts";
import type { JournalWriterOptions } from "./journal-writer.ts";

const CHECKPOINT_MODES = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
const AUTOCHECKPOINTS = [1, 100, 1000, 1000, 0];
const BUSY_MS = 10_000;
const LARGE_ROWS = 300;
const CLOSED_MS_MAX = 300;

const options = JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")) as JournalWriterOptions;
const { path, writer, journalPath, maxPauseMs, ballastRowCount, vacuumShare } = options;
const random = seededRandom(options.seed);
const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)]!;

function open(): Database {
  const connection = new Database(path, { readwrite: true, create: false });
  connection.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
  connection.run("PRAGMA synchronous = NORMAL");
  connection.run(`PRAGMA wal_autocheckpoint = ${pick(AUTOCHECKPOINTS)}`);
  return connection;
}

/** Runs SQL that another connection may block. @returns the result, or null when it was blocked */
function attempt<Result>(work: () => Result): Result | null {
  try {
    return work();
  } catch (error) {
    const { code = "" } = error as { code?: string };
    if (!/^SQLITE_(BUSY|LOCKED)/.test(code)) throw error;
    return null;
  }
}

function commit(connection: Database, count: number): void {
  const number = attempt(() => commitRows(connection, writer, count));
  if (number !== null) appendFileSync(journalPath, `${number}\n`);
}

function checkpoint(connection: Database): void {
  const isOwn = random() < 0.5;
  const other = isOwn ? connection : new Database(path, { readwrite: true, create: false });
  other.run(`PRAGMA busy_timeout = ${pick([0, 50, 2_000])}`);
  attempt(() => other.query(`PRAGMA wal_checkpoint(${pick(CHECKPOINT_MODES)})`).get());
  if (isOwn) connection.run(`PRAGMA busy_timeout = ${BUSY_MS}`);
  else other.close();
}

function rollBack(connection: Database): void {
  attempt(() => {
    connection.run("BEGIN IMMEDIATE");
    connection.run("DELETE FROM row");
    connection.run("ROLLBACK");
  });
}

function changeBallast(connection: Database): void {
  const id = 1 + Math.floor(random() * ballastRowCount);
  attempt(() => connection.run("UPDATE ballast SET body = randomblob(length(body)) WHERE id = ?", [id]));
}

let isStopping = false;
process.on("SIGTERM", () => {
  isStopping = true;
});
let connection = open();
console.log("ready");
while (!isStopping) {
  const dice = random();
  if (dice < 0.03) checkpoint(connection);
  else if (dice < 0.05) rollBack(connection);
  else if (dice < 0.08) commit(connection, LARGE_ROWS);
  else if (dice < 0.2) changeBallast(connection);
  else if (dice < 0.21) {
    connection.close(true);
    if (random() < 0.5) await Bun.sleep(random() * CLOSED_MS_MAX);
    connection = open();
  } else if (dice > 1 - vacuumShare) attempt(() => connection.run("VACUUM"));
  else commit(connection, 1);
  // Signals arrive only between two turns of the event loop.
  await Bun.sleep(random() * maxPauseMs);
}
connection.close(true);
