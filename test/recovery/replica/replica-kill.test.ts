/**
 * SIGKILL of a replicating process at random moments, including the first bootstrap and a later one, with a
 * reader connected all the time. Readers always find exactly one published state, never an older one than
 * reported. The next process resumes from there. WALRUST_REPLICA_KILLS sets the number of kills (8).
 */
import { Database } from "bun:sqlite";
import { expect, spyOn, test } from "bun:test";
import { copyFileSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { ReplicaWalIndex } from "../../../src/recovery/replica/replica-wal-index.ts";
import { FileStore } from "../../../src/storage/file/file-store.ts";
import { FOUNDING, playRound } from "../../support/histories/replica-bank.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { ReplicaProcess, serializeNow } from "../../support/processes/replica-process.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { expectContent, ReplicaRun, replicateOnce } from "../../support/runs/replica-run.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { tempFolder } from "../../support/temp.ts";

const KILLS = Number(process.env["WALRUST_REPLICA_KILLS"] ?? 8);
const SEED = 77;
const ROUNDS_PER_KILL = 12;

/** The TXIDs whose image equals `content`. */
function txidsOf(history: SourceHistory, content: Buffer): number[] {
  return [...history.images].filter(([, image]) => image.equals(content)).map(([txid]) => txid);
}

test(
  "replicate survives SIGKILL at any moment and resumes",
  async () => {
    const random = seededRandom(SEED);
    const folder = tempFolder("kill");
    const local = join(folder, "replica.db");
    const source = new SourceDatabase(folder, 1024);
    const store = new FileStore({ path: join(folder, "bucket") });
    const history = new SourceHistory(store, "app");
    await history.publish(source.after(...FOUNDING));
    let reported = 0;
    let round = 1;
    let reader: SqliteProcess | null = null;
    for (let kill = 0; kill < KILLS; kill++) {
      for (let i = 0; i < ROUNDS_PER_KILL; i++) await history.publish(playRound(source, ++round, random));
      if (kill % 4 === 3) await history.snapshotAndPrune();
      const replica = new ReplicaProcess(`${store.url}/app`, local);
      // The first few processes die during the bootstrap, the others while they apply a backlog.
      if (kill > 3) await waitUntil(() => replica.events.length > 0 || replica.hasEnded);
      await replica.killAfter(kill > 3 ? random() * 60 : 100 + random() * 250);
      reported = Math.max(reported, replica.txid);
      if (!existsSync(local)) continue;
      const content = serializeNow(local);
      expect(txidsOf(history, content).some((txid) => txid >= reported)).toBe(true);
      reader ??= await SqliteProcess.open(local);
      expect((await reader.must("PRAGMA integrity_check(1)")).rows).toEqual([["ok"]]);
    }
    const last = new ReplicaProcess(`${store.url}/app`, local);
    await waitUntil(() => last.txid >= history.txid || last.hasEnded);
    expect(last.txid).toBe(history.txid);
    expect(serializeNow(local).equals(history.newest)).toBe(true);
    await reader?.close();
    const { exitCode, log } = await last.stop();
    expect({ exitCode, log }).toMatchObject({ exitCode: 0 });
    const left = readdirSync(folder).filter((file) => file.includes("replica.db"));
    expect(left.sort()).toEqual([
      "replica.db",
      "replica.db-replica-state",
      "replica.db-shm",
      "replica.db-wal",
    ]);
  },
  30_000 + KILLS * 2000,
);

test("replicate opens its replica after a kill, although one object held many commits", async () => {
  const folder = tempFolder("many-commits");
  const local = join(folder, "replica.db");
  const source = new SourceDatabase(folder);
  const history = new SourceHistory(new FileStore({ path: join(folder, "bucket") }), "app");
  await history.publish(source.after(...FOUNDING));
  const run = new ReplicaRun(history.store, local);
  await run.waitForTxid(1);
  // Each connection adds one to the change counter in page 1, so the counter grows by four from object to
  // object.
  for (const name of ["a", "b", "c", "d"]) {
    source.close();
    source.database = new Database(source.path);
    source.database.run(`CREATE TABLE ${name} (id INT)`);
  }
  await history.publish(source.after());
  await run.waitForTxid(2);
  mkdirSync(join(folder, "killed"));
  const killed = join(folder, "killed", "replica.db");
  for (const suffix of ["", "-wal", "-shm", "-replica-state"])
    copyFileSync(`${local}${suffix}`, `${killed}${suffix}`);
  await run.stop();
  await replicateOnce(history.store, killed);
  expectContent(killed, history.newest);
});

test("replicate recognizes a commit that was durable but not published before the kill", async () => {
  const folder = tempFolder("unpublished");
  const local = join(folder, "replica.db");
  const source = new SourceDatabase(folder);
  const store = new FileStore({ path: join(folder, "bucket") });
  const history = new SourceHistory(store, "app");
  await history.publish(source.after(...FOUNDING));
  const run = new ReplicaRun(store, local);
  await history.publish(source.after("INSERT INTO transfer VALUES (2, 'two')"));
  await run.waitForTxid(2);
  const reader = await SqliteProcess.open(local);
  await reader.must("BEGIN", "SELECT count(*) FROM transfer");
  const publish = spyOn(ReplicaWalIndex.prototype, "publish").mockImplementationOnce(() => {
    throw new Error("killed");
  });
  await history.publish(source.after("INSERT INTO transfer VALUES (3, 'three')"));
  await expect(run.end()).rejects.toThrow("killed");
  publish.mockRestore();

  // The machine restarts: SQLite recovers the commit from the WAL, and the state file knows the commit.
  mkdirSync(join(folder, "restarted"));
  const restarted = join(folder, "restarted", "replica.db");
  for (const suffix of ["", "-wal", "-replica-state"])
    copyFileSync(`${local}${suffix}`, `${restarted}${suffix}`);
  const events = await replicateOnce(store, restarted);
  expect(events.map(({ event, txid }) => [event, txid])).toEqual([
    ["following", 3],
    ["current", 3],
  ]);
  expectContent(restarted, history.images.get(3));

  // Only the process died: readers continue without the commit, and the next process repeats it or commits
  // another one.
  expectContent(local, history.images.get(3));
  expect((await reader.must("SELECT count(*) FROM transfer")).rows).toEqual([[2]]);
  await reader.must("COMMIT", "BEGIN", "SELECT count(*) FROM transfer");
  expect((await reader.must("SELECT count(*) FROM transfer")).rows).toEqual([[2]]);
  await history.publish(source.after("INSERT INTO transfer VALUES (4, 'four')"));
  await history.compact(1, 3, 4);
  const later = await replicateOnce(store, local);
  expect(later.map(({ event, txid }) => [event, txid])).toEqual([
    ["following", 2],
    ["applied", 4],
  ]);
  expectContent(local, history.newest);
  await reader.must("COMMIT");
  expect((await reader.must("SELECT count(*) FROM transfer")).rows).toEqual([[4]]);
  await reader.close();
});
