/**
 * Readers in child processes read a replica continuously while it follows. Without any busy timeout they see
 * whole transactions only, never an older state after a newer one, and no error. The source shrinks, runs
 * VACUUM and merges objects, and the replica bootstraps under connected readers. WALRUST_REPLICA_READS sets
 * the number of reads for each reader (2,000).
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { FOUNDING, playRound } from "../../support/histories/replica-bank.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { expectContent, ReplicaRun } from "../../support/runs/replica-run.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const READS = Number(process.env["WALRUST_REPLICA_READS"] ?? 2000);
const ROUNDS = Math.max(120, Math.round(READS / 20));
const SEED = 20_261;
const SCRIPT = join(import.meta.dir, "../../support/processes/replica-reader-main.ts");
/** A minute takes 6 ms: the replica lists the whole source all the time. */
const HASTY = { env: { monotonicMs: () => performance.now() * 10_000 } };

interface ReaderReport {
  readonly readCount: number;
  /** Number of distinct states that the reader saw. */
  readonly rounds: number;
  readonly problems: readonly string[];
}

function startReader(path: string, mode: "readonly" | "readwrite") {
  const words = [process.execPath, SCRIPT, path, mode, String(READS)];
  const child = Bun.spawn(words, { stdio: ["pipe", "pipe", "inherit"] });
  const output = child.stdout.text();
  return {
    stop: async (): Promise<ReaderReport> => {
      child.stdin.end();
      const lines = (await output).trim().split("\n");
      return JSON.parse(lines.at(-1)!) as ReaderReport;
    },
  };
}

test(
  "replicate shows readers whole transactions only, and no errors",
  async () => {
    const random = seededRandom(SEED);
    const folder = tempFolder("readers");
    const local = join(folder, "replica.db");
    const source = new SourceDatabase(folder, 1024);
    const history = new SourceHistory(new MemoryStore(), "app");
    await history.publish(source.after(...FOUNDING));
    const run = new ReplicaRun(history.store, local, HASTY);
    await run.waitForTxid(1);
    const readers = [startReader(local, "readonly"), startReader(local, "readwrite")];
    for (let round = 2; round <= ROUNDS; round++) {
      await history.publish(playRound(source, round, random));
      if (random() < 0.05 && history.txid > 4) await history.compact(1, history.txid - 2, history.txid);
      if (random() < 0.04) await history.snapshotAndPrune();
      await run.waitForTxid(history.txid);
    }
    const reports = await Promise.all(readers.map((reader) => reader.stop()));
    for (const { problems } of reports) expect(problems).toEqual([]);
    for (const { readCount } of reports) expect(readCount).toBeGreaterThanOrEqual(READS);
    // The readers read while the replica applied objects, not before or after.
    expect(Math.max(...reports.map(({ rounds }) => rounds))).toBeGreaterThan(ROUNDS / 10);
    expectContent(local, history.newest);
    await run.stop();
    expect(run.eventsOf("bootstrapped").length).toBeGreaterThan(1);
    expect(run.eventsOf("failed").filter(({ event }) => event !== "failed")).toEqual([]);
  },
  60_000 + READS * 20,
);
