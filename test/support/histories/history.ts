/**
 * A backup with a known past: a watched database changes step by step, and after each step its bytes are
 * recorded. SQLite itself makes the recorded images (`sqlite3_serialize` on the application's connection).
 */
import { Database } from "bun:sqlite";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { WatchProcess } from "../processes/watch-process.ts";
import type { TestDestination } from "../servers/destinations.ts";
import { tempFolder } from "../temp.ts";

/** One restorable point. */
export interface HistoryPoint {
  readonly txid: number;
  /** Time of the capture, ISO 8601. */
  readonly time: string;
  /** A file with the bytes of the database at this point. */
  readonly imagePath: string;
}

/** A finished backup. */
export interface History {
  readonly destination: TestDestination;
  /** Path of the database; no connection has it open. */
  readonly database: string;
  readonly folder: string;
  /** Ascending, from TXID 1. */
  readonly points: readonly HistoryPoint[];
}

/** Statements of one commit each: the database grows, is overwritten, and shrinks. */
export const EVENTFUL_STEPS = [
  "INSERT INTO item SELECT value, hex(randomblob(200)) FROM generate(1, 300)",
  "UPDATE item SET body = 'changed' WHERE id % 7 = 0",
  "CREATE INDEX item_by_body ON item (body)",
  "DELETE FROM item WHERE id > 100",
  "VACUUM",
  "INSERT INTO item SELECT value, hex(randomblob(50)) FROM generate(1001, 1200)",
  "DROP TABLE ballast",
  "VACUUM",
  "UPDATE item SET body = 'last' WHERE id = 1",
] as const;

/** Replaces `generate(a, b)` in a step with a table of the numbers from a to b. */
function expand(sql: string): string {
  return sql.replace(
    /generate\((\d+), (\d+)\)/,
    "(WITH RECURSIVE n(v) AS (SELECT $1 UNION ALL SELECT v + 1 FROM n WHERE v < $2) " +
      "SELECT v AS value FROM n)",
  );
}

/** Makes a database `app.db` and watches it while the steps run. Each step becomes one TXID. */
export async function recordHistory(
  destination: TestDestination,
  steps: readonly string[] = EVENTFUL_STEPS,
  flags: readonly string[] = [],
): Promise<History> {
  const folder = tempFolder("history");
  const path = join(folder, "app.db");
  const connection = createDatabase(path);
  const words = [path, ...destination.words, "--wal-sync-interval", "0.02", ...flags];
  const watch = await WatchProcess.start(words, destination);
  const points: HistoryPoint[] = [];
  const record = async (): Promise<void> => {
    const txid = points.length + 1;
    await watch.waitForTxid(txid);
    const imagePath = join(folder, `image-${txid}`);
    writeFileSync(imagePath, connection.serialize());
    points.push({ txid, time: watch.uploads().at(-1)!.time!, imagePath });
  };
  await record();
  for (const step of steps) {
    connection.run(expand(step));
    await record();
  }
  connection.close(true);
  const exitCode = await watch.stop();
  if (exitCode !== 0) throw new Error(`watch ended with ${exitCode}\n${watch.stderr}`);
  if (watch.uploads().length !== points.length) throw new Error("a step became more than one TXID");
  return { destination, database: path, folder, points };
}

function createDatabase(path: string): Database {
  const connection = new Database(path);
  connection.run("PRAGMA journal_mode = WAL");
  connection.run("CREATE TABLE item (id INTEGER PRIMARY KEY, body TEXT)");
  connection.run("CREATE TABLE ballast AS SELECT randomblob(300000) AS body");
  return connection;
}
