/**
 * The child of sqlite-process.ts: reads a JSON array of statements per line and answers with a JSON line. It
 * closes its connection and ends when stdin ends.
 */
import { constants, Database, SQLiteError } from "bun:sqlite";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { becomeOtherUser } from "./other-user.ts";

const OPEN_FLAGS = constants.SQLITE_OPEN_READWRITE | constants.SQLITE_OPEN_CREATE | constants.SQLITE_OPEN_URI;
becomeOtherUser(process.argv[3]);
const database = new Database(process.argv[2] ?? "", OPEN_FLAGS);
/**
 * Reads the database file without SQLite. Closing this file drops the locks of the process on the database.
 */
const READ_FILE = ".read";
process.stdout.write("ready\n");

for await (const line of createInterface({ input: process.stdin })) {
  const startMs = performance.now();
  let rows: unknown[][] = [];
  let errorCode: string | null = null;
  let message = "";
  try {
    for (const sql of JSON.parse(line) as string[]) {
      if (sql === READ_FILE) {
        readFileSync(process.argv[2] ?? "");
        continue;
      }
      const statement = database.prepare(sql);
      rows = statement.values();
      statement.finalize();
    }
  } catch (error) {
    errorCode = error instanceof SQLiteError ? (error.code ?? "SQLITE_ERROR") : "ERROR";
    message = String(error);
  }
  const durationMs = performance.now() - startMs;
  process.stdout.write(`${JSON.stringify({ rows, errorCode, message, durationMs })}\n`);
}
database.close(true);
