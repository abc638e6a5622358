/**
 * Runs SQLite's check on a database file that nobody else has open. The connection is immutable, so SQLite
 * creates no -wal and no -shm beside the file.
 *
 * The schema comes from somebody else and must do no harm: the connection does not trust the schema
 * (`trusted_schema=OFF`), and a read-only connection ignores CHECK constraints. SQLite still evaluates the
 * expressions of indexes and generated columns, without limits of its own: integrity-child.ts sets them.
 *
 * One unknown collation or function makes SQLite refuse the check of the whole database. Then each table is
 * checked by itself, and `dbstat` walks the pages of all tables.
 */
import { constants, Database, SQLiteError } from "bun:sqlite";
import { closeSync, openSync, readSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { errorMessage, WalrustError } from "../../errors.ts";
import { type IntegrityMode, type IntegrityNote, WHOLE_DATABASE } from "./integrity-verdict.ts";

/** Takes the notes of a check, one at a time. */
export type NoteSink = (note: IntegrityNote) => void;

const PROBLEMS_MAX = 10;
const HEADER_SIZE = 100;
const MAGIC = "SQLite format 3\0";

/** Primary codes of SQLite. */
const CODE = { nomem: 7, ioerr: 10, corrupt: 11, full: 13, cantopen: 14, notadb: 26 } as const;

/**
 * Checks the database at `path`. Synchronous, without a limit on time.
 * @throws WalrustError code "database" when the file cannot be read
 */
export function inspectDatabase(path: string, mode: IntegrityMode, emit: NoteSink): void {
  if (mode === "off") return;
  const obstacle = encryptionOrNull(readDatabaseHeader(path));
  if (obstacle !== null) return emit({ kind: "unchecked", part: WHOLE_DATABASE, reason: obstacle });
  const url = `${pathToFileURL(path).href}?immutable=1`;
  const database = new Database(url, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
  try {
    database.run("PRAGMA trusted_schema = OFF");
    const pragma = mode === "full" ? "integrity_check" : "quick_check";
    const refusal = runCheck(database, `PRAGMA ${pragma}(${PROBLEMS_MAX})`, emit);
    if (refusal === null) return;
    if (refusal.isWhole) return emit({ kind: "unchecked", part: WHOLE_DATABASE, reason: refusal.reason });
    checkEachTable(database, mode, refusal.reason, emit);
    checkPages(database, emit);
  } finally {
    database.close();
  }
}

/** Reads the first bytes of a file. @throws WalrustError code "database" */
export function readDatabaseHeader(path: string): Uint8Array {
  const header = new Uint8Array(HEADER_SIZE);
  try {
    const fd = openSync(path, "r");
    try {
      return header.subarray(0, readSync(fd, header, 0, HEADER_SIZE, 0));
    } finally {
      closeSync(fd);
    }
  } catch (error) {
    throw unreadable(error);
  }
}

/**
 * Detects the header of an encrypted file. SQLCipher encrypts everything, or, with
 * `cipher_plaintext_header_size`, leaves the first 32 bytes in the clear; then the fields after them are
 * noise.
 * @returns the reason, or null
 */
export function encryptionOrNull(header: Uint8Array): string | null {
  if (header.length < HEADER_SIZE) return null;
  const magic = new TextDecoder("latin1").decode(header.subarray(0, MAGIC.length));
  if (magic !== MAGIC) return "it does not begin like an SQLite file; it may be encrypted";
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  const isNoise =
    view.getUint32(44) > 4 && view.getUint32(56) > 3 && header.subarray(72, 92).some((byte) => byte !== 0);
  return isNoise ? "only the beginning of its header makes sense; the rest may be encrypted" : null;
}

/** SQLite refused a check; `isWhole` when it would refuse every other check too. */
interface Refusal {
  readonly reason: string;
  readonly isWhole: boolean;
}

/** Runs one check and emits its problems. @returns the reason why SQLite refused the check, or null */
function runCheck(database: Database, sql: string, emit: NoteSink): Refusal | null {
  try {
    for (const [row] of database.query(sql).values() as [string][]) {
      if (row !== "ok") emit({ kind: "problem", text: row });
    }
    return null;
  } catch (error) {
    const code = error instanceof SQLiteError ? error.errno & 0xff : 0;
    const reason = errorMessage(error);
    if (code === CODE.ioerr || code === CODE.cantopen || code === CODE.full) throw unreadable(error);
    if (code === CODE.corrupt) {
      emit({ kind: "problem", text: reason });
      return null;
    }
    return { reason, isWhole: code === CODE.notadb };
  }
}

function unreadable(error: unknown): WalrustError {
  return new WalrustError("database", `Cannot read the restored file to check it: ${errorMessage(error)}`, {
    hint: "Restore again, to another disk if this one fails",
    cause: error,
  });
}

/** Checks table by table, after SQLite refused to check the whole database for this reason. */
function checkEachTable(database: Database, mode: IntegrityMode, reason: string, emit: NoteSink): void {
  let names: string[];
  try {
    const rows = database.query("SELECT name FROM sqlite_schema WHERE type = 'table'").values();
    names = rows.map(([name]) => String(name));
  } catch (error) {
    return emit({ kind: "unchecked", part: WHOLE_DATABASE, reason: errorMessage(error) });
  }
  let isExplained = false;
  for (const name of names) {
    const table = `"${name.replaceAll('"', '""')}"`;
    const refusal =
      mode === "full" ? runCheck(database, `PRAGMA integrity_check(${table})`, emit) : { reason };
    if (refusal === null) continue;
    const quick = runCheck(database, `PRAGMA quick_check(${table})`, emit);
    if (quick === null && mode === "quick") continue;
    isExplained = true;
    const part = quick === null ? `the indexes of table ${name}` : `table ${name}`;
    emit({ kind: "unchecked", part, reason: explained((quick ?? refusal).reason) });
  }
  if (!isExplained) emit({ kind: "unchecked", part: "the database as a whole", reason });
}

/** Explains the message of FTS5 about an unknown tokenizer, which is only "SQL logic error". */
function explained(reason: string): string {
  return reason === "SQL logic error" ? "its tokenizer or module is not here (SQL logic error)" : reason;
}

/** Walks the pages of all tables and indexes, and finds damaged pages and pages that are used twice. */
function checkPages(database: Database, emit: NoteSink): void {
  let problemCount = 0;
  const problem = (text: string): void => {
    if (problemCount++ < PROBLEMS_MAX) emit({ kind: "problem", text });
  };
  try {
    const [[pageCount]] = database.query("PRAGMA page_count").values() as [[number]];
    const isUsed = new Uint8Array(Math.ceil((pageCount + 1) / 8));
    const pages = database.prepare("SELECT name, pageno, pagetype FROM dbstat");
    for (const row of pages.iterate()) {
      const { name, pageno, pagetype } = row as { name: string; pageno: number; pagetype: string };
      const bit = 1 << (pageno & 7);
      if (!["internal", "leaf", "overflow"].includes(pagetype)) {
        problem(`Page ${pageno} of ${name} is damaged`);
      } else if (pageno < 1 || pageno > pageCount) {
        problem(`${name} refers to page ${pageno} of ${pageCount}`);
      } else if (isUsed[pageno >> 3]! & bit) problem(`Page ${pageno} of ${name} is used twice`);
      else isUsed[pageno >> 3]! |= bit;
      if (problemCount >= PROBLEMS_MAX) return;
    }
  } catch (error) {
    const code = error instanceof SQLiteError ? error.errno & 0xff : 0;
    if (code === CODE.corrupt) problem(errorMessage(error));
    else emit({ kind: "unchecked", part: "the pages", reason: errorMessage(error) });
  }
}
