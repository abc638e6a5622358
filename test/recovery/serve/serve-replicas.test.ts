/**
 * Replicas that are pushed to: objects of a history are applied in order with the checks of `replicate`, and
 * everything else is refused without a change. The bytes of each TXID are known from the source.
 */
import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { positionPath } from "../../../src/format/push.ts";
import type { Txid } from "../../../src/format/types.ts";
import { keyOf } from "../../../src/storage/bucket/catalog.ts";
import { failureOf } from "../../support/failure-of.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { SqliteProcess, waitUntil } from "../../support/processes/sqlite-process.ts";
import { expectContent } from "../../support/runs/replica-run.ts";
import { ServeRun } from "../../support/runs/serve-run.ts";
import { Authority } from "../../support/servers/certificates.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

const TOKEN = "0123456789abcdef0123456789abcdef";

interface World {
  readonly folder: string;
  readonly local: string;
  readonly source: SourceDatabase;
  readonly history: SourceHistory;
  readonly keys: string[];
}

/** A history of `count` TXIDs. */
async function newWorld(count = 3, name = "app"): Promise<World> {
  const folder = tempFolder("serve");
  const source = new SourceDatabase(folder);
  const history = new SourceHistory(new MemoryStore(), name);
  const world = { folder, local: join(folder, "replica.db"), source, history, keys: [] as string[] };
  world.keys.push(await history.publish(source.after("CREATE TABLE t(v)", "INSERT INTO t VALUES (1)")));
  while (world.keys.length < count) await commit(world);
  return world;
}

/** Publishes one more commit. */
async function commit({ source, history, keys }: World): Promise<void> {
  keys.push(
    await history.publish(source.after(`INSERT INTO t VALUES (hex(randomblob(${keys.length * 100})))`)),
  );
}

const keyIn = (history: SourceHistory, level: number, minTxid: number, maxTxid: number): string =>
  keyOf(history.store, history.name, { level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid });

test("serve applies a snapshot and increments in order, and answers the new position", async () => {
  const { local, history, keys } = await newWorld();
  const run = await ServeRun.start(local);
  expect(await run.position()).toMatchObject({ txid: 0, state: "ready", hasBucket: false });
  for (const [index, key] of keys.entries()) {
    const { status, reply } = await run.push(history.store, key);
    expect([status, reply?.position.txid, reply?.refused]).toEqual([200, index + 1, null]);
    expectContent(local, history.images.get(index + 1));
  }
  const { checksum, chain, time } = await run.position();
  expect({ checksum: checksum?.length, chain: chain?.length }).toEqual({ checksum: 16, chain: 64 });
  expect(Date.parse(time!)).toBeGreaterThan(0);
  await run.stop();
  // The next server continues with the file.
  const next = await ServeRun.start(local);
  expect((await next.position()).txid).toBe(3);
  await next.stop();
  expect(readdirSync(join(local, "..")).filter((file) => file.includes("push"))).toEqual([]);
});

test("serve refuses a replay and a gap with 409 and the present position", async () => {
  const world = await newWorld(4);
  const { local, history, keys } = world;
  const run = await ServeRun.start(local);
  const early = await run.push(history.store, keys[1]!);
  expect([early.status, early.reply?.refused, early.reply?.position.txid]).toEqual([409, "gap", 0]);
  for (const key of keys.slice(0, 2)) await run.push(history.store, key);
  for (const key of keys.slice(0, 2)) {
    const again = await run.push(history.store, key);
    expect([again.status, again.reply?.refused, again.reply?.position.txid]).toEqual([409, "old", 2]);
  }
  const gap = await run.push(history.store, keys[3]!);
  expect([gap.status, gap.reply?.refused, gap.reply?.position.txid]).toEqual([409, "gap", 2]);
  expectContent(local, history.images.get(2));
  await run.stop();
});

test("serve refuses an unsound object with 422 and stays at its state", async () => {
  const { local, history, keys } = await newWorld();
  const run = await ServeRun.start(local);
  const broken = (bytes: Uint8Array): Uint8Array =>
    bytes.with(bytes.length >> 1, bytes[bytes.length >> 1]! ^ 1);
  const first = await run.push(history.store, keys[0]!, broken);
  expect([first.status, first.reply?.refused]).toEqual([422, "unsound"]);
  expect(existsSync(local)).toBe(false);
  await run.push(history.store, keys[0]!);
  for (const change of [broken, (bytes: Uint8Array) => bytes.subarray(0, bytes.length - 1)]) {
    const { status, reply } = await run.push(history.store, keys[1]!, change);
    expect([status, reply?.position.txid]).toEqual([422, 1]);
  }
  const { status, reply } = await run.push(history.store, keys[1]!, () => new Uint8Array(3));
  expect([status, reply?.refused]).toEqual([422, "unsound"]);
  expectContent(local, history.images.get(1));
  expect((await run.push(history.store, keys[1]!)).status).toBe(200);
  await run.stop();
});

test("serve applies a merged object that begins at or before its position", async () => {
  const world = await newWorld(5);
  const { local, history, keys } = world;
  const run = await ServeRun.start(local);
  for (const key of keys.slice(0, 3)) await run.push(history.store, key);
  await history.put(1, 2, 5);
  expect((await run.push(history.store, keyIn(history, 1, 2, 5))).status).toBe(200);
  expectContent(local, history.images.get(5));
  await run.stop();
});

test("serve continues by the database checksum where a merge has changed the chain", async () => {
  const world = await newWorld(3);
  const { local, history, keys } = world;
  const run = await ServeRun.start(local);
  for (const key of keys) await run.push(history.store, key);
  // The same TXIDs, merged while they waited for the bucket: TXID 3 has another chain value from here on.
  await history.put(0, 2, 3);
  await commit(world);
  const { status, reply } = await run.push(history.store, keys[3]!);
  expect([status, reply?.refused, reply?.message]).toEqual([200, null, null]);
  expectContent(local, history.images.get(4));
  await run.stop();
});

test("serve refuses another history as diverged, and takes its snapshot with a newer TXID", async () => {
  const one = await newWorld(3);
  const other = await newWorld(4);
  const run = await ServeRun.start(one.local);
  for (const key of one.keys) await run.push(one.history.store, key);
  const diverged = await run.push(other.history.store, other.keys[3]!);
  expect([diverged.status, diverged.reply?.refused]).toEqual([409, "diverged"]);
  await other.history.put(9, 1, 3);
  const same = await run.push(other.history.store, keyIn(other.history, 9, 1, 3));
  expect([same.status, same.reply?.refused]).toEqual([409, "old"]);
  expectContent(one.local, one.history.images.get(3));
  await other.history.put(9, 1, 4);
  expect((await run.push(other.history.store, keyIn(other.history, 9, 1, 4))).status).toBe(200);
  expectContent(one.local, other.history.images.get(4));
  await run.stop();
});

test("serve fills a gap from its own bucket", async () => {
  const world = await newWorld(3);
  const { local, history, keys } = world;
  const run = await ServeRun.start(local, { store: history.store });
  expect((await run.position()).hasBucket).toBe(true);
  expect((await run.push(history.store, keys[2]!)).reply?.refused).toBe("gap");
  await waitUntil(() => run.events.some(({ event, txid }) => event === "bootstrapped" && txid === 3));
  await commit(world);
  await commit(world);
  await commit(world);
  expect((await run.push(history.store, keys[5]!)).reply?.refused).toBe("gap");
  await waitUntil(() => run.events.some(({ event, txid }) => event === "applied" && txid === 6));
  expectContent(local, history.images.get(6));
  await run.stop();
});

test("serve keeps many replicas below its folder, and refuses names that lead out of it", async () => {
  const folder = tempFolder("serve-dir");
  const inside = join(folder, "replicas");
  mkdirSync(inside);
  symlinkSync(tempFolder("elsewhere"), join(inside, "link"));
  const run = await ServeRun.start({ kind: "folder", path: inside });
  for (const name of ["app", "tenants/one", "tenants/a b%"]) {
    const { history, keys } = await newWorld(2, name);
    for (const key of keys) expect((await run.push(history.store, key)).status).toBe(200);
    expectContent(join(inside, `${name}.db`), history.newest);
    expect((await run.position(name)).txid).toBe(2);
  }
  const { history, keys } = await newWorld(1);
  const { body, headers } = await bodyOf(history, keys[0]!);
  for (const name of ["..%2Fout", "%2e%2e/out", "a//b", "link/x", "app.db-wal/x", "App", "%00"]) {
    const path = `/v1/${name}/0009/0000000000000001-0000000000000001.ltx`;
    const response = await fetch(run.url + path, { method: "PUT", body, headers });
    expect([name, response.status]).toEqual([name, 404]);
  }
  expect(readdirSync(folder)).toEqual(["replicas"]);
  await run.stop();
});

async function bodyOf(history: SourceHistory, key: string) {
  const { metadata, ...object } = await history.store.get(key);
  const headers = Object.fromEntries(
    Object.entries(metadata).map(([name, value]) => [`x-walrust-meta-${name}`, value]),
  );
  return { body: await object.bytes(), headers };
}

test("serve keeps nothing of names that nothing was pushed to", async () => {
  const inside = tempFolder("serve-names");
  const run = await ServeRun.start({ kind: "folder", path: inside });
  for (let i = 0; i < 20; i++) expect((await run.position(`tenants/${i}`)).txid).toBe(0);
  const { text } = await run.ask("/metrics");
  expect(text).not.toContain("tenants");
  expect(readdirSync(inside)).toEqual([]);
  await run.stop();
});

test("serve with a token answers nobody else, except for the word of /health", async () => {
  const { local, history, keys } = await newWorld(1);
  const run = await ServeRun.start(local, { token: TOKEN });
  const wrong = [undefined, "Bearer x", `Bearer ${TOKEN}x`, `Basic ${TOKEN}`, "Bearer "];
  for (const authorization of wrong) {
    const headers: Record<string, string> = authorization === undefined ? {} : { authorization };
    const { body } = await bodyOf(history, keys[0]!);
    const path = "/v1/app/0009/0000000000000001-0000000000000001.ltx";
    expect((await fetch(run.url + path, { method: "PUT", body, headers })).status).toBe(401);
    for (const page of ["/v1/app", "/metrics"])
      expect((await fetch(run.url + page, { headers })).status).toBe(401);
    const health = (await (await fetch(`${run.url}/health`, { headers })).json()) as object;
    expect(Object.keys(health)).toEqual(["status", "uptime_seconds", "version"]);
  }
  expect((await run.push(history.store, keys[0]!)).status).toBe(200);
  expect((await run.ask("/health")).text).toContain('"name":"app","txid":1');
  expect((await run.ask("/metrics")).text).toContain('walrust_replica_txid{db="app"} 1');
  await run.stop();
});

test("serve speaks TLS with a certificate", async () => {
  const { local, history, keys } = await newWorld(1);
  const authority = new Authority();
  const run = await ServeRun.start(local, { tls: authority.server() });
  const { body, headers } = await bodyOf(history, keys[0]!);
  const path = "/v1/app/0009/0000000000000001-0000000000000001.ltx";
  const tls = { ca: authority.cert };
  const response = await fetch(run.url + path, { method: "PUT", body, headers, tls } as RequestInit);
  expect(response.status).toBe(200);
  await expect(fetch(run.url + path, { method: "PUT", body, headers })).rejects.toThrow();
  await run.stop();
});

test("serve answers requests outside of its protocol with their status", async () => {
  const { local } = await newWorld(1);
  const run = await ServeRun.start(local);
  expect((await run.ask("/")).status).toBe(404);
  expect((await run.ask("/v1/")).status).toBe(404);
  expect((await run.ask("/v1/app", { method: "PUT", body: "x" })).status).toBe(405);
  expect((await run.ask("/v1/app", { method: "DELETE" })).status).toBe(405);
  const name = "/v1/app/0009/0000000000000001-0000000000000001.ltx";
  expect((await run.ask(name)).status).toBe(405);
  const headers = { "x-walrust-meta-Wrong_name": "x" };
  expect((await run.ask(name, { method: "PUT", body: "x".repeat(300), headers })).status).toBe(400);
  await run.stop();
});

test("serve refuses a file that is no replica of its own", async () => {
  const { local, source } = await newWorld(1);
  writeFileSync(local, source.after());
  expect((await failureOf(ServeRun.start(local))).code).toBe("database");
});

test("serve leaves a file in its folder alone that is no replica, and shows that in /health", async () => {
  const { folder, source, history, keys } = await newWorld(1);
  const inside = join(folder, "replicas");
  mkdirSync(inside);
  const image = source.after();
  writeFileSync(join(inside, "app.db"), image);
  const run = await ServeRun.start({ kind: "folder", path: inside });
  const { status, text } = await run.push(history.store, keys[0]!);
  expect([status, text]).toEqual([503, expect.stringContaining("is not a replica of push:app")]);
  const health = await run.ask("/health");
  expect([health.status, health.text]).toEqual([503, expect.stringContaining('"state":"failing"')]);
  expect(readFileSync(join(inside, "app.db")).equals(image)).toBe(true);
  await run.stop();
});

test("serve refuses the second name of a file", async () => {
  const { local, history, keys } = await newWorld(2);
  const run = await ServeRun.start(local);
  await run.push(history.store, keys[0]!);
  const other = await run.ask(positionPath("other"));
  expect([other.status, other.text]).toEqual([404, expect.stringContaining("a replica of app")]);
  await run.stop();
});

test("serve replaces a file under another page size once its readers have closed it", async () => {
  const { local, history, keys } = await newWorld(2);
  const run = await ServeRun.start(local);
  for (const key of keys) await run.push(history.store, key);
  const reader = await SqliteProcess.open(local);
  await reader.must("SELECT count(*) FROM t");
  const large = new SourceDatabase(tempFolder("large"), 8192);
  const image = large.after("CREATE TABLE t(v)");
  const grown = new SourceHistory(new MemoryStore(), "app");
  for (let txid = 1; txid <= 3; txid++) await grown.publish(image);
  await grown.put(9, 1, 3);
  expect((await run.push(grown.store, keyIn(grown, 9, 1, 3))).reply?.refused).toBe("busy");
  expect(await run.position()).toMatchObject({ txid: 2, state: "waiting" });
  expect((await run.push(history.store, keys[1]!)).reply?.refused).toBe("busy");
  await reader.close();
  await waitUntil(() => run.events.some(({ event, txid }) => event === "bootstrapped" && txid === 3));
  expectContent(local, image);
  await run.stop();
});
