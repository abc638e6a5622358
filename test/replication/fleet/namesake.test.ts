/** Another watch on this machine that has the name of a database, found by what it has announced. */
import { expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { Announcements } from "../../../src/replication/control/announcements.ts";
import { serveControl } from "../../../src/replication/control/control-server.ts";
import { type NamesakeSearch, namesakeOrNull } from "../../../src/replication/watch/namesake.ts";
import { answerOf, reportedOf, watchStatusOf } from "../../commands/status/status-samples.ts";
import { runtimeFoldersIn } from "../../support/runtime-folders.ts";
import { tempFolder } from "../../support/temp.ts";

const never = new AbortController().signal;
const LOCATION = "s3://memory";
/** A process id that no process of the test has. */
const OTHER_PID = 4_194_305;

/** A watch of another process that has announced `app` for its file, and answers as the test chooses. */
async function otherWatch(answerText: string | null, pid = OTHER_PID) {
  const parent = tempFolder("namesake");
  const folder = join(parent, "walrust");
  mkdirSync(folder, { mode: 0o700 });
  const folders = runtimeFoldersIn(parent);
  folders.present = () => [folder];
  const socketPath = join(folder, `walrust-${pid}-0a.sock`);
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", () => {
      if (answerText !== null) socket.end(`${answerText}\n`);
    });
  });
  const { promise, resolve } = Promise.withResolvers<void>();
  server.listen(socketPath, resolve);
  await promise;
  const path = import.meta.path;
  const stateFolder = join(parent, "state");
  mkdirSync(stateFolder);
  new Announcements(folder, socketPath).announce({ stateFolder, destination: LOCATION, name: "app", path });
  return { server, folders, path };
}

function statusText(database: string, path: string): string {
  const { result } = answerOf(watchStatusOf({ databases: [reportedOf({ database, path })] }));
  return JSON.stringify({ ok: true, result });
}

function searchIn(folders: NamesakeSearch["folders"], isImpatient = false): NamesakeSearch {
  const env = isImpatient ? { sleep: async () => {} } : systemEnv(SILENT_LOG);
  return { location: LOCATION, env, folders };
}

function end(server: Server): void {
  server.close();
}

test("namesakeOrNull finds a watch of another file, and none of another name or destination", async () => {
  const { server, folders, path } = await otherWatch(statusText("app", import.meta.path));
  const search = searchIn(folders);
  const found = await namesakeOrNull({ name: "app", path: "/srv/mine.db" }, search, never);
  expect([found?.code, found?.exitCode, found?.retryable]).toEqual(["locked", 3, false]);
  expect(found?.message).toBe(
    `Cannot replicate /srv/mine.db as app: the watch with pid ${OTHER_PID} replicates ${path} there`,
  );
  expect(await namesakeOrNull({ name: "app", path }, search, never)).toBeNull();
  expect(await namesakeOrNull({ name: "other", path: "/srv/mine.db" }, search, never)).toBeNull();
  const elsewhere = { ...search, location: "s3://elsewhere" };
  expect(await namesakeOrNull({ name: "app", path: "/srv/mine.db" }, elsewhere, never)).toBeNull();
  end(server);
});

// In a container, a watch is process 1 or close to it, and containers may share the runtime folder.
test("namesakeOrNull finds a watch of another container whose process has the id of ours", async () => {
  const { server, folders, path } = await otherWatch(statusText("app", import.meta.path), process.pid);
  const found = await namesakeOrNull({ name: "app", path: "/srv/mine.db" }, searchIn(folders), never);
  expect(found?.message).toEndWith(`the watch with pid ${process.pid} replicates ${path} there`);
  end(server);
});

test("namesakeOrNull does not ask a watch of this process", async () => {
  const { server, folders } = await otherWatch(null);
  const own = serveControl(folders, async () => null);
  const stateFolder = tempFolder("own");
  own.announce({ stateFolder, destination: LOCATION, name: "app", path: import.meta.path });
  expect(await namesakeOrNull({ name: "app", path: "/srv/mine.db" }, searchIn(folders), never)).toBeNull();
  own.close();
  end(server);
});

test("namesakeOrNull is null once that watch has ended, or has let the name go", async () => {
  const { server, folders } = await otherWatch(statusText("other", import.meta.path));
  const mine = { name: "app", path: "/srv/mine.db" };
  expect(await namesakeOrNull(mine, searchIn(folders), never)).toBeNull();
  end(server);
  expect(await namesakeOrNull(mine, searchIn(folders), never)).toBeNull();
});

test("namesakeOrNull of a watch that hangs is its silence, unless that watch has the same file", async () => {
  const { server, folders, path } = await otherWatch(null);
  const search = searchIn(folders, true);
  const found = await namesakeOrNull({ name: "app", path: "/srv/mine.db" }, search, never);
  expect([found?.code, found?.message]).toEqual([
    "locked",
    `The watch with pid ${OTHER_PID} does not answer: it has sent nothing for 10 s`,
  ]);
  expect(await namesakeOrNull({ name: "app", path }, search, never)).toBeNull();
  end(server);
});
