/**
 * A hostile application, one process of several. For a random time it opens and closes connections, writes
 * small and spilling transactions, deletes, rolls back, and checkpoints in every mode. A kill may end it at
 * any moment. Arguments: database, writer number, seed.
 */
import { Database } from "bun:sqlite";
import { seededRandom } from "../seeded-random.ts";

const path = process.argv[2] ?? "";
const writer = Number(process.argv[3]);
const random = seededRandom(Number(process.argv[4]));
const CHECKPOINT_MODES = ["PASSIVE", "FULL", "RESTART", "TRUNCATE"];
const AUTOCHECKPOINTS = [1, 5, 1000];

const pick = <Item>(items: readonly Item[]): Item => items[Math.floor(random() * items.length)] as Item;

function attempt(action: () => void): boolean {
  try {
    action();
    return true;
  } catch {
    return false; // Busy, mostly; the database, not this process, shows the committed rows.
  }
}

function transaction(database: Database): void {
  database.run("BEGIN IMMEDIATE");
  const rowCount = pick([1, 1, 1, 30]);
  for (let row = 0; row < rowCount; row++) {
    database.run("INSERT INTO t(w, n, b) VALUES (?, ?, randomblob(300))", [writer, row]);
  }
  if (random() < 0.2) {
    database.run("DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY random() LIMIT 20)");
  }
  database.run(random() < 0.05 ? "ROLLBACK" : "COMMIT");
}

function session(): void {
  const database = new Database(path, { readwrite: true, create: false });
  database.run("PRAGMA busy_timeout = 5000");
  database.run("PRAGMA synchronous = OFF");
  database.run("PRAGMA cache_size = 3");
  database.run(`PRAGMA wal_autocheckpoint = ${pick(AUTOCHECKPOINTS)}`);
  const transactionCount = 1 + Math.floor(random() * 20);
  for (let count = 0; count < transactionCount; count++) {
    if (!attempt(() => transaction(database))) attempt(() => database.run("ROLLBACK"));
    if (random() < 0.01) attempt(() => database.run("VACUUM"));
    if (random() >= 0.05) continue;
    database.run(`PRAGMA busy_timeout = ${pick([0, 50])}`);
    attempt(() => database.run(`PRAGMA wal_checkpoint(${pick(CHECKPOINT_MODES)})`));
    database.run("PRAGMA busy_timeout = 5000");
  }
  database.close(true);
}

const endMs = performance.now() + 50 + random() * 1450;
while (performance.now() < endMs) attempt(session);
