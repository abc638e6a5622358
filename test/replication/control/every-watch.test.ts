/** Requests about the whole watch, to every watch of this user. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { Env } from "../../../src/env.ts";
import type { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import { askEveryWatch, type WatchAnswer } from "../../../src/replication/control/control-client.ts";
import { serveControl } from "../../../src/replication/control/control-server.ts";
import type { WatchStatus } from "../../../src/replication/watch/watch-report.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { runtimeFoldersIn } from "../../support/runtime-folders.ts";
import { gate } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const STATUS = { verb: "status" } as const;

/** Time stands still, so only its signal ends a sleep. */
const STILL: Pick<Env, "sleep"> = {
  sleep: (_, signal) =>
    new Promise((resolve) => signal?.addEventListener("abort", () => resolve(), { once: true })),
};
const never = new AbortController().signal;

/** The runtime folder of a test alone: no watch of this machine is found. */
function ownFolders(): { folder: string; folders: RuntimeFolders } {
  const folder = join(tempFolder("every"), "walrust");
  mkdirSync(folder, { mode: 0o700 });
  const folders = runtimeFoldersIn(join(folder, ".."));
  folders.present = () => [folder];
  return { folder, folders };
}

function ask(folders: RuntimeFolders, env = STILL, stateFolders: string[] = []): Promise<WatchAnswer[]> {
  return askEveryWatch(STATUS, { env, signal: never }, folders, stateFolders);
}

/** A process at a socket that treats a connection as the test chooses. */
async function serveRaw(path: string, onConnection: (socket: Socket) => void) {
  const server = createServer(onConnection);
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(path, resolve);
  await promise;
  return server;
}

test("every watch of this user is asked once, and none that has ended", async () => {
  const { folder, folders } = ownFolders();
  writeFileSync(join(folder, "walrust-1-00000000.sock"), "");
  const serve = (answer: string) =>
    serveControl(
      folders,
      async () => "database",
      async () => answer,
    );
  const [one, two] = [serve("one"), serve("two")];
  one.announce({ stateFolder: folder, destination: "s3://memory", name: "app", path: "/db" });
  const ended = serve("three");
  ended.close();
  const answers = await ask(folders);
  expect(answers.map(({ result }) => result).toSorted()).toEqual(["one", "two"]);
  expect(answers.map(({ pid, error }) => [pid, error])).toEqual([
    [process.pid, null],
    [process.pid, null],
  ]);
  one.close();
  two.close();
  expect(await ask(folders)).toEqual([]);
});

test("a watch with its socket in a temporary folder is found by a state folder", async () => {
  const { folders } = ownFolders();
  const stateFolder = tempFolder("every");
  const elsewhere = ownFolders().folders;
  const server = serveControl(
    elsewhere,
    async () => "database",
    async () => "found",
  );
  server.announce({ stateFolder, destination: "s3://memory", name: "app", path: "/db" });
  expect(await ask(folders)).toEqual([]);
  expect(await ask(folders, STILL, [stateFolder])).toMatchObject([{ result: "found" }]);
  server.close();
});

test("a watch that hangs and a watch of an earlier version are answers that say so", async () => {
  const { folder, folders } = ownFolders();
  const refusal = { ok: false, code: "usage", message: 'Unknown request "status"', hint: null };
  const answered = gate();
  const old = await serveRaw(join(folder, "walrust-11-0a.sock"), (socket) => {
    socket.on("data", () => socket.end(`${JSON.stringify(refusal)}\n`));
    socket.on("close", () => answered.open());
  });
  const hanging = await serveRaw(join(folder, "walrust-22-0a.sock"), () => {});
  const answers = await ask(folders, { sleep: () => answered.passed });
  expect(answers.map(({ pid, error, isOlder }) => [pid, isOlder, error?.code, error?.message])).toEqual([
    [11, true, "locked", "The watch with pid 11 is of an earlier version"],
    [22, false, "locked", expect.stringContaining("The watch with pid 22 does not answer: ")],
  ]);
  old.close();
  hanging.close();
});

test("a running watch answers with the status of all its databases", async () => {
  const { path, app } = await newDatabase();
  const store = new MemoryStore();
  const run = await new WatchRun([targetOf(path)], store).watching();
  await run.uploaded(1);
  const answers = await askEveryWatch(STATUS, { env: STILL, signal: never });
  // Watches of this machine that the test did not start may be of any version.
  const statuses = answers.flatMap(({ result }) => (result === null ? [] : [result as WatchStatus]));
  const own = statuses.find(({ databases }) => databases.some((one) => one.path === path));
  expect(own).toMatchObject({ version: "test", destination: store.url, location: store.location });
  expect(own!.sinceUploadMs).toBeGreaterThanOrEqual(0);
  expect(own!.databases).toMatchObject([
    { database: "app", state: "watching", txid: 1, uploadedTxid: 1, snapshot: { txid: 1 }, failure: null },
  ]);
  await run.stop();
  await app.close();
});
