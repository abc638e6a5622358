/**
 * The application of the demo: a shop that takes orders. Commit number N is always the same, so the demo can
 * rebuild the database after N commits without a backup, and compare.
 *
 * As a program (`bun scripts/demo/orders.ts DATABASE JOURNAL`), the shop makes about a hundred commits a
 * second until a signal kills it. After each commit it appends `<number> <ms since the epoch>` to the
 * journal.
 */
import { Database } from "bun:sqlite";
import { appendFileSync } from "node:fs";

const CUSTOMERS = ["Ada", "Grace", "Linus", "Barbara", "Edsger", "Margaret", "Ken"] as const;
const PAUSE_MS = 8;

/** One row of the table. */
export interface Order {
  readonly id: number;
  readonly customer: string;
  readonly cents: number;
  readonly state: string;
  readonly note: string;
}

/** Creates the empty table. */
export function createOrders(database: Database): void {
  database.run(
    "CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT, cents INTEGER, state TEXT, note TEXT)",
  );
  database.run("CREATE INDEX orders_by_customer ON orders (customer, state)");
}

/** Makes commit `number`, counted from 1: adds an order, ships an older one, and sometimes cancels one. */
export function commitOrder(database: Database, number: number): void {
  const customer = CUSTOMERS[number % CUSTOMERS.length]!;
  const cents = (number * 7919) % 100_000;
  const note = `order ${number} `.repeat(1 + (number % 20));
  database.transaction(() => {
    database.run("INSERT INTO orders VALUES (?, ?, ?, 'new', ?)", [number, customer, cents, note]);
    database.run("UPDATE orders SET state = 'shipped' WHERE id = ?", [number - 50]);
    if (number % 10 === 0) database.run("DELETE FROM orders WHERE id = ?", [Math.floor(number / 2)]);
  })();
}

/** Reads all rows in the order of their ids. */
export function readOrders(database: Database): Order[] {
  return database.query<Order, []>("SELECT * FROM orders ORDER BY id").all();
}

/** Computes in memory the rows after `count` commits. */
export function expectedOrders(count: number): Order[] {
  const database = new Database(":memory:");
  createOrders(database);
  for (let number = 1; number <= count; number++) commitOrder(database, number);
  const orders = readOrders(database);
  database.close();
  return orders;
}

if (import.meta.main) {
  const [databasePath, journalPath] = process.argv.slice(2);
  if (databasePath === undefined || journalPath === undefined) throw new Error("usage: DATABASE JOURNAL");
  const database = new Database(databasePath);
  database.run("PRAGMA busy_timeout = 5000");
  for (let number = 1; ; number++) {
    commitOrder(database, number);
    appendFileSync(journalPath, `${number} ${Date.now()}\n`);
    await Bun.sleep(PAUSE_MS);
  }
}
