/**
 * Watching beside hostile applications (every kind of checkpoint, VACUUM, kill -9), with random failures of
 * the store and restarts of the watch. The whole history can be verified and ends in the database.
 */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { liveImageOf, rowsOf } from "../../support/oracles/database-image.ts";
import { keysAt, provenHistory } from "../../support/oracles/history-oracle.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const WRITER = join(import.meta.dir, "../../support/processes/hostile-writer.ts");
const ROUNDS = 3;
const ROUND_MS = 700;
/** The least upload of a round, so that the history is long on a busy machine, too. */
const UPLOADS_MIN = 5;

function newHostileDatabase(): string {
  const path = join(tempFolder("hostile"), "app.db");
  const database = new Database(path, { create: true });
  database.run("PRAGMA page_size = 1024");
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t(id INTEGER PRIMARY KEY, w INT, n INT, b BLOB)");
  database.close(true);
  return path;
}

/** Two writers, one killed and replaced again and again, until the round ends or has enough. */
async function writeWildly(path: string, random: () => number, isEnough: () => boolean): Promise<void> {
  const untilMs = performance.now() + ROUND_MS;
  const spawn = (): Bun.Subprocess =>
    Bun.spawn([process.execPath, WRITER, path, "1", String(Math.floor(random() * 1e9))], {
      stderr: "ignore",
    });
  const writers = [spawn(), spawn()];
  while (performance.now() < untilMs || !isEnough()) {
    const killAtMs = performance.now() + 100 + random() * 200;
    await waitUntil(() => performance.now() > killAtMs);
    const index = random() < 0.5 ? 0 : 1;
    writers[index]!.kill("SIGKILL");
    await writers[index]!.exited;
    writers[index] = spawn();
  }
  for (const writer of writers) {
    writer.kill("SIGKILL");
    await writer.exited;
  }
}

describe("watch beside hostile applications", () => {
  test.each([11])(
    "seed %p: every page is right at every TXID, and no commit is missing at the end",
    async (seed) => {
      const random = seededRandom(seed);
      const path = newHostileDatabase();
      const memory = new MemoryStore();
      const store = new FaultyStore(memory);
      store.before = (operation) => {
        if (operation === "put" && random() < 0.1) throw unreachable();
      };
      store.after = (operation) => {
        if (operation === "put" && random() < 0.1) throw unreachable();
      };
      let last: WatchRun | null = null;
      for (let round = 0; round < ROUNDS; round++) {
        last = new WatchRun([targetOf(path)], store, {
          sync: { minCheckpointPageCount: 60, checkpointIntervalMs: 500 },
        });
        await last.watching();
        const run = last;
        await writeWildly(path, random, () => run.all("uploaded").length >= UPLOADS_MIN);
        if (round + 1 < ROUNDS) await last.stop();
      }
      store.before = store.after = () => {};
      const image = liveImageOf(path);
      // After some failures in a row, "recovered" waits for half a minute without a failure.
      await last!.until("the last upload", () => {
        const { failure, pendingCount } = last!.status();
        return failure === null && pendingCount === 0;
      });
      expect(await last!.stop()).toEqual({ stopped: [], undrained: [], uncaptured: [] });
      const history = await provenHistory(memory, "app");
      expect(history.length).toBeGreaterThan(10);
      expect(Buffer.compare(history.at(-1)!.image, image)).toBe(0);
      expect((await keysAt(memory, "app", 9)).length).toBe(1);
      for (const point of [history[history.length >> 1]!, history.at(-1)!]) {
        expect(rowsOf(point.image, "PRAGMA integrity_check")).toEqual([["ok"]]);
      }
    },
    30_000,
  );
});
