/**
 * The rows that the application of the end-to-end tests commits, and the judge of its database. Each writer
 * numbers its rows without gaps; the content of a row follows from its number; a counter in the same
 * transaction counts the rows.
 */
import { constants, Database } from "bun:sqlite";
import { pathToFileURL } from "node:url";

/** Behaviour of a writer. */
export interface AppWriterOptions {
  readonly writer: number;
  /** Pause between two commits. */
  readonly pauseMs: number;
  /** Checkpoints in every mode and reopens its connection, at random. */
  readonly isRestless: boolean;
  readonly seed: number;
}

/** Creates the empty database in WAL mode. */
export function createAppDatabase(path: string, pageSizeBytes = 4096): void {
  const database = new Database(path);
  database.run(`PRAGMA page_size = ${pageSizeBytes}`);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE row (writer INT, number INT, body TEXT, PRIMARY KEY (writer, number)) STRICT");
  database.run("CREATE TABLE counter (writer INTEGER PRIMARY KEY, number INT) STRICT");
  database.close(true);
}

/** The content of a row; some rows are longer than a page. */
function bodyOf(writer: number, number: number): string {
  return `row ${number} of ${writer}. `.repeat(number % 50 === 0 ? 400 : 1 + (number % 20));
}

/** Commits one row together with the counter. */
export function commitRow(database: Database, writer: number, number: number): void {
  database.transaction(() => {
    database.run("INSERT INTO row VALUES (?, ?, ?)", [writer, number, bodyOf(writer, number)]);
    database.run("INSERT OR REPLACE INTO counter VALUES (?, ?)", [writer, number]);
  })();
}

/** The number of a writer's newest row, or 0 without rows. */
export function lastNumber(database: Database, writer: number): number {
  const row = database
    .query<{ number: number }, [number]>("SELECT number FROM counter WHERE writer = ?")
    .get(writer);
  return row?.number ?? 0;
}

/**
 * Judges a database that no connection has open: SQLite's integrity check passes, no row is missing, every
 * row has its content.
 * @returns the number of each writer's newest row
 * @throws Error that names the fault
 */
export function judgeAppDatabase(path: string): Map<number, number> {
  const flags = constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI;
  const database = new Database(`${pathToFileURL(path).href}?immutable=1`, flags);
  try {
    const verdict = database.query("PRAGMA integrity_check").values();
    if (verdict[0]?.[0] !== "ok") throw new Error(`integrity_check: ${JSON.stringify(verdict)}`);
    return readWriters(database);
  } finally {
    database.close();
  }
}

function readWriters(database: Database): Map<number, number> {
  const newest = new Map<number, number>();
  const rows = database
    .query<{ writer: number; number: number; body: string }, []>("SELECT * FROM row ORDER BY writer, number")
    .all();
  for (const { writer, number, body } of rows) {
    const expected = (newest.get(writer) ?? 0) + 1;
    if (number !== expected) throw new Error(`writer ${writer}: row ${expected} is missing`);
    if (body !== bodyOf(writer, number))
      throw new Error(`writer ${writer}: row ${number} is not what was written`);
    newest.set(writer, number);
  }
  for (const { writer, number } of database
    .query<{ writer: number; number: number }, []>("SELECT * FROM counter")
    .all()) {
    const count = newest.get(writer) ?? 0;
    if (number !== count)
      throw new Error(`writer ${writer}: the counter says ${number}, there are ${count} rows`);
  }
  return newest;
}
