/**
 * A watch pushes captured files to replica servers: in order, without a loss, and without any effect of a
 * slow or dead replica on captures and uploads. The oracle is the content that SQLite shows of source and
 * replica.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type PushInput, PushReplicas } from "../../../src/replication/push/push-replicas.ts";
import type { ObjectStore } from "../../../src/storage/contract/store.ts";
import { DEFAULT_TLS_TRUST } from "../../../src/storage/network/tls-trust.ts";
import type { ConfigChange } from "../../support/config.ts";
import { type SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { ServeRun, type ServeRunOptions } from "../../support/runs/serve-run.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const HASTE: ConfigChange = { sync: { walSyncIntervalMs: 10 } };

function pushesTo(urls: readonly string[], store: ObjectStore, more: Partial<PushInput> = {}): PushReplicas {
  const { env } = recordingEnv();
  const peers = urls.map((url) => ({ url: new URL(url), token: null, trust: DEFAULT_TLS_TRUST }));
  return new PushReplicas({ peers, store, env, version: "test", ...more });
}

/** The rows of a replica, as a reader sees them. */
function countIn(path: string): number {
  if (!existsSync(path)) return 0;
  const database = new Database(path, { readonly: true });
  try {
    return (database.query("SELECT count(*) FROM t").values() as [[number]])[0][0];
  } finally {
    database.close();
  }
}

async function insert(app: SqliteProcess, count = 1): Promise<void> {
  for (let i = 0; i < count; i++) await app.must("INSERT INTO t(v) VALUES (hex(randomblob(50)))");
}

/** Commits one after the other, each as a TXID of its own that is in the bucket. */
async function insertCaptured(app: SqliteProcess, run: WatchRun, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const { txid } = run.statuses()[0]!;
    await insert(app);
    await waitUntil(() => run.statuses()[0]!.txid > txid && run.statuses()[0]!.pendingCount === 0);
  }
}

async function world(options: ServeRunOptions = {}) {
  const local = join(tempFolder("pushed"), "replica.db");
  return {
    ...(await newDatabase()),
    store: new MemoryStore(),
    local,
    server: await ServeRun.start(local, options),
  };
}

test("PushReplicas bring a replica up to date, and every commit after it", async () => {
  const { path, app, store, local, server } = await world();
  const acknowledged: number[] = [];
  const push = pushesTo([server.url], store, { onAcknowledged: (_, __, txid) => acknowledged.push(txid) });
  const run = new WatchRun([targetOf(path)], store, HASTE, {}, { push });
  for (let round = 2; round < 12; round++) {
    await insert(app);
    await waitUntil(() => countIn(local) === round);
  }
  const [status] = run.statuses();
  await waitUntil(() => push.statusOf("app")[0]?.state === "current");
  expect(push.statusOf("app")).toEqual([
    { replica: server.url, txid: run.statuses()[0]!.txid, state: "current", message: null },
  ]);
  expect(status?.replicas?.[0]?.replica).toBe(server.url);
  expect(acknowledged).toEqual(acknowledged.toSorted((a, b) => a - b));
  await run.stop();
  await server.stop();
  await app.close();
});

test("PushReplicas send the last commits before the end of a watch", async () => {
  const { path, app, store, local, server } = await world();
  const run = new WatchRun(
    [targetOf(path)],
    store,
    { sync: { walSyncIntervalMs: 60_000 } },
    {},
    {
      push: pushesTo([server.url], store),
    },
  );
  await waitUntil(() => countIn(local) === 1);
  await insert(app, 3);
  await run.stop();
  expect(countIn(local)).toBe(4);
  await server.stop();
  await app.close();
});

test("PushReplicas continue after a replica was away, with what the spool has", async () => {
  const { path, app, store, local, server } = await world();
  const run = new WatchRun([targetOf(path)], store, HASTE, {}, { push: pushesTo([server.url], store) });
  await waitUntil(() => countIn(local) === 1);
  const { port } = server;
  await server.stop();
  await insertCaptured(app, run, 5);
  const back = await ServeRun.start(local, { port });
  await waitUntil(() => countIn(local) === 6);
  // No bootstrap: the increments of the spool lead there.
  expect(back.events.map(({ event }) => event)).not.toContain("bootstrapped");
  await run.stop();
  await back.stop();
  await app.close();
});

test("PushReplicas send a snapshot and increments of the bucket where the spool has nothing", async () => {
  const { path, app, store, local, server } = await world();
  const config = { ...HASTE, cache: { enabled: false } };
  const run = new WatchRun([targetOf(path)], store, config, {}, { push: pushesTo([server.url], store) });
  await waitUntil(() => countIn(local) === 1);
  const { port } = server;
  await server.stop();
  for (const suffix of ["", "-wal", "-shm", "-replica-state"]) rmSync(local + suffix, { force: true });
  await insertCaptured(app, run, 5);
  const back = await ServeRun.start(local, { port });
  await waitUntil(() => countIn(local) === 6);
  expect(back.events[0]).toMatchObject({ event: "bootstrapped", txid: 1 });
  await run.stop();
  await back.stop();
  await app.close();
});

test("PushReplicas let a replica with a bucket of its own fill the gap itself", async () => {
  const { path, app, store, local, server } = await world();
  const config = { ...HASTE, cache: { enabled: false } };
  const run = new WatchRun([targetOf(path)], store, config, {}, { push: pushesTo([server.url], store) });
  await waitUntil(() => countIn(local) === 1);
  const { port } = server;
  await server.stop();
  await insertCaptured(app, run, 5);
  const back = await ServeRun.start(local, { port, store });
  await waitUntil(() => countIn(local) === 6);
  expect(back.lines.some(({ message }) => message.startsWith("reading the bucket"))).toBe(true);
  await run.stop();
  await back.stop();
  await app.close();
});

test("PushReplicas serve several replicas, and a dead one delays neither them nor uploads", async () => {
  const { path, app, store, local, server } = await world();
  const dead = await ServeRun.start(join(tempFolder("dead"), "replica.db"));
  const deadUrl = dead.url;
  await dead.stop();
  // A server that takes connections and never answers.
  const mute = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const urls = [deadUrl, `http://127.0.0.1:${mute.port}`, server.url];
  const run = new WatchRun([targetOf(path)], store, HASTE, {}, { push: pushesTo(urls, store) });
  await insert(app, 10);
  await waitUntil(() => countIn(local) === 11);
  await waitUntil(() => run.statuses()[0]!.pendingCount === 0);
  await waitUntil(() => run.statuses()[0]!.replicas![2]!.state === "current");
  const [first, second, third] = run.statuses()[0]!.replicas!;
  expect([first?.state, first?.txid, third?.state]).toEqual(["failing", null, "current"]);
  expect(second?.txid).toBeNull();
  await run.stop();
  mute.stop(true);
  await server.stop();
  await app.close();
});

test("PushReplicas continue with the next watch, which has another process's spool", async () => {
  const { path, app, store, local, server } = await world();
  const first = new WatchRun([targetOf(path)], store, HASTE, {}, { push: pushesTo([server.url], store) });
  await waitUntil(() => countIn(local) === 1);
  await first.stop();
  await insert(app, 4);
  const without = new WatchRun([targetOf(path)], store, HASTE);
  await insert(app, 4);
  await waitUntil(() => without.statuses()[0]?.pendingCount === 0 && without.statuses()[0]!.txid > 1);
  await without.stop();
  const next = new WatchRun([targetOf(path)], store, HASTE, {}, { push: pushesTo([server.url], store) });
  await waitUntil(() => countIn(local) === 9);
  await next.stop();
  await server.stop();
  await app.close();
});

test("PushReplicas push on while the bucket is away and waiting captures are merged", async () => {
  const { path, app, store, local, server } = await world();
  let isAway = false;
  const put = store.put.bind(store);
  const { WalrustError } = await import("../../../src/errors.ts");
  store.put = async (...words) => {
    if (isAway) throw new WalrustError("storage", "away", { retryable: true });
    return put(...words);
  };
  const run = new WatchRun([targetOf(path)], store, HASTE, {}, { push: pushesTo([server.url], store) });
  await waitUntil(() => countIn(local) === 1);
  await waitUntil(() => run.statuses()[0]!.pendingCount === 0);
  isAway = true;
  for (let round = 2; round <= 40; round++) {
    await insert(app);
    await waitUntil(() => countIn(local) === round);
  }
  isAway = false;
  await insert(app);
  await waitUntil(() => run.statuses()[0]!.pendingCount === 0 && countIn(local) === 41);
  await insert(app);
  await waitUntil(() => countIn(local) === 42);
  expect(server.events.filter(({ event }) => event === "bootstrapped").length).toBe(1);
  await run.stop();
  await server.stop();
  await app.close();
});

test("PushReplicas replace another history by a snapshot that is taken for it", async () => {
  const { path, app, store, local, server } = await world();
  const run = new WatchRun([targetOf(path)], store, HASTE, {}, { push: pushesTo([server.url], store) });
  await waitUntil(() => countIn(local) === 1);
  await insertCaptured(app, run, 2);
  await waitUntil(() => countIn(local) === 3);
  await run.stop();
  await app.close();
  // Another machine begins the history anew, and passes the TXIDs of the replica.
  const other = await newDatabase();
  const anew = new MemoryStore();
  const push = pushesTo([server.url], anew);
  const second = new WatchRun([targetOf(other.path)], anew, HASTE, {}, { push });
  await waitUntil(() => push.statusOf("app")[0]?.message?.includes("another history") === true);
  expect(countIn(local)).toBe(3);
  for (let i = 0; i < 8; i++) await insertCaptured(other.app, second, 1);
  await waitUntil(() => countIn(local) === 9, 20_000);
  await second.stop();
  await server.stop();
  await other.app.close();
});

test("PushReplicas notice another server of an idle database, and bring its replica up to date", async () => {
  const { path, app, store, local, server } = await world();
  const { env } = recordingEnv();
  // The time of a stall stays.
  const hasten = (ms: number): number => (ms < 20_000 ? ms / 100 : ms);
  const hasty = { ...env, sleep: (ms: number, signal?: AbortSignal) => env.sleep(hasten(ms), signal) };
  const push = pushesTo([server.url], store, { env: hasty });
  const run = new WatchRun([targetOf(path)], store, HASTE, {}, { push });
  await waitUntil(() => push.statusOf("app")[0]?.state === "current");
  const { port } = server;
  await server.stop();
  await waitUntil(() => push.statusOf("app")[0]?.state === "failing");
  const fresh = join(tempFolder("fresh"), "replica.db");
  const other = await ServeRun.start(fresh, { port });
  await waitUntil(() => countIn(fresh) === 1);
  await waitUntil(() => push.statusOf("app")[0]?.state === "current");
  expect(countIn(local)).toBe(1);
  await run.stop();
  await other.stop();
  await app.close();
});
