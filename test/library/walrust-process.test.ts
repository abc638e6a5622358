/** The child process of a call: its words, environment, configuration, lines, log and end. */
import { expect, test } from "bun:test";
import { WalrustProcess } from "../../src/library/walrust-process.ts";
import { failureOf } from "../support/failure-of.ts";
import { fakeWalrust, gatheredLog } from "../support/library/fake-walrust.ts";

test("WalrustProcess hands over words, configuration and environment", async () => {
  const environment = { ONE: "1", NOTIFY_SOCKET: "/run/notify", WATCHDOG_USEC: "5", LISTEN_FDS: "3" };
  const configuration = `bucket = "é\\n"\n${"x".repeat(200_000)}`;
  const child = fakeWalrust("say({ words: process.argv.slice(1), configuration, env: process.env });", {
    words: ["list", "--json"],
    configuration,
    environment,
  });
  const { value } = await child.lines().next();
  const seen = JSON.parse(String(value)) as Record<string, unknown>;
  expect(seen["words"]).toEqual(["__owned-by", String(process.pid), "list", "--json"]);
  expect(seen["configuration"]).toBe(configuration);
  expect(seen["env"]).toMatchObject({ ONE: "1" });
  for (const name of ["NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS"])
    expect(seen["env"]).not.toHaveProperty(name);
  child.stop();
  expect(await child.ended()).toMatchObject({ exitCode: 0, signal: null });
});

test("WalrustProcess stops the child by the end of its input", async () => {
  const child = fakeWalrust('say("ready"); await end; say("stopped"); process.exit(3);');
  const lines = child.lines();
  expect((await lines.next()).value).toBe('"ready"');
  child.stop();
  child.stop();
  expect((await lines.next()).value).toBe('"stopped"');
  expect(await child.ended()).toMatchObject({ exitCode: 3, signal: null });
});

test("WalrustProcess reports a signal as the end", async () => {
  const child = fakeWalrust('say("ready"); await end;');
  await child.lines().next();
  child.kill();
  expect(await child.ended()).toMatchObject({ exitCode: null, signal: "SIGKILL" });
});

test("WalrustProcess parses the log, and keeps its last warnings and errors", async () => {
  const { entries, onLog } = gatheredLog();
  const program = `
    for (let n = 1; n <= 7; n++) {
      log(JSON.stringify({ time: "t", level: "warn", message: "warning " + n, n }));
    }
    log(JSON.stringify({ time: "t", level: "info", message: "an info" }));
    log("panic: no JSON");
    process.exit(1);`;
  const child = fakeWalrust(program, { onLog });
  const { lastLog } = await child.ended();
  expect(entries).toHaveLength(9);
  expect(entries[0]).toEqual({ time: "t", level: "warn", message: "warning 1", n: 1 });
  expect(entries[8]).toMatchObject({ level: "error", message: "panic: no JSON" });
  expect(lastLog).toEqual(["warning 4", "warning 5", "warning 6", "warning 7", "panic: no JSON"]);
});

test("WalrustProcess tells progress from the log", async () => {
  const seen: unknown[] = [];
  const program = `
    log(JSON.stringify({ progress: "restore", done_bytes: 1 }));
    log(JSON.stringify({ progress: "restore", done_bytes: 2 }));
    log(JSON.stringify({ time: "t", level: "warn", message: "a warning", progress: "a fact" }));
    process.exit(0);`;
  const { entries, onLog } = gatheredLog();
  const child = fakeWalrust(program, {
    onLog,
    onProgress: (progress) => void seen.push(progress.done_bytes),
  });
  expect((await child.ended()).lastLog).toEqual(["a warning"]);
  expect(seen).toEqual([1, 2]);
  expect(entries.map(({ message }) => message)).toEqual(["a warning"]);
});

test("WalrustProcess survives a child that ends before it reads its configuration", async () => {
  const configuration = "x".repeat(4 << 20);
  const executable = [process.execPath, "-e", "process.exit(9)"];
  const child = new WalrustProcess({
    executable,
    words: [],
    configuration,
    environment: {},
    onLog: () => {},
  });
  expect(await child.ended()).toMatchObject({ exitCode: 9 });
  child.stop();
});

test("WalrustProcess names an executable that cannot be started", async () => {
  const start = { words: [], configuration: "", environment: {}, onLog: () => {} };
  const error = await failureOf(
    (async () => new WalrustProcess({ ...start, executable: ["/no/walrust"] }))(),
  );
  expect(error.code).toBe("usage");
  expect(error.message).toStartWith("Cannot start /no/walrust: ");
});
