/**
 * The repertoire of the application and of the people around it. Each action is one step that walrust cannot
 * see half of: SQLite's own steps between two of walrust's operations are as atomic as its locks make them.
 */
import { existsSync } from "node:fs";
import type { Chance } from "./chance.ts";
import type { SimDatabase } from "./databases.ts";

type Action = (database: SimDatabase, chance: Chance) => void;
type Weighted = readonly (readonly [weight: number, action: Action])[];

/** Rows of this many bytes fill some pages. */
const ROW_SIZES = [10, 200, 900, 3_000];
const ROWS_MAX = 60;

function text(chance: Chance): string {
  return `printf('%.${chance.of(ROW_SIZES)}c%d', 'x', ${chance.below(1e9)})`;
}

function change(chance: Chance): string {
  return chance.weighted([
    [6, `INSERT INTO t(v) VALUES (${text(chance)})`],
    [3, `UPDATE t SET v = ${text(chance)} WHERE id % 7 = ${chance.below(7)}`],
    [2, `DELETE FROM t WHERE id % 5 = ${chance.below(5)}`],
    [2, `INSERT INTO u VALUES (${chance.below(1000)}, ${text(chance)})`],
    [1, `UPDATE u SET w = ${chance.below(1e6)} WHERE k % 3 = 0`],
  ]);
}

function changes(chance: Chance): string[] {
  return Array.from({ length: chance.between(1, 3) }, () => change(chance));
}

/** Keeps a database small, so that a run is cheap. */
const TRIM = `DELETE FROM t WHERE id <= (SELECT max(id) - ${ROWS_MAX} FROM t)`;

function commit(database: SimDatabase, chance: Chance): void {
  const connection = chance.is(0.7) ? "w" : "x";
  if (database.writer === connection) return finish(database, chance);
  const reply = database.run(connection, "BEGIN IMMEDIATE", ...changes(chance), TRIM, "COMMIT");
  if (reply.code !== null) database.rollback(connection);
}

function commitMuch(database: SimDatabase, chance: Chance): void {
  if (database.writer === "w") return finish(database, chance);
  const count = chance.between(5, 40);
  const series = `WITH RECURSIVE s(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < ${count})`;
  const reply = database.run(
    "w",
    "BEGIN IMMEDIATE",
    `INSERT INTO t(v) ${series} SELECT ${text(chance)} FROM s`,
    "COMMIT",
  );
  if (reply.code !== null) database.rollback("w");
}

function beginWriting(database: SimDatabase, chance: Chance): void {
  if (database.writer !== null) return finish(database, chance);
  const connection = chance.of(["w", "x"]);
  const reply = database.run(connection, "BEGIN IMMEDIATE", ...changes(chance));
  if (reply.code === null) database.writer = connection;
  else database.rollback(connection);
}

/** Ends the transaction that is under way. */
function finish(database: SimDatabase, chance: Chance): void {
  const { writer } = database;
  if (writer === null) return;
  if (chance.is(0.3)) return database.rollback(writer);
  const reply = database.run(writer, "COMMIT");
  if (reply.code === null) database.writer = null;
  else database.rollback(writer);
}

function rollBack(database: SimDatabase, chance: Chance): void {
  if (database.writer !== null) return;
  database.run("w", "BEGIN IMMEDIATE", ...changes(chance), "ROLLBACK");
  database.rollback("w");
}

function checkpoint(database: SimDatabase, chance: Chance): void {
  const mode = chance.of(["PASSIVE", "PASSIVE", "FULL", "RESTART", "TRUNCATE"]);
  const connection = database.writer === "w" ? "x" : "w";
  database.run(connection, `PRAGMA wal_checkpoint(${mode})`);
}

function read(database: SimDatabase): void {
  if (database.isReading) database.run("r", "COMMIT");
  else database.run("r", "BEGIN", "SELECT count(*) FROM t");
  database.isReading = !database.isReading;
}

function vacuum(database: SimDatabase): void {
  if (database.writer === null && !database.isReading) database.run("w", "VACUUM");
}

function shrink(database: SimDatabase): void {
  if (database.writer === null) database.run("w", "DELETE FROM t WHERE id % 4 > 0");
}

const TRANSACTIONS: Weighted = [
  [40, commit],
  [6, commitMuch],
  [8, beginWriting],
  [10, finish],
  [4, rollBack],
  [14, checkpoint],
  [5, read],
  [1, vacuum],
  [2, shrink],
];

const COMINGS_AND_GOINGS: Weighted = [
  [3, (database) => database.close()],
  [3, (database) => database.kill()],
];

/** Ends whatever keeps the database busy. */
export function calm(database: SimDatabase): void {
  if (!database.tryOpen()) return;
  if (database.writer !== null) database.rollback(database.writer);
  if (database.isReading) read(database);
}

/** Lets the application of one database act. @param mayLeave whether connections may close */
export function act(database: SimDatabase, chance: Chance, mayLeave: boolean): void {
  if (!database.tryOpen()) return;
  // Another writer finds the database busy as long as one transaction lasts.
  if (database.writer !== null && chance.is(0.3)) return finish(database, chance);
  const actions = mayLeave ? [...TRANSACTIONS, ...COMINGS_AND_GOINGS] : TRANSACTIONS;
  chance.weighted(actions)(database, chance);
}

/** Lets somebody change the files of a database whose application is closed. */
export function meddle(database: SimDatabase, chance: Chance): void {
  const { path, application, plan, trace } = database;
  if (database.isOpen) database.close();
  const remove = (...suffixes: string[]): void => {
    application.ask({ kind: "remove", path, paths: suffixes.map((suffix) => `${path}${suffix}`) });
    for (const suffix of suffixes) database.hints()?.replaced(`${path}${suffix}`);
    trace.add(`  somebody removes ${suffixes.map((suffix) => `${plan.name}${suffix}`).join(", ")}`);
  };
  const copyPath = `${path}.copy`;
  chance.weighted<() => void>([
    [2, () => remove("-shm")],
    // Without a WAL that holds more than the file, the database may be damaged: then nobody removes it.
    [2, () => remove(...(database.peek(false) === database.digest ? ["-wal", "-shm"] : ["-shm"]))],
    [3, () => keepCopy(database, copyPath)],
    [
      3,
      () => {
        if (!existsSync(copyPath)) return keepCopy(database, copyPath);
        const isAnew = chance.is(0.5);
        remove(...(isAnew ? ["", "-wal", "-shm"] : ["-wal", "-shm"]));
        application.ask({ kind: "copy", path: copyPath, to: path });
        trace.add(`  somebody copies an old state over ${plan.name}${isAnew ? " (a new file)" : ""}`);
        database.hints()?.replaced(path);
      },
    ],
    [
      1,
      () => {
        remove("", "-wal", "-shm");
        database.create();
      },
    ],
  ])();
  database.reread();
}

/** Keeps a copy of a database file that holds everything. */
function keepCopy({ path, application, trace, plan }: SimDatabase, copyPath: string): void {
  if (existsSync(`${path}-wal`)) return;
  application.ask({ kind: "copy", path, to: copyPath });
  trace.add(`  somebody copies ${plan.name}`);
}
