/**
 * The executable with a portal in the store's place, or with a store that loses acknowledged objects. An
 * upload counts only if the store holds the object. /health reports the loss, and walrust makes the state
 * restorable again at once.
 */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import {
  type Configured,
  configured,
  type Settings,
  serverSettings,
} from "../../support/runs/configured-watch.ts";
import { freePort } from "../../support/servers/free-port.ts";
import type { RequestKind } from "../../support/servers/s3-call.ts";
import { S3Server } from "../../support/servers/s3-server.ts";

/** Every kind of request to a bucket. */
const KINDS: readonly RequestKind[] = [
  ...(["put", "get", "head", "headBucket", "list", "deleteMany", "deleteOne"] as const),
  ...(["createUpload", "putPart", "completeUpload", "abortUpload", "listUploads"] as const),
];
const PAGE = "<!DOCTYPE html><title>Sign in</title>";
const QUICK: Settings = {
  "retry.max_retries": "1",
  "retry.base_delay_ms": "10",
  "retry.max_delay_ms": "100",
};

let server: S3Server;
const defaults = {};

beforeAll(async () => {
  server = await S3Server.start();
  Object.assign(defaults, server.options);
});

afterAll(() => server.stop());

beforeEach(() => {
  server.reset();
  Object.assign(server.options, defaults, { undeletable: [], omits: {} });
});

/** A portal that answers these kinds of requests in the store's place. */
function signIn(kinds: readonly RequestKind[] = KINDS): void {
  const instead = { status: 200, headers: { "content-type": "text/html" }, body: PAGE };
  for (const kind of kinds) server.inject({ kind, when: "before", answer: { instead }, count: 1e6 });
}

interface Health {
  readonly status: string;
  readonly s3: { readonly conditions: readonly { readonly code: string }[] };
  readonly databases: Readonly<Record<string, { readonly conditions: readonly { readonly code: string }[] }>>;
}

async function healthOf(port: number): Promise<Health> {
  return (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as Health;
}

function ltxKeys(level: string): string[] {
  return [...server.objects.keys()].filter((key) => key.includes(`/${level}/`));
}

/** A folder whose watch serves its health on its own port. */
async function watched(more: Settings = {}): Promise<Configured & { readonly port: number }> {
  const port = freePort();
  const metrics = { "metrics.enabled": "true", "metrics.port": String(port) };
  return { ...(await configured({ ...serverSettings(server), ...QUICK, ...metrics, ...more })), port };
}

/** Restores, and expects as many rows as the application has. */
async function expectRestored({ run, folder, apps }: Configured): Promise<void> {
  const path = join(folder, "restored.db");
  expect((await run(["restore", "app", "-o", path])).exitCode).toBe(0);
  const restored = await SqliteProcess.open(path);
  const count = "SELECT count(*) AS n, max(id) AS last FROM t";
  const [found, expected] = [await restored.must(count), await apps.get("app")!.must(count)];
  await restored.close();
  expect(found.rows).toEqual(expected.rows);
}

test("a portal under a running watch acknowledges nothing, and all arrives after its end", async () => {
  const world = await watched();
  const watch = await world.watch();
  await watch.waitFor("the first upload", () => watch.uploads().length > 0);
  signIn();
  const before = watch.uploads().length;
  for (let row = 0; row < 5; row++) await world.commit(`row ${row}`);
  await watch.waitFor("a failure", () => watch.eventsOf("failed").length > 0);
  await eventually("the condition", async () => {
    const { status, s3 } = await healthOf(world.port);
    return status === "unhealthy" && s3.conditions.some(({ code }) => code === "not-the-store");
  });
  expect(watch.uploads().length).toBe(before);
  expect(watch.stderr).toContain("something else answers in place of s3://bucket/vm");
  server.clearFaults();
  await watch.waitFor("the end", () => watch.eventsOf("recovered").length > 0);
  await eventually("health", async () => (await healthOf(world.port)).status === "healthy");
  expect(await watch.stop()).toBe(0);
  await expectRestored(world);
}, 60_000);

test("snapshot, verify and explain end with 4 while a portal answers", async () => {
  const { run } = await configured({ ...serverSettings(server), ...QUICK });
  signIn();
  for (const words of [["snapshot", "app.db"], ["verify", "--all"], ["explain"], ["list"]]) {
    const { exitCode, stderr, stdout } = await run(words);
    expect([words[0], exitCode]).toEqual([words[0], 4]);
    expect(`${stdout}${stderr}`).toContain("the answer is not the store's");
  }
  expect(server.objects.size).toBe(0);
});

test("a probe that a portal answers does not disable create-only writes", async () => {
  signIn(["put", "head", "deleteMany", "deleteOne"]);
  const world = await watched();
  const watch = await world.watch();
  await watch.waitFor("a failure", () => watch.eventsOf("failed").length > 0);
  server.clearFaults();
  await watch.waitFor("the upload", () => watch.uploads().length > 0);
  expect(server.lastHeaders.get("put")).toBeDefined();
  expect(ltxKeys("0009").length).toBe(1);
  await world.commit();
  await watch.waitFor("the increment", () => watch.uploads().length > 1);
  // A portal that was seen twice within a minute stays a condition for a while after its end.
  const seen = new Set<string>();
  await eventually(
    "no condition of the store",
    async () => {
      const { conditions } = (await healthOf(world.port)).s3;
      for (const { code } of conditions) seen.add(code);
      return conditions.length === 0;
    },
    30_000,
  );
  expect([...seen].filter((code) => code !== "not-the-store")).toEqual([]);
  expect(await watch.stop()).toBe(0);
}, 60_000);

test("a store without create-only writes is a condition in /health, and explain reports it", async () => {
  server.options.conditionalPut = "ignored";
  const world = await watched();
  const watch = await world.watch();
  await eventually("the condition", async () => {
    const { status, s3 } = await healthOf(world.port);
    return status === "degraded" && s3.conditions[0]?.code === "weak-writes";
  });
  expect(await watch.stop()).toBe(0);
  expect((await world.run(["explain"])).stdout).toContain("create-only writes are not enforced");
}, 60_000);

test("watch notices at its start that a lifecycle rule deleted the snapshots, and takes one", async () => {
  const world = await watched();
  const first = await world.watch();
  for (let row = 0; row < 3; row++) {
    const seen = first.uploads().length;
    await world.commit(`row ${row}`);
    await first.waitFor("the upload", () => first.uploads().length > seen);
  }
  expect(await first.stop()).toBe(0);
  for (const key of ltxKeys("0009")) server.objects.delete(key);
  expect((await world.run(["restore", "app", "-o", join(world.folder, "none.db")])).exitCode).not.toBe(0);
  const second = await world.watch();
  await second.waitFor("a snapshot", () => second.uploads().some(({ kind }) => kind === "snapshot"));
  expect(second.stderr).toContain("WARN app: the bucket holds no snapshot to begin a restore with");
  await eventually("health", async () => (await healthOf(world.port)).status === "healthy");
  expect(await second.stop()).toBe(0);
  await expectRestored(world);
}, 60_000);

test("a bucket that refuses deletes keeps objects; the log reports it once, not as a failure", async () => {
  const upkeep = {
    "sync.snapshot_interval": "1",
    "sync.compact_after_snapshot": "true",
    ...{ "retention.hourly": "0", "retention.daily": "0", "retention.weekly": "0", "retention.monthly": "0" },
  };
  const world = await watched(upkeep);
  const refusal = "<Error><Code>AccessDenied</Code><Message>WORM protected</Message></Error>";
  server.options.deleteMany = { status: 403, body: refusal };
  server.options.undeletable = "all";
  const watch = await world.watch();
  const snapshots = (): number => watch.uploads().filter(({ kind }) => kind === "snapshot").length;
  for (let round = 1; round <= 5; round++) {
    await world.commit(`row ${round}`);
    await watch.waitFor("a snapshot", () => snapshots() > round);
  }
  const { status, s3 } = await healthOf(world.port);
  expect([status, s3.conditions.map(({ code }) => code)]).toEqual(["degraded", ["deletes-refused"]]);
  expect(await watch.stop()).toBe(0);
  expect(watch.stderr.split("refuses to delete").length - 1).toBe(1);
  expect(watch.eventsOf("failed")).toEqual([]);
  const rules = ["--hourly", "0", "--daily", "0", "--weekly", "0", "--monthly", "0"];
  const { exitCode, stdout } = await world.run(["compact", "app", "--force", ...rules, "--json"]);
  const [result] = JSON.parse(stdout).databases;
  expect([exitCode, result.deleted, result.refused.length > 0]).toEqual([0, [], true]);
}, 60_000);

test("lost answers to CreateMultipartUpload leave no upload behind", async () => {
  const world = await watched();
  server.inject({ kind: "createUpload", when: "after", answer: { status: 502, code: "" }, count: 7 });
  const app = world.apps.get("app")!;
  const numbers = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20)";
  await app.must(`${numbers} INSERT INTO t(v) SELECT randomblob(1000000) FROM n`);
  const watch = await world.watch();
  await watch.waitFor("the upload", () => watch.uploads().length > 0);
  expect(server.count("createUpload")).toBeGreaterThan(6);
  await eventually("their end", async () => server.uploads.size === 0);
  expect(await watch.stop()).toBe(0);
}, 60_000);
