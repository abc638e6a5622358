/**
 * `walrust compact` beside a watch: the request has only the settings that the caller gave, and no defaults.
 * The watch then does the same as a `compact` that runs alone.
 */
import { afterEach, expect, test } from "bun:test";
import { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import type { ControlRequest } from "../../../src/replication/control/control-request.ts";
import { serveControl } from "../../../src/replication/control/control-server.ts";
import { documentOf, runWalrust } from "../../support/processes/binary.ts";
import { closeApplications, configured, serverSettings } from "../../support/runs/configured-watch.ts";
import { newDatabase } from "../../support/runs/watch-run.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

afterEach(closeApplications);

test("compact sends the settings that were given to the watch, and no defaults", async () => {
  const { path, app } = await newDatabase();
  const folder = tempFolder("asked");
  const url = `file://${folder}/backup`;
  expect((await runWalrust(["snapshot", path, "-b", url])).exitCode).toBe(0);
  const requests: ControlRequest[] = [];
  const server = serveControl(RuntimeFolders.standard(), async (request) => {
    requests.push(request);
    return {
      name: "app",
      compacted: [],
      expired: [],
      retention: { kept: [], deleted: [], deletedBytes: 0 },
    };
  });
  server.announce({ stateFolder: folder, destination: url, name: "app" });
  try {
    for (const words of [[], ["--hourly", "48"], ["--daily", "7", "--monthly", "0"]]) {
      const { exitCode, stderr } = await runWalrust(["compact", "app", "-b", url, ...words]);
      expect([exitCode, stderr]).toEqual([0, ""]);
    }
  } finally {
    server.close();
  }
  const retention = [{}, { hourly: 48 }, { daily: 7, monthly: 0 }];
  expect(requests.map(({ given }) => given)).toEqual(
    retention.map((retention) => ({ compaction: {}, retention })),
  );
  await app.close();
});

const HOUR_MS = 3_600_000;

// Regression: a watch with compaction switched off used the default levels and `preserve_recent`.
test.each([
  ["compaction.levels", { "compaction.levels": '["1h"]' }, []],
  ["compaction.preserve_recent", { "compaction.preserve_recent": "3" }, []],
  ["[retention]", { "retention.hourly": "0", "retention.daily": "0" }, []],
  ["--hourly", { "retention.hourly": "48" }, ["--hourly", "0", "--daily", "0"]],
])("compact does the same beside a watch as alone: %s", async (_, keys, words) => {
  const server = await S3Server.start({ buckets: ["bucket"] });
  try {
    const settings = { ...serverSettings(server), ...keys, "compaction.enabled": "false" };
    const { watch, commit, run } = await configured({ ...settings, "sync.wal_sync_interval": "0.02" });
    const compact = async (...more: string[]): Promise<unknown> => {
      const result = await run(["compact", "app", "--json", ...words, ...more]);
      expect([result.exitCode, result.stderr]).toEqual([0, ""]);
      return documentOf(result);
    };
    const running = await watch();
    for (let txid = 2; txid <= 16; txid++) {
      await commit();
      await running.waitForTxid(txid);
      if (txid % 5 === 0) expect((await run(["snapshot", "app.db"])).exitCode).toBe(0);
      // This merge ends before the newest increments, so they alone do not keep its sources.
      if (txid === 11) await compact("--force");
    }
    /** Compacts, expires all objects by moving their times back, and returns the next plan. */
    const compactTwice = async (): Promise<unknown[]> => {
      const done = await compact("--force");
      for (const [key, object] of server.objects) {
        server.objects.set(key, { ...object, modifiedMs: object.modifiedMs - 2 * HOUR_MS });
      }
      return [done, await compact()];
    };
    const bucket = [...server.objects];
    const beside = await compactTwice();
    expect(await running.stop()).toBe(0);
    server.objects.clear();
    for (const [key, object] of bucket) server.objects.set(key, object);
    expect(beside).toEqual(await compactTwice());
  } finally {
    server.stop();
  }
});
