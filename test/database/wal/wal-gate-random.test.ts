/**
 * The gate must never refuse a WAL that SQLite itself left. Two applications run random commits, checkpoints,
 * readers, vacuums and deaths; after each death the gate judges the WAL as at a first start.
 */
import { afterEach, expect, test } from "bun:test";
import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { NO_EVIDENCE, readWalFacts } from "../../../src/database/wal/wal-gate.ts";
import { judgeWal } from "../../../src/database/wal/wal-ownership.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { tempFolder } from "../../support/temp.ts";

const ROUNDS = Number(process.env["WALRUST_GATE_ROUNDS"] ?? 12);
const apps: SqliteProcess[] = [];

afterEach(async () => {
  for (const app of apps.splice(0)) await app.kill();
});

/** A number below a bound. */
type Below = (bound: number) => number;

const STEPS: readonly ((below: Below) => readonly string[])[] = [
  (below) => [`INSERT INTO t(v) SELECT randomblob(${below(3000)}) FROM c LIMIT ${1 + below(40)}`],
  (below) => [`UPDATE t SET v = randomblob(${below(3000)}) WHERE id % 7 = ${below(7)}`],
  (below) => [`DELETE FROM t WHERE id % 5 = ${below(5)}`],
  (below) => ["BEGIN", `UPDATE t SET v = randomblob(90) WHERE id < ${below(60)}`, "COMMIT"],
  (below) => [`CREATE TABLE IF NOT EXISTS extra${below(5)}(a)`],
  (below) => [`DROP TABLE IF EXISTS extra${below(5)}`],
  (below) => [`PRAGMA user_version = ${below(1000)}`],
  () => ["PRAGMA wal_checkpoint(PASSIVE)"],
  () => ["PRAGMA wal_checkpoint(RESTART)"],
  () => ["PRAGMA wal_checkpoint(TRUNCATE)"],
  () => ["PRAGMA wal_checkpoint(FULL)"],
  () => ["PRAGMA incremental_vacuum(3)"],
  () => ["VACUUM"],
  () => ["BEGIN", "SELECT count(*) FROM t"],
  () => ["ROLLBACK"],
];

async function open(path: string, below: Below): Promise<SqliteProcess> {
  const app = await SqliteProcess.open(path);
  apps.push(app);
  await app.must(
    `PRAGMA wal_autocheckpoint = ${[1, 5, 40, 1000][below(4)]}`,
    `PRAGMA cache_size = ${[5, 50, 2000][below(3)]}`,
    "PRAGMA synchronous = OFF",
  );
  return app;
}

for (const seed of [11, 12, 13]) {
  test(`judgeWal calls a WAL that SQLite left behind the file's own, seed ${seed}`, async () => {
    const random = seededRandom(seed + Number(process.env["WALRUST_GATE_SEED"] ?? 0));
    const below: Below = (bound) => Math.floor(random() * bound);
    const path = join(tempFolder("gate"), "app.db");
    const pageSize = [512, 1024, 4096, 65536][below(4)];
    const first = await SqliteProcess.open(path);
    await first.must(
      `PRAGMA page_size = ${pageSize}`,
      `PRAGMA auto_vacuum = ${below(3)}`,
      "PRAGMA journal_mode = WAL",
      "CREATE TABLE c(i)",
      `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
       INSERT INTO c SELECT i FROM n`,
      "CREATE TABLE t(id INTEGER PRIMARY KEY, v)",
    );
    await first.kill();
    let judged = 0;
    for (let round = 0; round < ROUNDS; round++) {
      const two = [await open(path, below), await open(path, below)];
      const steps = below(25);
      for (let step = 0; step < steps; step++) {
        // A refusal (busy, no transaction) belongs to the random load.
        await two[below(2)]!.run(...STEPS[below(STEPS.length)]!(below));
      }
      for (const app of two) await (below(4) === 0 ? app.close() : app.kill());
      const fd = openSync(path, "r");
      const facts = readWalFacts(path, fd, NO_EVIDENCE);
      closeSync(fd);
      if (facts.wal?.claims) judged++;
      expect([round, judgeWal(facts)]).toEqual([round, { kind: "own" }]);
    }
    expect(judged).toBeGreaterThan(ROUNDS / 4);
  });
}
