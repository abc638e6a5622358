/**
 * Predicts whether SQLite can check a restored copy, while the live database still exists: compiles the check
 * and never runs it. A missing collation, function or tokenizer shows at compilation, within milliseconds.
 *
 * A child process (integrity-child.ts) parses the schemas, many databases in one child. The connection is
 * read-only, and immutable unless -wal and -shm exist: it creates no file and writes none.
 */
import { constants, Database } from "bun:sqlite";
import { existsSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { errorMessage } from "../../errors.ts";
import { encryptionOrNull, readDatabaseHeader } from "./integrity-check.ts";
import { answerLine, type CheckContext, type CheckLimits, linesOfChild } from "./integrity-child.ts";
import { shortNote } from "./integrity-verdict.ts";

/** A database that SQLite cannot check on this machine. */
export interface Uncheckable {
  readonly path: string;
  readonly reason: string;
}

/** The argument, in place of a mode, that makes a child compile the check only. */
export const COMPILE_WORD = "compile";

const BATCH_SIZE = 50;
const BATCH_LIMITS: CheckLimits = { timeMs: 20_000, memoryBytes: 256 * 1024 * 1024 };
const BUSY_TIMEOUT_MS = 200;
/** SQLite's messages about parts that only the application has. */
const MISSING = /no such collation|unknown function|unknown tokenizer|no such tokenizer|error in tokenizer/;

/**
 * Finds the databases that SQLite cannot check.
 * @param command as for `checkerInChild`
 */
export async function findUncheckable(
  command: readonly string[],
  paths: readonly string[],
  context: CheckContext,
  limits = BATCH_LIMITS,
): Promise<Uncheckable[]> {
  const found: Uncheckable[] = [];
  for (let next = 0; next < paths.length && context.signal?.aborted !== true; ) {
    const batch = paths.slice(next, next + BATCH_SIZE);
    const { lines, stopped } = await linesOfChild([...command, COMPILE_WORD, ...batch], limits, context);
    const answers = lines as { readonly reason: string | null }[];
    for (const [index, { reason }] of answers.slice(0, batch.length).entries()) {
      if (reason !== null) found.push({ path: batch[index]!, reason });
    }
    // The database that stopped the child.
    if (answers.length < batch.length && stopped !== null) {
      found.push({ path: batch[answers.length]!, reason: stopped });
    }
    next += Math.min(batch.length, answers.length + 1);
  }
  return found;
}

/** The child's part: prints an answer for each path. */
export function runCompileChild(paths: readonly string[]): void {
  for (const path of paths) answerLine({ reason: uncheckableOrNull(path) });
}

/** The reason why SQLite cannot check a database, or null; also null when the database cannot be read now. */
export function uncheckableOrNull(path: string): string | null {
  try {
    const encryption = encryptionOrNull(readDatabaseHeader(path));
    if (encryption !== null) return encryption;
    const isLive = existsSync(`${path}-wal`) && existsSync(`${path}-shm`);
    const url = `${pathToFileURL(path).href}${isLive ? "" : "?immutable=1"}`;
    const database = new Database(url, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
    try {
      database.run("PRAGMA trusted_schema = OFF");
      database.run(`PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}`);
      return compileOrReason(database);
    } finally {
      database.close();
    }
  } catch {
    return null;
  }
}

function compileOrReason(database: Database): string | null {
  try {
    database.prepare("EXPLAIN PRAGMA integrity_check").finalize();
  } catch (error) {
    const reason = errorMessage(error);
    return MISSING.test(reason) ? shortReason(reason) : null;
  }
  // FTS5 loads its tokenizer at the first query. The query is harmless: the table is implemented by SQLite.
  const tables = "SELECT name FROM sqlite_schema WHERE type = 'table' AND sql LIKE '%USING fts5%' LIMIT 20";
  for (const [name] of database.query(tables).values() as [string][]) {
    const table = `"${name.replaceAll('"', '""')}"`;
    try {
      database.query(`SELECT rowid FROM ${table} WHERE ${table} MATCH 'a' LIMIT 1`).values();
    } catch (error) {
      const reason = errorMessage(error);
      if (MISSING.test(reason)) return shortReason(`virtual table ${name}: ${reason}`);
    }
  }
  return null;
}

function shortReason(text: string): string {
  const note = shortNote({ kind: "problem", text });
  return note.kind === "problem" ? note.text : "";
}
