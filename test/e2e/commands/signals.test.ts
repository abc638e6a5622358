/**
 * A signal ends a verb with the signal's exit code, and an uncaught error ends a verb with 1. Neither leaves
 * a file behind.
 */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip, failureDocument, toldFailure } from "../../support/oracles/run-checks.ts";
import {
  cleanEnvironment,
  collect,
  mustWalrust,
  type Run,
  spawnWalrust,
  untilTestEnds,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());

/** The server as a destination. */
function onServer(): { words: readonly string[]; env: Record<string, string> } {
  const { accessKeyId, secretAccessKey } = server.options;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  return { words: ["-b", "s3://bucket/vm", "--endpoint", server.url], env };
}

test.each(["SIGINT", "SIGTERM", "SIGHUP"] as const)("watch ends with 0 after %s", async (signal) => {
  const path = join(tempFolder("end"), "app.db");
  createAppDatabase(path);
  const watch = await WatchProcess.start([path, ...fileDestination().words, "--no-metrics"]);
  await watch.waitForUploads(1);
  watch.signal(signal);
  expect(await watch.exit()).toBe(0);
  expect(watch.stderr).not.toContain("walrust:");
});

test("watch ends with 0 when two signals come together, as from a terminal and from npm", async () => {
  const path = join(tempFolder("twice"), "app.db");
  createAppDatabase(path);
  const watch = await WatchProcess.start([path, ...fileDestination().words, "--no-metrics"]);
  await watch.waitForUploads(1);
  watch.signal("SIGINT");
  watch.signal("SIGTERM");
  expect(await watch.exit()).toBe(0);
  expect(watch.stderr).not.toContain("walrust:");
});

test("watch under nohup continues when its terminal closes", async () => {
  const folder = tempFolder("nohup");
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const destination = fileDestination();
  const words = [await walrustBinary(), "watch", path, ...destination.words, "--no-metrics"];
  const child = untilTestEnds(
    Bun.spawn(["nohup", ...words], { env: cleanEnvironment(), stdio: ["ignore", "ignore", "ignore"] }),
  );
  await eventually("the first upload", async () => (await destination.objects("app")).length > 0);
  child.kill("SIGHUP");
  const connection = new Database(path);
  connection.run("INSERT INTO counter VALUES (1, 1)");
  connection.close(true);
  await eventually("another upload", async () => (await destination.objects("app")).length > 1);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
});

test.each([
  ["SIGINT", 130],
  ["SIGTERM", 143],
  ["SIGHUP", 129],
] as const)(
  "watch ends with the signal's exit code after a second %s, and reports it",
  async (signal, code) => {
    server.reset();
    const path = join(tempFolder("stuck"), "app.db");
    createAppDatabase(path);
    const { words, env } = onServer();
    const watch = await WatchProcess.start([path, ...words, "--no-metrics"], { env });
    await watch.waitForUploads(1);
    server.inject({ kind: "put", when: "before", answer: "hang", count: 1_000 });
    const connection = new Database(path);
    connection.run("INSERT INTO counter VALUES (1, 1)");
    connection.close(true);
    await watch.signalUntilEnd(signal);
    expect(await watch.exit()).toBe(code);
    const run: Run = {
      exitCode: code,
      stdout: `${JSON.stringify(watch.events.at(-1))}\n`,
      stderr: watch.stderr,
    };
    expect(failureDocument(run)).toMatchObject({ code: "interrupted", exit: code });
    expect(toldFailure(run)).toMatchObject({
      message: `Stopped at once by a second ${signal}`,
      hint: expect.stringContaining("nothing is lost"),
    });
  },
);

test.each([
  ["restore", "get"],
  ["verify", "get"],
  ["list", "list"],
] as const)("%s reports the signal that stopped it, and leaves nothing", async (verb, kind) => {
  server.reset();
  const folder = tempFolder("stopped");
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const { words, env } = onServer();
  await mustWalrust(["snapshot", path, ...words], { env });
  const before = readdirSync(folder);
  server.inject({ kind, when: "before", answer: "hang", count: 1_000 });
  const own = { restore: ["app", "-o", join(folder, "restored.db")], verify: ["app"], list: [] };
  const asked = server.count(kind);
  const child = await spawnWalrust([verb, ...own[verb], ...words, "--json"], { env });
  const ended = collect(child, verb);
  await waitUntil(() => server.count(kind) > asked);
  child.kill("SIGTERM");
  const run = await ended;
  assertNoSlip(run);
  expect(run.exitCode).toBe(143);
  expect(toldFailure(run).message).toMatch(/^Stopped by SIGTERM/);
  expect(failureDocument(run)).toMatchObject({ code: "interrupted", exit: 143 });
  expect(readdirSync(folder)).toEqual(before);
});

/** Code that runs beside the program's source. Nothing catches its errors. */
const FAULTS = [
  ["an error in a timer", 'setTimeout(() => { throw new TypeError("boom"); });'],
  ["a rejection", 'void Promise.reject(new TypeError("boom"));'],
] as const;

test.each(FAULTS)("an uncaught %s is reported as an internal error", async (_what, code) => {
  const folder = tempFolder("fault");
  createAppDatabase(join(folder, "app.db"));
  writeFileSync(join(folder, "fault.ts"), code);
  const main = join(import.meta.dir, "../../../src/main.ts");
  for (const trace of ["", "1"]) {
    const call = ["watch", "app.db", "-b", `file://${folder}/bucket`, "--no-metrics", "--json"];
    // The entry imports the program first, so the program installs its handlers before the fault.
    const entry = join(folder, "entry.ts");
    writeFileSync(
      entry,
      `import ${JSON.stringify(join(folder, "fault.ts"))};\nimport ${JSON.stringify(main)};\n`,
    );
    const child = Bun.spawn([process.execPath, entry, ...call], {
      cwd: folder,
      env: cleanEnvironment({ WALRUST_TRACE: trace }),
      stdio: ["ignore", "pipe", "pipe"],
    });
    const run = await collect(child, "a fault");
    expect(run.exitCode).toBe(1);
    expect(run.stderr).toContain("walrust: boom\n  This is a bug in walrust;");
    expect(run.stderr.includes("fault.ts:1")).toBe(trace === "1");
    expect(failureDocument(run, true)).toMatchObject({ code: "internal", exit: 1, message: "boom" });
  }
});
