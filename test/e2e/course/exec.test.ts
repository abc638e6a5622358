/** `walrust watch --exec`: an application that starts, gets its signals and ends with its backup. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { ExecRun } from "../../support/course/exec-run.ts";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let server: S3Server;

beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());

async function expectRestored(run: ExecRun): Promise<void> {
  const restored = join(run.folder, "restored.db");
  await mustWalrust(["restore", "app", "-o", restored, ...run.destination.words]);
  checkpoint(run.path);
  assertSameBytes(restored, run.path);
}

test("the application starts when its database is captured, and its last commit is uploaded", async () => {
  const run = new ExecRun();
  createAppDatabase(run.path);
  const watch = await run.watch();
  await run.wrote("ready");
  const [watching] = watch.eventsOf("watching");
  expect(Date.parse(watching!.at)).toBeLessThanOrEqual(run.timeOf("ready"));
  watch.signal("SIGTERM");
  expect(await watch.exit()).toBe(7);
  expect(run.lines.at(-1)).toBe("SIGTERM");
  expect(watch.stderr).not.toContain("walrust:");
  await expectRestored(run);
});

test.each([
  [["exit", "0"], 0],
  [["exit", "3"], 3],
] as const)("watch ends with the exit code of an application that does %j", async (action, exitCode) => {
  const run = new ExecRun();
  const watch = await run.watch(action);
  expect(await watch.exit()).toBe(exitCode);
  await expectRestored(run);
});

test("an application that a signal ends gives 128 plus the number of the signal", async () => {
  const run = new ExecRun();
  const exec = `sh -c 'kill -KILL $$'`;
  createAppDatabase(run.path);
  const words = [run.path, ...run.destination.words, "--no-metrics", "--exec", exec];
  expect((await runWalrust(["watch", ...words])).exitCode).toBe(137);
});

test("signals are passed on while the application runs, one by one", async () => {
  const run = new ExecRun();
  const watch = await run.watch();
  await run.wrote("ready");
  for (const name of ["SIGUSR1", "SIGUSR2", "SIGQUIT", "SIGHUP"] as const) {
    process.kill(watch.pid, name);
    await run.wrote(name);
  }
  watch.signal("SIGINT");
  expect(await watch.exit()).toBe(8);
  await expectRestored(run);
});

test("the application gets neither the heap of walrust nor its service manager", async () => {
  const run = new ExecRun();
  const env = { NOTIFY_SOCKET: "/nowhere", WATCHDOG_USEC: "1000000", KEPT: "yes" };
  const watch = await run.watch(["exit", "0"], [], { env });
  expect(await watch.exit()).toBe(0);
  const variables = run.lines.find((line) => line.startsWith("variables")) ?? "";
  expect(variables).toContain(" KEPT ");
  expect(variables).not.toMatch(/NOTIFY_SOCKET|WATCHDOG|BUN_JSC/);
});

test("SIGTERM before the start ends the watch with 0, and no application starts", async () => {
  server.reset();
  const run = new ExecRun();
  createAppDatabase(run.path);
  server.inject({ kind: "list", when: "before", answer: "hang", count: 1e6 });
  const { accessKeyId, secretAccessKey } = server.options;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const words = [run.path, "-b", "s3://bucket/vm", "--endpoint", server.url, "--exec", run.command()];
  const watch = await WatchProcess.start(words, { env });
  await eventually("the first request", async () => server.count("list") > 0);
  watch.signal("SIGTERM");
  expect([await watch.exit(), run.lines]).toEqual([0, []]);
});

test("nothing starts when no database can be watched, or the command cannot be run", async () => {
  const run = new ExecRun();
  const app = await SqliteProcess.open(run.path);
  await app.must("PRAGMA journal_mode = DELETE", "CREATE TABLE t(v)");
  await app.close();
  const started = join(run.folder, "started");
  const call = ["watch", run.path, ...run.destination.words, "--no-metrics", "--exec"];
  for (const [command, exitCode, message] of [
    [`touch ${started}`, 3, "PRAGMA journal_mode"],
    ["no-such-program", 2, "The program of --exec is not found: no-such-program"],
    [`touch ${started} | cat`, 2, "only a shell can carry out"],
  ] as const) {
    const { exitCode: found, stderr } = await runWalrust([...call, command]);
    expect([found, stderr]).toEqual([exitCode, expect.stringContaining(message)]);
  }
  expect(existsSync(started)).toBe(false);
});

test("an application whose walrust is killed gets SIGTERM", async () => {
  const run = new ExecRun();
  const watch = await run.watch();
  await run.wrote("ready");
  await watch.kill();
  await run.wrote("SIGTERM");
});

test("a file that is no program ends the watch with 126", async () => {
  const run = new ExecRun();
  createAppDatabase(run.path);
  const script = join(tempFolder("script"), "script");
  await Bun.write(script, "echo no first line");
  await Bun.$`chmod +x ${script}`;
  const call = ["watch", run.path, ...run.destination.words, "--no-metrics", "--exec", script];
  const { exitCode, stderr } = await runWalrust(call);
  expect([exitCode, stderr]).toEqual([126, expect.stringContaining("Cannot start")]);
});

const NAMESPACE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"];
const canUnshare = Bun.which("unshare") !== null && Bun.spawnSync([...NAMESPACE, "true"]).success;

test.skipIf(!canUnshare)(
  "as process 1, walrust waits for the orphans of its application",
  async () => {
    const run = new ExecRun();
    const watch = await run.watch(["orphan"], [], { by: NAMESPACE });
    await run.wrote("zombie");
    await run.wrote("reaped");
    expect(watch.stderr).toContain("process");
    await watch.kill();
  },
  60_000,
);
