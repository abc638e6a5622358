/**
 * Two watches of one user that replicate databases of one name to one bucket URL at different endpoints: each
 * request reaches the watch of its own endpoint.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

/** A watched database in a store of its own, behind one bucket URL. */
async function watchedSite() {
  const server = await S3Server.start({ buckets: ["bucket"] });
  const { accessKeyId, secretAccessKey } = server.options;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const words = ["-b", "s3://bucket/vm", "--endpoint", server.url];
  const path = join(tempFolder("site"), "app.db");
  createAppDatabase(path);
  const often = ["--wal-sync-interval", "0.02", "--no-metrics"];
  const watch = await WatchProcess.start([path, ...words, ...often], { env });
  const app = await SqliteProcess.open(path);
  await watch.waitForTxid(1);
  for (let txid = 2; txid <= 4; txid++) {
    await app.must(`INSERT INTO counter VALUES (${txid}, 1)`);
    await watch.waitForTxid(txid);
    await mustWalrust(["snapshot", path, ...words], { env });
  }
  const end = async (): Promise<void> => {
    await app.close();
    await watch.stop();
    server.stop();
  };
  return { server, env, words, path, end };
}

test("compact, verify and snapshot reach the watch of their own endpoint", async () => {
  const one = await watchedSite();
  const two = await watchedSite();
  try {
    const keysOfTwo = [...two.server.objects.keys()].sort();
    const few = ["--hourly", "1", "--daily", "0", "--weekly", "0", "--monthly", "0"];
    await mustWalrust(["compact", "app", "--force", ...few, ...one.words], one);
    expect([...two.server.objects.keys()].sort()).toEqual(keysOfTwo);
    for (const { words, env } of [one, two]) {
      const run = await runWalrust(["verify", "app", "--restore", "--json", ...words], { env });
      expect([run.exitCode, run.stdout.includes("differs-from-live")]).toEqual([0, false]);
      expect(run.stdout).toContain('"compared_with_live":true');
    }
    const wrong = await runWalrust(["snapshot", one.path, ...two.words], { env: two.env });
    expect([wrong.exitCode, wrong.stderr]).toEqual([3, expect.stringContaining(one.server.url)]);
  } finally {
    await Promise.all([one.end(), two.end()]);
  }
});
