/** Calls that end by themselves, with the real walrust: results, failures, refused options and signals. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PATIENCE_OPTIONS } from "../../src/config/settings/options.ts";
import { type ChildOptions, runToEnd } from "../../src/library/child-call.ts";
import { failureOf } from "../support/failure-of.ts";
import { gatheredLog } from "../support/library/fake-walrust.ts";
import { waitUntil } from "../support/processes/sqlite-process.ts";
import { tempFolder } from "../support/temp.ts";

const folder = tempFolder("call");
const BUCKET = `file://${folder}`;
const LIST = { verb: "list", positionals: [], flags: PATIENCE_OPTIONS, named: ["name"] };

const listed = (options: ChildOptions & { readonly timeoutMs?: unknown; readonly name?: string }) =>
  runToEnd(LIST, options);

test("runToEnd returns the document of the verb", async () => {
  expect(await listed({ bucket: BUCKET })).toEqual({ destination: BUCKET, databases: [] });
});

test("runToEnd throws the error of the verb", async () => {
  const error = await failureOf(listed({ bucket: "ftp://x" }));
  expect([error.code, error.exitCode]).toEqual(["config", 2]);
  expect(error.message).toContain("ftp://x");
});

test("runToEnd takes a positional for what it is, whatever it begins with", async () => {
  const call = { ...LIST, positionals: ["--help"] };
  expect((await failureOf(runToEnd(call, { bucket: BUCKET }))).code).toBe("restore");
});

test("runToEnd takes all settings from a file, and none beside it", async () => {
  const config = join(folder, "other.toml");
  writeFileSync(config, `[s3]\nbucket = "${BUCKET}"\n`);
  expect(await listed({ config })).toEqual({ destination: BUCKET, databases: [] });
  const error = await failureOf(listed({ config, sync: { maxChanges: 1 } }));
  expect([error.code, error.message]).toEqual(["usage", "config and sync are both given"]);
});

test("runToEnd reads no walrust.toml by itself, and no bunfig.toml or .env of the application", async () => {
  const cwd = tempFolder("cwd");
  writeFileSync(join(cwd, "walrust.toml"), "no toml");
  writeFileSync(join(cwd, "bunfig.toml"), 'preload = ["./preload.ts"]');
  writeFileSync(join(cwd, "preload.ts"), `require("node:fs").writeFileSync("preloaded", "");`);
  writeFileSync(join(cwd, ".env"), "AWS_ENDPOINT_URL_S3=no-url");
  const database = new Database(join(cwd, "app.db"));
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (x)");
  const index = join(import.meta.dir, "../../src/index.ts");
  const program = `
    const { restore, snapshot } = await import(${JSON.stringify(index)});
    await snapshot({ bucket: ${JSON.stringify(BUCKET)}, database: "app.db" });
    // A restore has a child of its own, which checks the file.
    await restore({ bucket: ${JSON.stringify(BUCKET)}, name: "app", output: "restored.db" });`;
  const words = ["--no-env-file", "--config=/dev/null", "-e", program];
  const child = Bun.spawn([process.execPath, ...words], { cwd, stdio: ["ignore", "inherit", "inherit"] });
  expect(await child.exited).toBe(0);
  expect(existsSync(join(cwd, "preloaded"))).toBe(false);
});

test("runToEnd checks options before it starts a process", async () => {
  const executable = "/no/such/program";
  expect((await failureOf(listed({ bucket: BUCKET, executable, timeoutMs: "1s" }))).message).toStartWith(
    "timeoutMs",
  );
  const unknown = { bucket: BUCKET, executable, bukket: "" };
  expect((await failureOf(listed(unknown))).message).toBe("Unknown option bukket");
  const level = { bucket: BUCKET, executable, logLevel: "loud" } as unknown as ChildOptions;
  expect((await failureOf(listed(level))).message).toStartWith('logLevel is "loud"');
});

test("runToEnd gives the log to the application, at its level", async () => {
  const { entries, onLog } = gatheredLog();
  const environment = { ...process.env, NODE_TLS_REJECT_UNAUTHORIZED: "0" };
  await listed({ bucket: BUCKET, environment, onLog });
  expect(entries).toMatchObject([{ level: "warn", message: expect.stringContaining("NODE_TLS_REJECT") }]);
  entries.length = 0;
  await listed({ bucket: BUCKET, environment, onLog, logLevel: "error" });
  expect(entries).toEqual([]);
});

test("runToEnd rejects with the reason of the signal, after the child has ended", async () => {
  const reason = new Error("enough");
  const never = listed({ bucket: BUCKET, executable: "/no/program", signal: AbortSignal.abort(reason) });
  expect(await never.catch((error: unknown) => error)).toBe(reason);
  const server = Bun.serve({ port: 0, fetch: () => new Promise<Response>(() => {}) });
  const stop = new AbortController();
  const call = listed({
    bucket: "s3://bucket",
    endpoint: server.url.href,
    accessKeyId: "k",
    secretAccessKey: "s",
    signal: stop.signal,
  });
  await waitUntil(() => server.pendingRequests > 0);
  stop.abort(reason);
  expect(await call.catch((error: unknown) => error)).toBe(reason);
  await server.stop(true);
});
