/** The seven functions with the real walrust: results of the documented shapes, and refusals. */
import { Database } from "bun:sqlite";
import { afterAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  compact,
  list,
  type NothingRestoredDocument,
  replicate,
  restore,
  snapshot,
  type VerifyDocument,
  verify,
  watch,
} from "../../src/index.ts";
import { failureOf } from "../support/failure-of.ts";
import { gatheredLog } from "../support/library/fake-walrust.ts";
import { type OpenPaths, shapeDifferences } from "../support/oracles/json-shape.ts";
import { blockOf } from "../support/readme/readme-blocks.ts";
import { tempFolder } from "../support/temp.ts";

setDefaultTimeout(60_000);

/** The connections of the application: a collected one would close, and delete its WAL, during a call. */
const connections: Database[] = [];

afterAll(() => {
  for (const connection of connections) connection.close();
});

/** A database in WAL mode with one row, and settings with a bucket beside it. */
function appOf(name = "app.db") {
  const folder = tempFolder("calls");
  const path = join(folder, name);
  const database = new Database(path);
  connections.push(database);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (x)");
  database.run("INSERT INTO t VALUES (1)");
  return {
    folder,
    path,
    database,
    backup: { bucket: `file://${folder}/bucket`, databases: [{ path, name: "shop" }] },
  };
}

/** How a result differs from the example in the README of the verbs. */
function differences(name: string, document: unknown, open: OpenPaths = {}): string[] {
  return shapeDifferences(JSON.parse(blockOf("json", name).text), document, open);
}

test("each call returns the documented document", async () => {
  const { path, folder, backup } = appOf();
  const taken = await snapshot({ ...backup, database: path });
  expect(differences("snapshot", taken)).toEqual([]);
  expect(taken).toMatchObject({ name: "shop", txid: 1, key: expect.stringContaining("shop/") });
  const listed = await list({ ...backup, name: "shop" });
  expect(differences("list", listed, { maps: ["databases[].restorable"] })).toEqual([]);
  const verified: VerifyDocument = await verify({ ...backup, name: "shop", readData: 100, restore: true });
  expect(verified).toMatchObject({ status: "ok", databases: [{ checked: { restored_txid: 1 } }] });
  expect(
    differences("verify", { ...verified, databases: [{ ...verified.databases[0], findings: [] }] }),
  ).toEqual([]);
  const plan = await compact({ ...backup, all: true });
  expect(plan).toMatchObject({ force: false, databases: [{ name: "shop", deleted: [] }], errors: [] });
  const output = join(folder, "restored.db");
  const restored = await restore({
    ...backup,
    name: "shop",
    output,
    pointInTime: "txid:1",
    integrityCheck: "quick",
  });
  expect(differences("restore", restored)).toEqual([]);
  expect(restored).toMatchObject({ restored: true, output, integrity_check: { mode: "quick" } });
});

test("each call that can take long accepts a receiver of its progress", async () => {
  const { path, folder, backup } = appOf();
  const options = { ...backup, onProgress: () => {} };
  const watching = await watch(options);
  await snapshot({ ...options, database: path });
  await list(options);
  await verify({ ...options, all: true });
  await compact({ ...options, name: "shop" });
  await restore({ ...options, name: "shop", output: join(folder, "o.db") });
  await using _ = await replicate({ ...options, source: "shop", local: join(folder, "r.db") });
  await watching.close();
});

test("restore says why there was nothing to do, and verify reports damage as a status", async () => {
  const { path, folder, backup } = appOf();
  const absent = await restore({
    ...backup,
    name: "shop",
    output: join(folder, "o.db"),
    ifReplicaExists: true,
  });
  expect(absent).toMatchObject({ name: "shop", restored: false });
  expect((absent as NothingRestoredDocument).reason).toContain("no backup of shop");
  await snapshot({ ...backup, database: path });
  writeFileSync(join(folder, "bucket", "shop", "manifest.json"), "{");
  expect(await verify({ ...backup, all: true })).toMatchObject({ status: "warnings" });
  expect(await failureOf(list({ ...backup, name: "absent" }))).toMatchObject({
    code: "restore",
    exitCode: 6,
  });
});

test("watch gives typed events, takes settings, and uploads the last commits when it closes", async () => {
  const { database, backup, folder } = appOf();
  const { entries, onLog } = gatheredLog();
  let lastTxid = 0;
  {
    await using watching = await watch({ ...backup, sync: { walSyncIntervalMs: 3_600_000 }, onLog });
    for await (const event of watching) {
      if (event.event === "started")
        expect(event).toMatchObject({ databases: 1, destination: backup.bucket });
      if (event.event !== "uploaded") continue;
      expect(differences("watch", event)).toEqual([]);
      expect(event.database).toBe("shop");
      lastTxid = event.txid;
      break;
    }
    database.run("INSERT INTO t VALUES (2)");
  }
  expect(lastTxid).toBe(1);
  const output = join(folder, "restored.db");
  await restore({ ...backup, name: "shop", output });
  const restored = new Database(output, { readonly: true });
  expect(restored.query("SELECT count(*) AS n FROM t").get()).toEqual({ n: 2 });
  expect(entries.map(({ message }) => message)).toContain("stopped");
  // No port without `metrics`, and the same port with it for whoever wants it.
  expect(entries.some(({ message }) => message.includes("/metrics"))).toBe(false);
});

test("watch rejects before it begins: options, names, and files that are missing", async () => {
  const { backup, folder } = appOf();
  const missing = failureOf(watch({ ...backup, databases: [join(folder, "absent.db")] }));
  expect(await missing).toMatchObject({ code: "database" });
  const twice = {
    ...backup,
    databases: [
      { path: "/a.db", name: "n" },
      { path: "/b.db", name: "n" },
    ],
  };
  expect((await failureOf(watch(twice))).message).toContain("two databases have the name n");
  expect((await failureOf(watch({ bucket: backup.bucket, databases: [] }))).code).toBe("usage");
});

test("watch rejects if it can replicate no database, and reports one of several", async () => {
  const { backup, folder, path } = appOf();
  const rollback = join(folder, "rollback.db");
  new Database(rollback).run("CREATE TABLE t (x)");
  const alone = await failureOf(watch({ ...backup, databases: [rollback] }));
  expect(alone).toMatchObject({ code: "not-wal", exitCode: 3 });
  await using watching = await watch({ ...backup, databases: [path, rollback] });
  const seen = new Map<string, string>();
  for await (const event of watching) {
    if (event.event === "watching" || event.event === "stopped") seen.set(event.database, event.event);
    if (seen.size === 2) break;
  }
  expect(Object.fromEntries(seen)).toEqual({ app: "watching", rollback: "stopped" });
});

test("watch waits for no silent store, and its databases are ready for snapshot", async () => {
  const { backup, path } = appOf();
  const server = Bun.serve({ port: 0, fetch: () => new Promise<Response>(() => {}) });
  const store = { endpoint: server.url.href, accessKeyId: "k", secretAccessKey: "s" };
  const startedMs = performance.now();
  const silent = await watch({ ...store, bucket: "s3://bucket", databases: backup.databases });
  expect(performance.now() - startedMs).toBeLessThan(20_000);
  silent.kill();
  await server.stop(true);
  await using _ = await watch(backup);
  expect(await snapshot({ ...backup, database: path })).toMatchObject({ name: "shop" });
});

test("watch waits for a walrust that still has its databases, as after a crash", async () => {
  const { backup } = appOf();
  const first = await watch(backup);
  for await (const { event } of first) if (event === "uploaded") break;
  const second = await watch(backup);
  const events: string[] = [];
  for await (const event of second) {
    events.push(event.event);
    if (event.event === "stopped") {
      expect(event.code).toBe("locked");
      await first.close();
    }
    if (event.event === "watching") break;
  }
  expect(events).toContain("stopped");
  await second.close();
});

test("a watch of an application reads no file again: walrust reload names the application", async () => {
  const { backup } = appOf();
  await using _ = await watch(backup);
  const main = join(import.meta.dir, "../../src/main.ts");
  const reload = Bun.spawn([process.execPath, main, "reload", "-b", backup.bucket, "--json"], {
    env: { ...process.env },
    stdio: ["ignore", "pipe", "ignore"],
  });
  const { watches } = JSON.parse(await reload.stdout.text()) as { watches: { error: object }[] };
  expect(watches).toMatchObject([
    { error: { code: "config", message: expect.stringContaining("application") } },
  ]);
  expect(await reload.exited).toBe(2);
});

test("watch and replicate end with their signal", async () => {
  const { path, folder, backup } = appOf();
  await snapshot({ ...backup, database: path });
  const stop = new AbortController();
  const watching = await watch({ ...backup, signal: stop.signal });
  const local = join(folder, "replica.db");
  const replica = await replicate({ bucket: backup.bucket, source: "shop", local, signal: stop.signal });
  stop.abort();
  await Promise.all([watching.ended, replica.ended]);
  expect(existsSync(local)).toBe(true);
  const late = watch({ ...backup, signal: AbortSignal.abort("late") });
  expect(await late.catch((reason: unknown) => reason)).toBe("late");
});

test("replicate with once ends when the replica is up to date", async () => {
  const { path, folder, backup } = appOf();
  await snapshot({ ...backup, database: path });
  const replica = await replicate({
    bucket: backup.bucket,
    source: "shop",
    local: join(folder, "r.db"),
    once: true,
  });
  const events = await Array.fromAsync(replica);
  expect(events.map(({ event }) => event)).toContain("bootstrapped");
  for (const event of events)
    if (event.event === "bootstrapped") expect(Date.parse(event.time)).toBeGreaterThan(0);
  await replica.ended;
  const nothing = replicate({
    bucket: backup.bucket,
    source: "absent",
    local: join(folder, "n.db"),
    once: true,
  });
  expect((await failureOf(nothing)).code).toBe("restore");
});
