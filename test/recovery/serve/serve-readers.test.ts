/**
 * The readers of replica-readers.test.ts on a replica that is pushed to: in child processes, without a busy
 * timeout, they see whole transactions only, never an older state after a newer one, and no error. The source
 * shrinks and runs VACUUM, objects are merged, and snapshots replace the state under them.
 * WALRUST_REPLICA_READS sets the number of reads for each reader (2,000).
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import type { Txid } from "../../../src/format/types.ts";
import { keyOf } from "../../../src/storage/bucket/catalog.ts";
import { FOUNDING, playRound } from "../../support/histories/replica-bank.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { expectContent } from "../../support/runs/replica-run.ts";
import { ServeRun } from "../../support/runs/serve-run.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const READS = Number(process.env["WALRUST_REPLICA_READS"] ?? 2000);
const ROUNDS = Math.max(120, Math.round(READS / 20));
const SEED = 4711;
const SCRIPT = join(import.meta.dir, "../../support/processes/replica-reader-main.ts");

interface ReaderReport {
  readonly readCount: number;
  readonly rounds: number;
  readonly problems: readonly string[];
}

function startReader(path: string, mode: "readonly" | "readwrite") {
  const child = Bun.spawn([process.execPath, SCRIPT, path, mode, String(READS)], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const output = child.stdout.text();
  return async (): Promise<ReaderReport> => {
    child.stdin.end();
    return JSON.parse((await output).trim().split("\n").at(-1)!) as ReaderReport;
  };
}

test(
  "serve shows readers whole transactions only, and no errors",
  async () => {
    const random = seededRandom(SEED);
    const folder = tempFolder("serve-readers");
    const local = join(folder, "replica.db");
    const source = new SourceDatabase(folder, 1024);
    const history = new SourceHistory(new MemoryStore(), "app");
    const run = await ServeRun.start(local);
    const push = async (level: number, minTxid: number): Promise<number> => {
      const range = { level, minTxid: minTxid as Txid, maxTxid: history.txid as Txid };
      return (await run.push(history.store, keyOf(history.store, "app", range))).status;
    };
    await history.publish(source.after(...FOUNDING));
    expect(await push(9, 1)).toBe(200);
    const readers = [startReader(local, "readonly"), startReader(local, "readwrite")];
    for (let round = 2; round <= ROUNDS; round++) {
      await history.publish(playRound(source, round, random));
      const kind = random();
      if (kind < 0.05 && history.txid > 4) {
        await history.compact(1, history.txid - 2, history.txid);
        expect(await push(1, history.txid - 2)).toBe(200);
      } else if (kind < 0.09) {
        await history.put(9, 1, history.txid);
        expect(await push(9, 1)).toBe(200);
      } else {
        expect(await push(0, history.txid)).toBe(200);
        // A replay of what is applied changes nothing.
        if (random() < 0.1) expect(await push(0, history.txid)).toBe(409);
      }
    }
    const reports = await Promise.all(readers.map((stop) => stop()));
    for (const { problems } of reports) expect(problems).toEqual([]);
    for (const { readCount } of reports) expect(readCount).toBeGreaterThanOrEqual(READS);
    expect(Math.max(...reports.map(({ rounds }) => rounds))).toBeGreaterThan(ROUNDS / 10);
    expectContent(local, history.newest);
    expect(run.events.filter(({ event }) => event === "bootstrapped").length).toBeGreaterThan(1);
    await run.stop();
  },
  60_000 + READS * 20,
);
