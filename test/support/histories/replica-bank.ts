/**
 * A bank as the source of replicas. In every committed state the balances add up to the same total. The
 * newest transfer has the number of the round, and the index agrees with the table. A mix of two states
 * breaks at least one of these rules.
 */
import type { SourceDatabase } from "./replica-history.ts";

/** Number of accounts. */
export const ACCOUNTS = 400;
/** Sum of all balances. */
export const TOTAL = ACCOUNTS * 1000;

const NUMBERS = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${ACCOUNTS})`;

/** The statements that found the bank, in one transaction. */
export const FOUNDING = [
  "BEGIN",
  "CREATE TABLE account (id INTEGER PRIMARY KEY, balance INTEGER, pad BLOB)",
  `${NUMBERS} INSERT INTO account SELECT i, 1000, randomblob(300) FROM n`,
  "CREATE TABLE transfer (id INTEGER PRIMARY KEY, note TEXT)",
  "CREATE INDEX transfer_note ON transfer (note)",
  "CREATE TABLE round (number INTEGER)",
  "INSERT INTO round VALUES (1)",
  "INSERT INTO transfer VALUES (1, 'founded')",
  "COMMIT",
] as const;

/**
 * Plays one round: moves money between many accounts, and in some rounds grows, shrinks or rebuilds the file.
 */
export function playRound(source: SourceDatabase, round: number, random: () => number): Buffer {
  const statements = ["BEGIN", `UPDATE round SET number = ${round}`];
  const noteSize = random() < 0.1 ? 20_000 : 100;
  statements.push(`INSERT INTO transfer VALUES (${round}, hex(randomblob(${noteSize})))`);
  for (let move = 0; move < 12; move++) {
    const [from, to] = [1 + Math.floor(random() * ACCOUNTS), 1 + Math.floor(random() * ACCOUNTS)];
    const amount = Math.floor(random() * 500);
    statements.push(
      `UPDATE account SET balance = balance - ${amount}, pad = randomblob(300) WHERE id = ${from}`,
    );
    statements.push(`UPDATE account SET balance = balance + ${amount} WHERE id = ${to}`);
  }
  if (random() < 0.15) statements.push(`DELETE FROM transfer WHERE id < ${round} AND id % 3 = 0`);
  if (random() < 0.1) statements.push(`CREATE TABLE extra_${round} AS SELECT randomblob(200000) AS body`);
  statements.push("COMMIT");
  if (random() < 0.15) {
    const extras = source.database.query("SELECT name FROM sqlite_schema WHERE name LIKE 'extra%'").values();
    for (const [name] of extras) statements.push(`DROP TABLE ${String(name)}`);
    statements.push("VACUUM");
  }
  return source.after(...statements);
}
