/**
 * Progress of `snapshot` and `compact` while a running watch does the work: on a terminal, on a pipe, and as
 * JSON. A watch of an earlier version reports none, and the verbs still work.
 */
import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import type { WorkProgress } from "../../../src/replication/context/work-meter.ts";
import type { ControlRequest } from "../../../src/replication/control/control-request.ts";
import { serveControl } from "../../../src/replication/control/control-server.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import {
  cleanEnvironment,
  mustWalrust,
  spawnWalrust,
  untilTestEnds,
  type Variables,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const SNAPSHOT = { name: "app", txid: 2, key: "k", time: "", bytes: 100_000, databaseBytes: 200_000 };
const UPKEEP = {
  name: "app",
  compacted: [],
  expired: [],
  retention: { kept: [], deleted: [], deletedBytes: 0 },
};
const SENT_HALF = { phase: "uploading", doneBytes: 51_200, totalBytes: 102_400 } as const;
const READ_SOME = { phase: "reading", doneBytes: 51_200, totalBytes: null } as const;

/** A watch that reports its progress once, and answers when it is told to. */
async function busyWatch(progress: WorkProgress | null) {
  const folder = tempFolder("asked");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const { words, url } = fileDestination();
  await mustWalrust(["snapshot", database, ...words]);
  const { promise, resolve } = Promise.withResolvers<void>();
  const server = serveControl(RuntimeFolders.standard(), async ({ verb }: ControlRequest, onProgress) => {
    if (progress !== null) onProgress(progress);
    await promise;
    return verb === "snapshot" ? SNAPSHOT : UPKEEP;
  });
  server.announce({ stateFolder: join(folder, ".app.db-walrust"), destination: url, name: "app" });
  const calls = {
    snapshot: ["snapshot", database, ...words],
    compact: ["compact", "app", "--force", ...words],
    "compact --all": ["compact", "--all", "--force", ...words],
  };
  return { calls, answer: resolve, close: () => server.close() };
}

/** Runs on a terminal; the watch answers as soon as the output has this text. */
async function shownUntil(
  words: readonly string[],
  until: RegExp,
  answer: () => void,
  variables: Variables = {},
): Promise<{ exitCode: number; shown: string }> {
  const decoder = new TextDecoder();
  let shown = "";
  const child = untilTestEnds(
    Bun.spawn([await walrustBinary(), ...words], {
      cwd: tempFolder("cwd"),
      env: cleanEnvironment({ TERM: "xterm", ...variables }),
      terminal: {
        cols: 100,
        rows: 30,
        data: (_terminal, bytes) => {
          shown += decoder.decode(bytes, { stream: true });
        },
      },
    }),
  );
  await waitUntil(() => until.test(shown), 30_000);
  answer();
  const exitCode = await child.exited;
  child.terminal?.close();
  return { exitCode, shown };
}

test.each([
  ["snapshot", SENT_HALF, /uploading app █+░+ 50\.0 KB of 100 KB sent, 50 %/],
  ["snapshot", { ...SENT_HALF, phase: "reading" }, /reading app █+░+ 50\.0 KB of 100 KB read, 50 %/],
  ["compact", READ_SOME, /compacting app 50\.0 KB read/],
  ["compact --all", READ_SOME, /compacting .*50\.0 KB read/],
] as const)("%s shows a bar on a terminal: %j", async (verb, progress, bar) => {
  const { calls, answer, close } = await busyWatch(progress);
  const { exitCode, shown } = await shownUntil(calls[verb], bar, answer);
  expect(exitCode).toBe(0);
  // The bar is cleared before the result.
  expect(shown.lastIndexOf("\r\x1b[K")).toBeGreaterThan(shown.search(bar));
  close();
});

test("with TERM=dumb, a line of the log every 10 s takes the place of the bar", async () => {
  const { calls, answer, close } = await busyWatch(SENT_HALF);
  const line = /uploading app: 50\.0 KB of 100 KB sent, 50 %/;
  const { exitCode } = await shownUntil(calls.snapshot, line, answer, { TERM: "dumb" });
  expect(exitCode).toBe(0);
  close();
});

test("--json --progress writes lines of JSON on stderr, and one document on stdout", async () => {
  const { calls, answer, close } = await busyWatch(SENT_HALF);
  const child = await spawnWalrust([...calls.snapshot, "--json", "--progress"]);
  let stderr = "";
  const reading = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) stderr += text;
  })();
  await waitUntil(() => stderr.includes("\n"), 30_000);
  answer();
  const [exitCode, stdout] = await Promise.all([child.exited, child.stdout.text(), reading]);
  expect([exitCode, JSON.parse(stdout).txid]).toEqual([0, 2]);
  const [line = ""] = stderr.split("\n");
  expect(JSON.parse(line)).toMatchObject({
    progress: "snapshot",
    database: "app",
    counted: "sent",
    done_bytes: 51_200,
    total_bytes: 102_400,
  });
  close();
});

test("a watch that reports no progress is waited for all the same", async () => {
  const { calls, answer, close } = await busyWatch(null);
  answer();
  const run = await mustWalrust([...calls.snapshot, "--json", "--progress"]);
  expect([JSON.parse(run.stdout).txid, run.stderr]).toEqual([2, ""]);
  close();
});

test("the watch of this version answers a client that shows progress", async () => {
  const folder = tempFolder("asked");
  const database = join(folder, "app.db");
  createAppDatabase(database);
  const { words } = fileDestination();
  const watch = await WatchProcess.start([database, ...words]);
  await watch.waitForTxid(1);
  const run = await mustWalrust(["snapshot", database, ...words, "--json", "--progress"]);
  expect(JSON.parse(run.stdout)).toMatchObject({ name: "app", txid: 1 });
  expect(await watch.stop()).toBe(0);
});
