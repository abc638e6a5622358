/**
 * The executable with a store that accepts connections and never answers, or is away for a while. The log
 * reports the outage once, verbs give up, and walrust notices the end of the outage within seconds.
 */
import { Database } from "bun:sqlite";
import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { once } from "node:events";
import { readdirSync, rmSync } from "node:fs";
import { type AddressInfo, createServer, type Server, type Socket } from "node:net";
import { basename, dirname, join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { Gate } from "../../support/gate.ts";
import { commitRow, createAppDatabase } from "../../support/histories/app-rows.ts";
import { documentOf, type Run, runWalrust } from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const KEYS = { AWS_ACCESS_KEY_ID: "test", AWS_SECRET_ACCESS_KEY: "testsecret" };
const cleanups: (() => unknown)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

/** A server that accepts every request and answers none. */
async function silentServer(): Promise<string> {
  const sockets = new Set<Socket>();
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.resume();
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function databases(count: number): string[] {
  const folder = tempFolder("silent");
  return Array.from({ length: count }, (_, index) => {
    const path = join(folder, `db${index}.db`);
    createAppDatabase(path);
    return path;
  });
}

/** The number of log lines that report waiting for the store at this endpoint. */
function warnings(text: string, endpoint: string): number {
  return text.split(`WARN waiting for ${endpoint}: `).length - 1;
}

test("verbs give up after --timeout, whatever the retries, and name the store", async () => {
  const words = ["-b", "s3://bucket/vm", "--endpoint", await silentServer(), "--timeout", "1s"];
  const [path] = databases(1);
  const calls = [
    ["list"],
    ["verify", "--all"],
    ["restore", "app", "-o", `${path}.restored`],
    ["compact", "--all"],
    ["snapshot", path!],
  ];
  await Promise.all(
    calls.map(async (call) => {
      const beganMs = performance.now();
      const { exitCode, stderr } = await runWalrust([...call, ...words], { env: KEYS });
      expect([call[0], exitCode]).toEqual([call[0], 4]);
      expect(stderr).toContain("given up after 1 s (see --timeout)");
      expect(performance.now() - beganMs).toBeLessThan(10_000);
    }),
  );
});

test("verbs, and a watch over many databases, log a silence of 10 s once", async () => {
  const endpoint = await silentServer();
  const words = ["-b", "s3://bucket/vm", "--endpoint", endpoint];
  const run = (call: string[]): Promise<Run> =>
    runWalrust([...call, ...words, "--timeout", "13s"], { env: KEYS });
  const paths = databases(20);
  const watch = await WatchProcess.start([...paths, ...words], { env: KEYS });
  const calls = [["list"], ["verify", "--all"], ["restore", "app", "-o", `${paths[0]}.restored`]];
  for (const { exitCode, stderr } of await Promise.all(calls.map(run))) {
    expect([exitCode, warnings(stderr, endpoint)]).toEqual([4, 1]);
  }
  await watch.waitFor("the warning", () => watch.stderr.includes("waiting for"));
  expect(warnings(watch.stderr, endpoint)).toBe(1);
  expect(watch.eventsOf("condition").map(({ code }) => code)).toEqual(["store-silent"]);
  await watch.signalUntilEnd("SIGTERM");
});

test("sync ends in time while the store takes no request, and says for how long", async () => {
  const words = ["-b", "s3://bucket/vm", "--endpoint", await silentServer()];
  const watch = await WatchProcess.start([...databases(1), ...words], { env: KEYS });
  const isKnown = async (): Promise<boolean> =>
    (await runWalrust(["status", ...words], { env: KEYS })).stdout.includes("db0");
  await eventually("an answer of the watch", isKnown);
  const beganMs = performance.now();
  const { exitCode, stdout } = await runWalrust(["sync", "db0", ...words, "--timeout", "3s"], { env: KEYS });
  expect([exitCode, stdout]).toEqual([
    4,
    expect.stringMatching(/: the store has taken no request for \d+ s$/m),
  ]);
  expect(stdout).toContain("check the network, the endpoint and the store");
  expect(performance.now() - beganMs).toBeLessThan(8_000);
  await watch.signalUntilEnd("SIGTERM");
});

test("every database notices the end of an outage within seconds, whatever its cooldown", async () => {
  const server = await S3Server.start();
  const gate = await Gate.to(server.url);
  cleanups.push(
    () => server.stop(),
    () => gate.shut(),
  );
  const paths = databases(5);
  const options = ["--circuit-breaker-threshold", "1", "--max-retries", "0"];
  const words = [...paths, "-b", "s3://bucket/vm", "--endpoint", gate.url, ...options];
  const watch = await WatchProcess.start(words, { env: KEYS });
  const connections = paths.map((path) => new Database(path));
  cleanups.push(() => {
    for (const connection of connections) connection.close();
  });
  const names = paths.map((_, index) => `db${index}`);
  const isEachIn = (seen: readonly { readonly database: string }[]): boolean =>
    names.every((name) => seen.some(({ database }) => database === name));
  await watch.waitFor("the first uploads", () => isEachIn(watch.uploads()));

  await gate.shut();
  for (const connection of connections) commitRow(connection, 1, 1);
  await watch.waitFor("five open circuits", () => isEachIn(watch.eventsOf("circuit-open")));
  const before = watch.uploads().length;
  await gate.open();
  const openedMs = performance.now();
  await watch.waitFor("all uploads", () => isEachIn(watch.uploads().slice(before)));
  expect(performance.now() - openedMs).toBeLessThan(15_000);
  expect(await watch.stop()).toBe(0);
});

test("a start while the store is away shows nothing as uploaded before the bucket answers", async () => {
  const server = await S3Server.start();
  const gate = await Gate.to(server.url);
  cleanups.push(
    () => server.stop(),
    () => gate.shut(),
  );
  const [path = ""] = databases(1);
  const options = ["-b", "s3://bucket/vm", "--endpoint", gate.url, "--max-retries", "0"];
  const first = await WatchProcess.start([path, ...options], { env: KEYS });
  await first.waitForTxid(1);
  await gate.shut();
  const connection = new Database(path);
  cleanups.push(() => connection.close());
  commitRow(connection, 1, 1);
  await first.waitFor("the failure", () => first.eventsOf("failed").length > 0);
  await first.kill();
  // As after a power cut: the state names a capture, and the captured file is not there.
  const spool = join(dirname(path), `.${basename(path)}-walrust`, "ltx");
  for (const name of readdirSync(spool)) rmSync(join(spool, name), { recursive: true });

  const second = await WatchProcess.start([path, ...options], { env: KEYS });
  await second.waitFor("its start", () => second.eventsOf("watching").length > 0);
  await second.waitFor("the condition", () => second.eventsOf("condition").length > 0);
  const run = await runWalrust(["status", "db0", ...options.slice(0, 4), "--json"], { env: KEYS });
  const [watch] = documentOf<{ watches: { databases: object[] }[] }>(run).watches;
  expect(watch!.databases[0]).toMatchObject({ txid: 2, uploaded_txid: null, health: "degraded" });
  expect(watch!.databases[0]).toMatchObject({ conditions: [{ code: "bucket-unchecked" }] });
  expect(run.exitCode).toBe(1);
  await gate.open();
  await second.waitFor("the lost commit", () => second.uploads().length > 0);
  await second.waitFor("the end", () => second.eventsOf("condition").length > 1);
  expect(await second.stop()).toBe(0);
});
