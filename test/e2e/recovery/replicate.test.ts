/**
 * The executable as a read replica: beside a running watch, on a folder and on a real S3 gateway, and of
 * Litestream's objects. Also its exit codes.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase, judgeAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { AppWriter } from "../../support/processes/app-writer.ts";
import { mustWalrust, runWalrust, spawnWalrust } from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { newDestination, type TestDestination } from "../../support/servers/destinations.ts";
import { Litestream } from "../../support/servers/litestream.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

/** The words that follow `app` of a destination. */
function wordsOf(destination: TestDestination, local: string): string[] {
  const [, , ...endpoint] = destination.words;
  return ["replicate", `${destination.url}/app`, "--local", local, "--json", ...endpoint];
}

/** The last TXID of a run with `--once`. */
async function replicateOnce(destination: TestDestination, local: string): Promise<number> {
  const { stdout } = await mustWalrust([...wordsOf(destination, local), "--once"], destination);
  const last = stdout.trimEnd().split("\n").at(-1)!;
  return (JSON.parse(last) as { txid: number }).txid;
}

async function assertLikeRestore(destination: TestDestination, local: string): Promise<void> {
  const restored = join(tempFolder("restored"), "app.db");
  await mustWalrust(["restore", "app", "-o", restored, ...destination.words], destination);
  assertSameBytes(local, restored);
}

/** A replica that runs beside the test; the test's end kills it. */
async function follow(destination: TestDestination, local: string) {
  const child = await spawnWalrust([...wordsOf(destination, local), "--interval", "50ms"], destination);
  const state = { txid: 0, log: "" };
  const reading = (async () => {
    let rest = "";
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) state.txid = (JSON.parse(line) as { txid: number }).txid;
    }
  })();
  const log = child.stderr.text();
  return {
    waitForTxid: (txid: number) => waitUntil(() => state.txid >= txid || child.exitCode !== null, 20_000),
    txid: () => state.txid,
    stop: async (): Promise<{ exitCode: number; log: string }> => {
      child.kill("SIGTERM");
      await reading;
      return { exitCode: await child.exited, log: await log };
    },
  };
}

describe("replicate", () => {
  for (const kind of ["file", "s3"] as const) {
    const run = kind === "s3" ? testWith("versitygw") : test;
    run(`follows a running watch through ${kind}, and readers find every row`, async () => {
      const destination = await newDestination(kind);
      const folder = tempFolder("primary");
      const path = join(folder, "app.db");
      const local = join(tempFolder("replica"), "replica.db");
      createAppDatabase(path);
      const writer = new AppWriter(path, folder);
      const watch = await WatchProcess.start(
        [path, ...destination.words, "--wal-sync-interval", "0.05"],
        destination,
      );
      await watch.waitForUploads(2);
      const replica = await follow(destination, local);
      await replica.waitForTxid(1);
      const reader = new Database(local, { readonly: true });
      const counts = reader.query<{ rows: number; newest: number }, []>(
        "SELECT (SELECT count(*) FROM row) AS rows, (SELECT number FROM counter) AS newest",
      );
      const seen = new Set<number>();
      await waitUntil(() => {
        const { rows, newest } = counts.get()!;
        if (rows !== (newest ?? 0)) throw new Error(`${rows} rows, the counter says ${newest}`);
        seen.add(rows);
        return seen.size >= 5;
      });
      await writer.stop();
      expect(await watch.stop()).toBe(0);
      const newest = watch.uploads().at(-1)!.txid!;
      await replica.waitForTxid(newest);
      counts.finalize();
      reader.close(true);
      const { exitCode, log } = await replica.stop();
      expect({ exitCode, log }).toMatchObject({ exitCode: 0 });
      expect(replica.txid()).toBe(newest);
      expect(judgeAppDatabase(local).get(1)).toBe(writer.newest());
      await assertLikeRestore(destination, local);
      expect(await replicateOnce(destination, local)).toBe(newest);
    });
  }

  testWith("litestream", "versitygw")("follows Litestream's objects, over a gap in its level 0", async () => {
    const destination = await newDestination("s3");
    const folder = tempFolder("litestream");
    const path = join(folder, "app.db");
    const local = join(tempFolder("replica"), "replica.db");
    createAppDatabase(path);
    const writer = new AppWriter(path, folder);
    const litestream = Litestream.start(path, destination, "app", folder);
    await eventually("an object", async () => (await destination.objects("app")).length > 3);
    const first = await replicateOnce(destination, local);
    const merged = async () =>
      (await destination.objects("app")).filter(
        ({ level, minTxid, maxTxid }) => level === 1 && minTxid > first && maxTxid > minTxid,
      );
    await eventually("a compaction after it", async () => (await merged()).length > 1);
    await writer.stop();
    await litestream.stop();
    // Litestream's retention does the same: it deletes merged increments, among them the replica's next
    // one.
    const covered = Math.max(...(await merged()).map(({ maxTxid }) => maxTxid));
    for (const { level, maxTxid, key } of await destination.objects("app")) {
      if (level === 0 && maxTxid <= covered) await destination.remove("app", key);
    }
    expect(await replicateOnce(destination, local)).toBeGreaterThanOrEqual(covered);
    expect(judgeAppDatabase(local).get(1)).toBe(writer.newest());
    await assertLikeRestore(destination, local);
    checkpoint(path);
    expect(readFileSync(local).length).toBe(readFileSync(path).length);
  });

  test("ends with the exit code of each failure", async () => {
    const destination = await newDestination("file");
    const folder = tempFolder("replica");
    const local = join(folder, "replica.db");
    const once = [...wordsOf(destination, local), "--once"];
    expect((await runWalrust(["replicate", `${destination.url}/app`])).exitCode).toBe(2);
    expect((await runWalrust([...once, "--intervall", "1s"])).stderr).toContain("--interval");
    expect((await runWalrust(once)).exitCode).toBe(4);
    const path = join(folder, "app.db");
    createAppDatabase(path);
    await mustWalrust(["snapshot", path, ...destination.words]);
    const [, , ...rest] = once;
    expect((await runWalrust(["replicate", `${destination.url}/other`, ...rest])).exitCode).toBe(6);
    createAppDatabase(local);
    const bytes = readFileSync(local);
    const refused = await runWalrust(once);
    expect(refused.exitCode).toBe(3);
    expect(refused.stderr).toContain("is not a replica of");
    expect(readFileSync(local).equals(bytes)).toBe(true);
    expect((await runWalrust(["replicate", "--help"])).stdout).toContain("Exit codes:");
  });
});
