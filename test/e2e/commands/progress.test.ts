/**
 * Progress of the built executable while a store does not answer: on a terminal, as JSON, and for a person
 * who wants no escape codes. The result on stdout stays one document.
 */
import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, rmSync } from "node:fs";
import { type AddressInfo, connect, createServer, type Server } from "node:net";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import {
  cleanEnvironment,
  mustWalrust,
  spawnWalrust,
  untilTestEnds,
  type Variables,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

let server: S3Server;
let front: Server;
/** Answers of the store wait until this resolves. */
let held: Promise<void> = Promise.resolve();
let release = (): void => {};
let there: readonly string[];
let env: Variables;
const folder = tempFolder("progress");
const database = join(folder, "app.db");
const output = join(folder, "restored.db");

/** Holds the answers of the store from now on. */
function hold(): void {
  ({ promise: held, resolve: release } = Promise.withResolvers<void>());
}

beforeAll(async () => {
  server = await S3Server.start();
  const { port } = new URL(server.url);
  front = createServer((client) => {
    const store = connect(Number(port), "127.0.0.1");
    client.pipe(store);
    store.on("data", (bytes) => void held.then(() => client.write(bytes)));
    for (const [end, other] of [
      [client, store],
      [store, client],
    ] as const) {
      end.on("error", () => other.destroy());
      end.on("close", () => void held.then(() => other.destroy()));
    }
  });
  await new Promise<void>((resolve) => front.listen(0, "127.0.0.1", resolve));
  const { accessKeyId, secretAccessKey } = server.options;
  env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  const endpoint = `http://127.0.0.1:${(front.address() as AddressInfo).port}`;
  there = ["-b", "s3://bucket/vm", "--endpoint", endpoint];
  createAppDatabase(database);
  await mustWalrust(["snapshot", database, ...there], { env });
});
afterEach(() => {
  release();
  rmSync(output, { force: true });
});
afterAll(() => {
  front.close();
  return server.stop();
});

/** Runs on a terminal of this width; the store answers as soon as the output has this text. */
async function onTerminal(
  words: readonly string[],
  { until, columns, variables = {} }: { until: RegExp; columns: number; variables?: Variables },
): Promise<{ exitCode: number; output: string }> {
  const decoder = new TextDecoder();
  let shown = "";
  hold();
  const child = untilTestEnds(
    Bun.spawn([await walrustBinary(), ...words], {
      cwd: folder,
      env: cleanEnvironment({ ...env, TERM: "xterm", ...variables }),
      terminal: {
        cols: columns,
        rows: 30,
        data: (_terminal, bytes) => {
          shown += decoder.decode(bytes, { stream: true });
        },
      },
    }),
  );
  await waitUntil(() => until.test(shown), 30_000);
  release();
  const exitCode = await child.exited;
  child.terminal?.close();
  return { exitCode, output: shown };
}

const RESTORE = (): string[] => ["restore", "app", "-o", output, ...there];

test.each([
  ["restore", RESTORE, "restoring app"],
  ["restore --all", () => ["restore", "--all", "--into", join(folder, "all"), ...there], "restoring"],
  ["verify", () => ["verify", "app", ...there], "verifying app"],
  ["compact", () => ["compact", "app", "--force", ...there], "compacting app"],
  ["verify --all", () => ["verify", "--all", ...there], "verifying"],
  ["compact --all", () => ["compact", "--all", "--force", ...there], "compacting"],
] as const)("%s shows a bar on a terminal, no wider than it, and removes it", async (_, words, label) => {
  for (const columns of [100, 24]) {
    rmSync(output, { force: true });
    rmSync(join(folder, "all"), { recursive: true, force: true });
    const run = await onTerminal(words(), { until: new RegExp(label), columns });
    expect(run.exitCode).toBe(0);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: escape codes are what is looked for
    const bars = run.output.split(/\r\x1b\[K/).filter((text) => text.startsWith(label) && !/\n/.test(text));
    expect(bars.length).toBeGreaterThan(0);
    for (const bar of bars) expect([bar, Bun.stringWidth(bar) < columns]).toEqual([bar, true]);
    // The bar is cleared before the result.
    expect(run.output.lastIndexOf("\r\x1b[K")).toBeGreaterThan(run.output.lastIndexOf(bars.at(-1)!));
  }
});

test("watch shows a bar at its start until the first copies are uploaded", async () => {
  const other = join(folder, "other.db");
  createAppDatabase(other);
  const words = ["watch", other, ...there, "--no-metrics"];
  const decoder = new TextDecoder();
  let shown = "";
  hold();
  const child = untilTestEnds(
    Bun.spawn([await walrustBinary(), ...words], {
      cwd: folder,
      env: cleanEnvironment({ ...env, TERM: "xterm" }),
      terminal: {
        cols: 120,
        rows: 30,
        data: (_terminal, bytes) => {
          shown += decoder.decode(bytes, { stream: true });
        },
      },
    }),
  );
  await waitUntil(() => /starting other .* read, .* sent/.test(shown), 30_000);
  release();
  await waitUntil(() => [...server.objects.keys()].some((key) => key.includes("/other/0009/")), 30_000);
  await waitUntil(() => shown.includes("uploaded"), 30_000);
  const length = shown.length;
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
  child.terminal?.close();
  expect(shown.slice(length)).not.toContain("starting other");
});

test("with TERM=dumb, a line of the log every 10 s takes the place of the bar", async () => {
  const until = /restoring app: 0 B read, 0 B\/s/;
  const run = await onTerminal(RESTORE(), { until, columns: 80, variables: { TERM: "dumb" } });
  expect([run.exitCode, existsSync(output)]).toEqual([0, true]);
  expect(run.output).not.toContain("\x1b");
});

test("--json --progress writes lines of JSON on stderr, and one document on stdout", async () => {
  hold();
  const child = await spawnWalrust([...RESTORE(), "--json", "--progress"], { env });
  let stderr = "";
  const reading = (async () => {
    for await (const text of child.stderr.pipeThrough(new TextDecoderStream())) stderr += text;
  })();
  await waitUntil(() => stderr.split("\n").length > 2, 30_000);
  release();
  const [exitCode, stdout] = await Promise.all([child.exited, child.stdout.text(), reading]);
  expect([exitCode, JSON.parse(stdout).restored]).toEqual([0, true]);
  const lines = stderr
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  expect(lines.length).toBeGreaterThanOrEqual(2);
  for (const line of lines) {
    expect(line).toMatchObject({ progress: "restore", database: "app", counted: "read" });
    expect(line.elapsed_ms).toBeGreaterThanOrEqual(900);
  }
});

test("short work shows nothing, on a terminal and on a pipe", async () => {
  const run = await mustWalrust(RESTORE(), { env });
  expect(run.stderr).toBe("");
  rmSync(output, { force: true });
  const json = await mustWalrust([...RESTORE(), "--json", "--progress"], { env });
  expect(json.stderr).toBe("");
});
