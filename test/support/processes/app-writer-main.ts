/**
 * The application of the end-to-end tests, in one process. It commits numbered rows and acknowledges each in
 * a file after the commit returns. It keeps SQLite's default autocheckpoint. SIGTERM ends it gracefully.
 * Arguments: database, acknowledgements, JSON of AppWriterOptions.
 */
import { Database } from "bun:sqlite";
import { appendFileSync } from "node:fs";
import { type AppWriterOptions, commitRow, lastNumber } from "../histories/app-rows.ts";
import { seededRandom } from "../seeded-random.ts";

const [path = "", acknowledgements = "", json = "{}"] = process.argv.slice(2);
const { writer, pauseMs, isRestless, seed } = JSON.parse(json) as AppWriterOptions;
const random = seededRandom(seed);
const CHECKPOINT_MODES = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];

function open(): Database {
  const database = new Database(path, { readwrite: true, create: false });
  database.run("PRAGMA busy_timeout = 10000");
  return database;
}

/** Runs a checkpoint in a random mode, or reopens the connection. */
function disturb(database: Database): Database {
  const dice = random();
  if (dice < 0.03) {
    const mode = CHECKPOINT_MODES[Math.floor(random() * CHECKPOINT_MODES.length)];
    try {
      database.run("PRAGMA busy_timeout = 50");
      database.query(`PRAGMA wal_checkpoint(${mode})`).get();
    } catch {
      // Busy: another writer or reader held a lock, as in any application.
    }
    database.run("PRAGMA busy_timeout = 10000");
  } else if (dice < 0.05) {
    database.close(true);
    return open();
  }
  return database;
}

let isStopping = false;
process.on("SIGTERM", () => {
  isStopping = true;
});

let database = open();
for (let number = lastNumber(database, writer) + 1; !isStopping; number++) {
  commitRow(database, writer, number);
  appendFileSync(acknowledgements, `${number} ${Date.now()}\n`);
  if (isRestless) database = disturb(database);
  await Bun.sleep(pauseMs);
}
database.close(true);
