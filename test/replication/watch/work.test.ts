/**
 * The parts for uploads and upkeep of one database: dropped when the database is quiet, made again when there
 * is work. A new part knows of the uploads before.
 */
import { expect, test } from "bun:test";
import { provenHistory } from "../../support/oracles/history-oracle.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { ShiftedClock } from "../../support/shifted-clock.ts";

/** A database without captures for this long is quiet. */
const QUIET_MS = 11_000;

test("commits after quiet times continue the history", async () => {
  const store = new MemoryStore();
  const clock = new ShiftedClock();
  const { path, app } = await newDatabase();
  const run = new WatchRun([targetOf(path)], store, {}, clock.overrides);
  await run.uploaded(1);
  for (let txid = 2; txid <= 6; txid++) {
    clock.pass(QUIET_MS);
    await run.commit(app, `INSERT INTO t(v) VALUES (${txid})`);
    await run.uploaded(txid);
  }
  await run.stop();
  await app.close();
  expect(run.all("failed")).toEqual([]);
  await provenHistory(store, "app");
});
