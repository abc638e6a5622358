/**
 * A reader of the bank in replica-readers.test.ts, in a child process. It reads as fast as possible, in
 * single statements and in transactions, on one long-lived connection and on new ones, without a busy
 * timeout. It ends when stdin ends, and prints its observations.
 */
import { Database, SQLiteError } from "bun:sqlite";
import { ACCOUNTS, TOTAL } from "../histories/replica-bank.ts";

interface Row {
  readonly total: number;
  readonly accounts: number;
  readonly transfers: number;
  readonly newest: number;
  readonly round: number;
}

const [path, mode, readsWanted] = [process.argv[2]!, process.argv[3]!, Number(process.argv[4])];
const problems: string[] = [];
let readCount = 0;
let isStopping = false;
let lastRound = -1;
const rounds = new Set<number>();

const ALL = `SELECT (SELECT sum(balance) FROM account) AS total, (SELECT count(*) FROM account) AS accounts,
  (SELECT count(*) FROM transfer) AS transfers, (SELECT max(id) FROM transfer) AS newest,
  (SELECT number FROM round) AS round`;

function report(what: string): void {
  if (problems.length < 20) problems.push(what);
}

/** Checks the rules of every committed state of the bank; a mix of two states breaks them. */
function check(row: Row): void {
  if (row.total !== TOTAL || row.accounts !== ACCOUNTS) report(`torn: ${JSON.stringify(row)}`);
  if (row.newest !== row.round) report(`the newest transfer is ${row.newest} in round ${row.round}`);
  if (row.round < lastRound) report(`round ${row.round} after round ${lastRound}`);
  lastRound = row.round;
  rounds.add(row.round);
}

/**
 * Two reads in one transaction see one state; a scan of the table and a scan of its index see the same rows.
 */
function readTransaction(database: Database): void {
  database.run("BEGIN");
  try {
    const first = database.query<Row, []>(ALL).get()!;
    check(first);
    const [byTable] = database.query("SELECT sum(length(note)), sum(id) FROM transfer NOT INDEXED").values();
    const [byIndex] = database.query("SELECT sum(id) FROM transfer INDEXED BY transfer_note").values();
    if (byTable![1] !== byIndex![0]) report(`table ${byTable![1]}, index ${byIndex![0]}`);
    if (!Bun.deepEquals(database.query<Row, []>(ALL).get(), first)) report("a transaction saw two states");
  } finally {
    database.run("COMMIT");
  }
}

function readOnce(database: Database): void {
  const kind = readCount % 50;
  if (kind === 49) {
    const [verdict] = database.query("PRAGMA integrity_check(3)").values();
    if (verdict![0] !== "ok") report(`integrity_check: ${verdict![0]}`);
  } else if (kind % 5 === 0) readTransaction(database);
  else check(database.query<Row, []>(ALL).get()!);
  readCount++;
}

/**
 * Opens a connection without a busy timeout. Only its first read waits: the closing connection of another
 * process briefly holds the PENDING lock while SQLite checks whether it is the last one. This happens with
 * any writer.
 */
function open(): Database {
  const options = mode === "readonly" ? { readonly: true } : { create: false, readwrite: true };
  const database = new Database(path, options);
  database.run("PRAGMA busy_timeout = 5000");
  database.query("PRAGMA user_version").get();
  database.run("PRAGMA busy_timeout = 0");
  return database;
}

async function readOn(): Promise<void> {
  let database = open();
  while (!isStopping || readCount < readsWanted) {
    try {
      readOnce(database);
    } catch (error) {
      const code = error instanceof SQLiteError ? error.code : "";
      report(`read ${readCount}: ${code} ${error}`);
      readCount++;
    }
    if (readCount % 400 === 0) {
      database.close(true);
      database = open();
    }
    if (readCount % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
  }
  database.close(true);
}

process.stdin.on("end", () => {
  isStopping = true;
});
process.stdin.resume();
process.stdout.write("ready\n");
await readOn();
process.stdout.write(`${JSON.stringify({ readCount, rounds: rounds.size, problems })}\n`);
process.exit(0);
