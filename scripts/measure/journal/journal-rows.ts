/**
 * The rows of an application that journals its commits, and the judge of a copy of its database.
 *
 * Every writer numbers its rows from 1; the content of a row follows from its number. A row takes the place
 * of the row that many numbers before, so the file does not grow in a long run. A counter in the same
 * transaction holds the newest number: a copy that lacks a part of a transaction disagrees with its counter.
 */
import { constants, Database } from "bun:sqlite";
import { pathToFileURL } from "node:url";

/** Size and page size of a database. */
export interface JournalDatabase {
  readonly pageSizeBytes: number;
  /** Bytes that no page-wise compression shrinks: a file with all pages is larger than an increment. */
  readonly ballastBytes: number;
}

/** Rows of a writer that a database holds at a time. */
export const SLOT_COUNT = 400;
const BALLAST_ROW_BYTES = 4_000;

/** Makes a database in WAL mode with all content in the one file. */
export function createJournalDatabase(path: string, { pageSizeBytes, ballastBytes }: JournalDatabase): void {
  const database = new Database(path);
  database.run(`PRAGMA page_size = ${pageSizeBytes}`);
  database.run("CREATE TABLE row (writer INT, slot INT, number INT, body TEXT, PRIMARY KEY (writer, slot))");
  database.run("CREATE TABLE counter (writer INTEGER PRIMARY KEY, number INT)");
  database.run("CREATE TABLE ballast (id INTEGER PRIMARY KEY, body BLOB)");
  database.run(
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) " +
      `INSERT INTO ballast SELECT i, randomblob(${BALLAST_ROW_BYTES}) FROM n`,
    [ballastRowCount(ballastBytes)],
  );
  database.run("PRAGMA journal_mode = WAL");
  database.close(true);
}

/** Rows of the ballast; their ids begin at 1. */
export function ballastRowCount(ballastBytes: number): number {
  return Math.max(1, Math.round(ballastBytes / BALLAST_ROW_BYTES));
}

/** Commits the next `count` rows of a writer in one transaction. @returns the newest number */
export function commitRows(database: Database, writer: number, count: number): number {
  return database.transaction(() => {
    let number = newestNumber(database, writer);
    for (let row = 0; row < count; row++) {
      number++;
      database.run("INSERT OR REPLACE INTO row VALUES (?, ?, ?, ?)", [
        ...[writer, number % SLOT_COUNT, number],
        bodyOf(writer, number),
      ]);
    }
    database.run("INSERT OR REPLACE INTO counter VALUES (?, ?)", [writer, number]);
    return number;
  })();
}

/** The number of a writer's newest row; 0 without rows. */
export function newestNumber(database: Database, writer: number): number {
  const row = database
    .query<{ number: number }, [number]>("SELECT number FROM counter WHERE writer = ?")
    .get(writer);
  return row?.number ?? 0;
}

/** Some rows are longer than a page. */
function bodyOf(writer: number, number: number): string {
  return `row ${number} of ${writer}. `.repeat(number % 50 === 0 ? 400 : 1 + (number % 20));
}

/**
 * Judges a database that no connection has open: SQLite's integrity check passes, and each writer has exactly
 * the rows that its counter demands.
 * @returns the newest number of each writer
 * @throws Error that names the fault
 */
export function judgeJournalDatabase(path: string): Map<number, number> {
  const flags = constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI;
  const database = new Database(`${pathToFileURL(path).href}?immutable=1`, flags);
  try {
    const verdict = database.query("PRAGMA integrity_check").values();
    if (verdict[0]?.[0] !== "ok") throw new Error(`${path}: integrity_check: ${JSON.stringify(verdict)}`);
    const counters = database.query<{ writer: number; number: number }, []>("SELECT * FROM counter").all();
    for (const { writer, number } of counters) assertRows(database, writer, number);
    return new Map(counters.map(({ writer, number }) => [writer, number]));
  } finally {
    database.close();
  }
}

function assertRows(database: Database, writer: number, newest: number): void {
  const rows = database
    .query<{ slot: number; number: number; body: string }, [number]>(
      "SELECT slot, number, body FROM row WHERE writer = ? ORDER BY number",
    )
    .all(writer);
  const oldest = Math.max(1, newest - SLOT_COUNT + 1);
  for (let number = oldest; number <= newest; number++) {
    const row = rows[number - oldest];
    const expected = { slot: number % SLOT_COUNT, number, body: bodyOf(writer, number) };
    if (Bun.deepEquals(row, expected)) continue;
    const found = row === undefined ? "missing" : `row ${row.number} in slot ${row.slot}`;
    throw new Error(`writer ${writer}: row ${number} of ${newest} is ${found}`);
  }
  if (rows.length !== newest - oldest + 1) {
    throw new Error(`writer ${writer}: ${rows.length} rows at number ${newest}`);
  }
}
