/**
 * `snapshot`, `compact` and `verify --restore` beside a watch that does not answer or cannot do the requested
 * work. The first signal ends them, and they report the cause.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { RuntimeFolders } from "../../../src/local/folders/runtime-folder.ts";
import { serveControl } from "../../../src/replication/control/control-server.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import {
  collect,
  documentOf,
  mustWalrust,
  runWalrust,
  spawnWalrust,
} from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

/** A database in its own folder, and the destination of its snapshots. */
function newApp(name = "app") {
  const folder = tempFolder("asks");
  const database = join(folder, `${name}.db`);
  createAppDatabase(database);
  return { folder, database, destination: fileDestination() };
}

test.each([
  ["snapshot", "SIGINT", 130],
  ["compact", "SIGTERM", 143],
  ["verify", "SIGINT", 130],
] as const)("the first signal ends %s while a watch works on it (%s)", async (verb, signal, exitCode) => {
  const { folder, database, destination } = newApp();
  await mustWalrust(["snapshot", database, ...destination.words]);
  let asked = 0;
  const { promise, resolve } = Promise.withResolvers<null>();
  const server = serveControl(RuntimeFolders.standard(), () => {
    asked++;
    return promise;
  });
  server.announce({
    stateFolder: join(folder, ".app.db-walrust"),
    destination: destination.url,
    name: "app",
  });
  const what = { snapshot: [database], compact: ["app", "--force"], verify: ["app", "--restore"] }[verb];
  const child = await spawnWalrust([verb, ...what, ...destination.words, "--json"]);
  try {
    await waitUntil(() => asked === 1, 10_000);
    child.kill(signal);
    const run = await collect(child, verb);
    expect(run.exitCode).toBe(exitCode);
    expect(documentOf(run)).toMatchObject({
      error: {
        code: "interrupted",
        exit: exitCode,
        message: `Stopped by ${signal}: the running watch goes on with what it was asked for`,
      },
    });
  } finally {
    resolve(null);
    server.close();
  }
});

test("snapshot names a watch that hangs after some seconds, and continues when the watch does", async () => {
  const { database, destination } = newApp();
  const watch = await WatchProcess.start([database, ...destination.words]);
  await watch.waitForUploads(1);
  process.kill(watch.pid, "SIGSTOP");
  const run = await runWalrust(["snapshot", database, ...destination.words]);
  process.kill(watch.pid, "SIGCONT");
  expect(run.exitCode).toBe(3);
  expect(run.stderr).toContain(
    `The watch with pid ${watch.pid} does not answer: the process is stopped (SIGSTOP) and captures nothing`,
  );
  await mustWalrust(["snapshot", database, ...destination.words]);
  expect(await watch.stop()).toBe(0);
});

test("a snapshot that cannot be uploaded ends with 4; the watch uploads it later", async () => {
  const { database, destination } = newApp();
  const watch = await WatchProcess.start([database, ...destination.words]);
  await watch.waitForUploads(1);
  await mustWalrust(["snapshot", database, ...destination.words]);
  renameSync(destination.folder, `${destination.folder}.away`);
  const run = await runWalrust(["snapshot", database, ...destination.words, "--json"]);
  expect(run.exitCode).toBe(4);
  const { error } = documentOf<{ error: { code: string; message: string } }>(run);
  expect(error.message).toMatch(/^The snapshot of TXID 1 is captured and waits beside the database; /);
  renameSync(`${destination.folder}.away`, destination.folder);
  await watch.waitFor("recovered", () => watch.eventsOf("recovered").length > 0);
  expect(await watch.stop()).toBe(0);
});

test("snapshot of a name reports the path of the database with that name", async () => {
  const { folder, destination } = newApp();
  mkdirSync(join(folder, "data"));
  createAppDatabase(join(folder, "data", "shop.db"));
  const config = '[[databases]]\npath = "data/shop.db"\nname = "store"\n';
  writeFileSync(join(folder, "walrust.toml"), config);
  const byConfig = await runWalrust(["snapshot", "store", ...destination.words], { cwd: folder });
  expect(byConfig.exitCode).toBe(3);
  expect(byConfig.stderr).toContain(`Cannot find ${join(folder, "store")}: ENOENT`);
  const meant = "snapshot takes a path: did you mean data/shop.db, whose name in the bucket is store?";
  expect(byConfig.stderr).toContain(meant);
  const unknown = await runWalrust(["snapshot", "stare", ...destination.words], { cwd: folder });
  expect(unknown.exitCode).toBe(3);
  expect(unknown.stderr).not.toContain("did you mean");
  expect(existsSync(destination.folder)).toBe(false);
});

test("snapshot of a name finds the database that a watch of this user has replicated", async () => {
  const { database, destination } = newApp("orders");
  const watch = await WatchProcess.start([database, ...destination.words]);
  await watch.waitForUploads(1);
  const run = await runWalrust(["snapshot", "orders", ...destination.words]);
  expect(run.exitCode).toBe(3);
  expect(run.stderr).toContain(`did you mean ${database}, whose name in the bucket is orders?`);
  expect(await watch.stop()).toBe(0);
});
