/**
 * Databases of applications with collations, functions, modules and keys of their own. Bun's SQLite can
 * register none of these. The schema is therefore written with known names first, and renamed afterwards.
 */
import { Database } from "bun:sqlite";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "../../support/temp.ts";

const ROWS = 500;

/** Writes a database with rows in table t, then edits its schema inside the file. */
export function databaseWith(
  schema: readonly string[],
  rename: readonly (readonly [string, string])[] = [],
): string {
  const path = join(tempFolder("integrity"), "app.db");
  const database = new Database(path);
  database.run("PRAGMA page_size = 4096");
  for (const statement of schema) database.run(statement);
  const insert = database.prepare("INSERT INTO t(code) VALUES (?)");
  database.transaction(() => {
    for (let row = 0; row < ROWS; row++) insert.run(`code ${(row * 7919) % ROWS}`);
  })();
  insert.finalize();
  database.run("CREATE TABLE other(x)");
  database.run("CREATE INDEX other_x ON other(x)");
  database.run("INSERT INTO other SELECT code FROM t");
  database.close();
  editSchema(path, rename);
  return path;
}

/**
 * Replaces texts of the schema in the file itself, because Bun's connections cannot edit sqlite_schema. The
 * file then equals one that an application with these names wrote. Spaces fill up a shorter text.
 */
export function editSchema(path: string, rename: readonly (readonly [string, string])[]): void {
  let content = readFileSync(path, "latin1");
  for (const [from, to] of rename) {
    if (to.length > from.length || !content.includes(from)) throw new Error(`cannot rename ${from} to ${to}`);
    content = content.replaceAll(from, to.padEnd(from.length));
  }
  writeFileSync(path, content, "latin1");
}

/** Databases whose schema needs the application's own extensions, by name. */
export const APPLICATION_DATABASES: Readonly<Record<string, () => string>> = {
  "an index with a collation": () =>
    databaseWith(
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, code)", "CREATE INDEX i ON t(code COLLATE NOCASE)"],
      [["NOCASE", "icu_de"]],
    ),
  "a key with a collation": () =>
    databaseWith(
      ["CREATE TABLE t(code TEXT COLLATE NOCASE PRIMARY KEY) WITHOUT ROWID"],
      [["NOCASE", "icu_de"]],
    ),
  "an index on a function": () =>
    databaseWith(
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, code)", "CREATE INDEX i ON t(lower(code))"],
      [["lower", "slugs"]],
    ),
  "a partial index with a function": () =>
    databaseWith(
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, code)", "CREATE INDEX i ON t(code) WHERE abs(id)"],
      [["abs", "own"]],
    ),
  "a virtual column with a function": () =>
    databaseWith(
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, code, s TEXT AS (lower(code)) VIRTUAL)"],
      [["lower", "slugs"]],
    ),
  "a tokenizer of FTS4": () =>
    databaseWith(
      ["CREATE TABLE t(code)", "CREATE VIRTUAL TABLE f USING fts4(body, tokenize=simple)"],
      [["tokenize=simple", "tokenize=jieba"]],
    ),
  "a tokenizer of FTS5": () =>
    databaseWith(
      [
        "CREATE TABLE t(code)",
        "CREATE VIRTUAL TABLE f USING fts5(body, tokenize='ascii')",
        "INSERT INTO f VALUES ('hello')",
      ],
      [["ascii", "jieba"]],
    ),
};

/** Databases that SQLite can check although extensions are missing here. */
export const CHECKABLE_DATABASES: Readonly<Record<string, () => string>> = {
  "a CHECK with a function": () =>
    databaseWith(
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, code CHECK (instr(code, 'c')))"],
      [["instr", "regex"]],
    ),
  "a stored column with a function": () =>
    databaseWith(
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, code, s AS (lower(code)) STORED)"],
      [["lower", "slugs"]],
    ),
  "a default with a function": () =>
    databaseWith(
      ["CREATE TABLE t(id INTEGER PRIMARY KEY, code, s DEFAULT (lower('A')))"],
      [["lower", "slugs"]],
    ),
  "a module without tables": () =>
    databaseWith(
      ["CREATE TABLE t(code)", "CREATE VIRTUAL TABLE f USING rtree(id, x, y)"],
      [["rtree", "vec00"]],
    ),
  "a view and a trigger with a function": () =>
    databaseWith(
      [
        "CREATE TABLE t(code)",
        "CREATE VIEW v AS SELECT lower(code) FROM t",
        "CREATE TRIGGER r AFTER DELETE ON t BEGIN SELECT lower(1); END",
      ],
      [["lower", "slugs"]],
    ),
};

/** Marks a database as one in WAL mode, as its application does. */
export function inWalMode(path: string): string {
  const bytes = readFileSync(path);
  bytes[18] = 2;
  bytes[19] = 2;
  writeFileSync(path, bytes);
  return path;
}

/**
 * A database with an index over a given expression. The index has another expression while rows are inserted,
 * so an insertion never evaluates the given one.
 */
export function databaseWithExpression(expression: string): string {
  const room = " ".repeat(100);
  return databaseWith(
    ["CREATE TABLE t(id INTEGER PRIMARY KEY, code)", `CREATE INDEX i ON t(lower(code)${room})`],
    [[`lower(code)${room}`, expression]],
  );
}

/** An expression that takes minutes for each row, in little memory. */
export const SLOW_EXPRESSION = "instr(hex(zeroblob(900000)),hex(zeroblob(450000))||'1')||code";

/** A file as SQLCipher writes it: noise after the first `clearBytes` bytes. */
export function encryptedDatabase(clearBytes: number): string {
  const path = databaseWith(["CREATE TABLE t(code)"]);
  const bytes = readFileSync(path);
  const noise = new Bun.CryptoHasher("sha256");
  for (let at = 0; at < bytes.length; at += 32) {
    noise.update(String(at));
    const mask = noise.copy().digest();
    for (let i = 0; i < 32; i++) if (at + i >= clearBytes) bytes[at + i]! ^= mask[i]!;
  }
  writeFileSync(path, bytes);
  return path;
}
