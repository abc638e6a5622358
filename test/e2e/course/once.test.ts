/** `walrust watch --once`: everything committed is in the bucket when it ends with 0. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());

/** A database with a row, open in an application. */
async function newApp(path: string, mode = "WAL"): Promise<SqliteProcess> {
  const app = await SqliteProcess.open(path);
  await app.must(`PRAGMA journal_mode = ${mode}`, "CREATE TABLE t(v)", "INSERT INTO t VALUES ('first')");
  return app;
}

async function expectRestored(path: string, name: string, words: readonly string[]): Promise<void> {
  const restored = join(tempFolder("once"), "restored.db");
  await mustWalrust(["restore", name, "-o", restored, ...words]);
  checkpoint(path);
  assertSameBytes(restored, path);
}

test("--once uploads the databases with all their commits, run by run, and ends with 0", async () => {
  const folder = tempFolder("once");
  const paths = ["a", "b"].map((name) => join(folder, `${name}.db`));
  const apps = await Promise.all(paths.map((path) => newApp(path)));
  const { words } = fileDestination();
  const call = ["watch", ...paths, ...words, "--once", "--no-metrics"];
  const first = await runWalrust(call);
  expect([first.exitCode, first.stdout]).toEqual([0, ""]);
  for (const app of apps) await app.must("INSERT INTO t VALUES (randomblob(20000))");
  const second = await runWalrust([...call, "--json"]);
  const events = second.stdout.trimEnd().split("\n");
  const uploads = events.map((line) => JSON.parse(line)).filter(({ event }) => event === "uploaded");
  expect(second.exitCode).toBe(0);
  expect(uploads.map(({ database, kind }) => [database, kind]).sort()).toEqual([
    ["a", "increment"],
    ["b", "increment"],
  ]);
  // A run without anything to do ends as well.
  expect((await runWalrust(call)).exitCode).toBe(0);
  await Promise.all(apps.map((app) => app.close()));
  await expectRestored(paths[0]!, "a", words);
  await expectRestored(paths[1]!, "b", words);
});

test("--once ends with 4 when the store refuses, and the next run uploads what waited", async () => {
  server.reset();
  const path = join(tempFolder("once"), "app.db");
  const app = await newApp(path);
  await app.close();
  const { accessKeyId, secretAccessKey } = server.options;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const call = ["watch", path, "-b", "s3://bucket/vm", "--endpoint", server.url, "--once", "--no-metrics"];
  const quick = ["--max-retries", "1", "--base-delay-ms", "10"];
  server.inject({ kind: "put", when: "before", answer: { status: 500, code: "InternalError" }, count: 1e6 });
  const refused = await runWalrust([...call, ...quick], { env });
  expect([refused.exitCode, server.objects.size]).toEqual([4, 0]);
  server.clearFaults();
  expect((await runWalrust(call, { env })).exitCode).toBe(0);
  expect([...server.objects.keys()].some((key) => key.includes("/0009/"))).toBe(true);
});

test("--once ends with 3 for a database in rollback mode, and uploads the other", async () => {
  const folder = tempFolder("once");
  const paths = ["bad", "good"].map((name) => join(folder, `${name}.db`));
  const bad = await newApp(paths[0]!, "DELETE");
  const good = await newApp(paths[1]!);
  await Promise.all([bad.close(), good.close()]);
  for (const words of [paths, [join(folder, "*.db")]]) {
    const destination = fileDestination();
    const run = await runWalrust(["watch", ...words, ...destination.words, "--once", "--no-metrics"]);
    expect(run.exitCode).toBe(3);
    expect(run.stderr).toContain("PRAGMA journal_mode");
    expect(await destination.objects("good")).not.toEqual([]);
  }
});

test("--once and --exec are not accepted together", async () => {
  const run = await runWalrust(["watch", "app.db", "-b", "file:///nowhere", "--once", "--exec", "true"]);
  expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining("--once and --exec")]);
});
