/**
 * What `walrust compact` asks of the watch that has the database: only what somebody said of retention. A
 * watch keeps what its own configuration keeps, whatever the defaults are where `compact` is called.
 */
import { expect, test } from "bun:test";
import { RuntimeFolders } from "../../../src/local/runtime-folder.ts";
import { type ControlRequest, serveControl } from "../../../src/replication/control/control.ts";
import { runWalrust } from "../../support/processes/binary.ts";
import { newDatabase } from "../../support/runs/watch-run.ts";
import { tempFolder } from "../../support/temp.ts";

test("compact asks a watch for the rules that were said, and for no defaults", async () => {
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
  server.announce(folder, url, "app");
  try {
    for (const words of [[], ["--hourly", "48"], ["--daily", "7", "--monthly", "0"]]) {
      const { exitCode, stderr } = await runWalrust(["compact", "app", "-b", url, ...words]);
      expect([exitCode, stderr]).toEqual([0, ""]);
    }
  } finally {
    server.close();
  }
  expect(requests.map(({ retention }) => retention)).toEqual([{}, { hourly: 48 }, { daily: 7, monthly: 0 }]);
  await app.close();
});
