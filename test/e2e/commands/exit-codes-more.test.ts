/**
 * Exit codes that take more than a call: the end of a watch, signals, a history to compact, a reader that is
 * slow or a disk that is full. And words of every kind: whatever is typed ends in one clear line.
 */
import { Database } from "bun:sqlite";
import { afterAll, beforeAll, expect, test } from "bun:test";
import {
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { recordHistory } from "../../support/histories/history.ts";
import { assertNoSlip, failureDocument, toldFailure } from "../../support/oracles/run-checks.ts";
import {
  cleanEnvironment,
  collect,
  mustWalrust,
  type Run,
  runWalrust,
  spawnWalrust,
  untilTestEnds,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

const VERBS = [
  ...["watch", "snapshot", "restore", "list", "verify"],
  ...["compact", "prune", "replicate", "explain", "pragma"],
];

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

/** Runs the executable from a shell, which redirects its output. */
async function runInShell(command: string, words: readonly string[]): Promise<Run> {
  const child = Bun.spawn(["bash", "-c", command, "bash", await walrustBinary(), ...words], {
    env: cleanEnvironment(),
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
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

test("watch under nohup goes on when its terminal is closed", async () => {
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
] as const)("watch ends with its number after a second %s, and says so", async (signal, code) => {
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
});

test.each([
  ["restore", "get"],
  ["verify", "get"],
  ["list", "list"],
] as const)("%s that is stopped by one signal says so, and leaves nothing", async (verb, kind) => {
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

/** Code that runs before the program, from source: what goes wrong in it is caught by nobody. */
const FAULTS = [
  ["an error in a timer", 'setTimeout(() => { throw new TypeError("boom"); });'],
  ["a rejection", 'void Promise.reject(new TypeError("boom"));'],
] as const;

test.each(FAULTS)("%s that nobody catches is told as an internal error", async (_what, code) => {
  const folder = tempFolder("fault");
  createAppDatabase(join(folder, "app.db"));
  writeFileSync(join(folder, "fault.ts"), code);
  const main = join(import.meta.dir, "../../../src/main.ts");
  for (const trace of ["", "1"]) {
    const call = ["watch", "app.db", "-b", `file://${folder}/bucket`, "--no-metrics", "--json"];
    // Imported by the fault's file, the program has its handlers before anything goes wrong.
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
    expect(run.stderr).toContain("walrust: boom\n  This is a fault of walrust.");
    expect(run.stderr.includes("fault.ts:1")).toBe(trace === "1");
    expect(failureDocument(run, true)).toMatchObject({ code: "internal", exit: 1, message: "boom" });
  }
});

test("compact ends with 5 when an object that it has to merge is damaged", async () => {
  const destination = fileDestination();
  await recordHistory(destination);
  const config = join(tempFolder("compact"), "walrust.toml");
  writeFileSync(config, '[compaction]\nlevels = ["1s"]\npreserve_recent = 1\n');
  const folder = join(destination.folder, "app", "ltx", "0");
  const objects = readdirSync(folder).filter((name) => name.endsWith(".ltx"));
  for (const name of objects.slice(0, -1)) {
    const bytes = readFileSync(join(folder, name));
    bytes[bytes.length >> 1]! ^= 0xff;
    writeFileSync(join(folder, name), bytes);
  }
  const words = ["compact", "app", "--force", "--config", config, ...destination.words];
  for (const flags of [[], ["--json"]]) {
    const run = await runWalrust([...words, ...flags]);
    assertNoSlip(run);
    expect(run.exitCode).toBe(5);
    expect(toldFailure(run).message).toMatch(/0000000000000002-[0-9a-f]{16}\.ltx.*SHA-256/);
    if (flags.length > 0) expect(failureDocument(run)).toMatchObject({ code: "integrity", exit: 5 });
  }
  expect(readdirSync(folder).filter((name) => name.endsWith(".ltx"))).toEqual(objects);
});

test("a result that cannot be written ends with 1, whatever the verb did", async () => {
  for (const words of [["pragma"], ["pragma", "--json"], ["--version"], ["list", "--help"]]) {
    const run = await runInShell('"$@" > /dev/full', words);
    assertNoSlip(run);
    expect([words, run.exitCode]).toEqual([words, 1]);
    expect(toldFailure(run)).toMatchObject({ message: "Cannot write to stdout: ENOSPC" });
  }
});

test("a reader who has had enough is no failure", async () => {
  const run = await runInShell('"$@" | head -c 5; exit $' + "{PIPESTATUS[0]}", ["pragma"]);
  expect([run.exitCode, run.stdout.length, run.stderr]).toEqual([0, 5, ""]);
});

test("a document of more than a pipe holds is written whole to a slow reader", async () => {
  const folder = tempFolder("long");
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const databases = Array.from({ length: 120 }, (_, index) => join(folder, `some-tenant-${index}.db`));
  for (const copy of databases) writeFileSync(copy, readFileSync(path));
  const words = ["explain", ...databases, "-b", `file://${folder}/bucket`, "--json"];
  const { exitCode, stdout } = await runInShell('"$@" | { read -t 0.3 < <(:); sleep 0.3; cat; }', words);
  expect(exitCode).toBe(0);
  expect(stdout.length).toBeGreaterThan(100_000);
  expect((JSON.parse(stdout) as { databases: unknown[] }).databases.length).toBe(120);
});

test("a verb whose result nobody reads can be stopped", async () => {
  const folder = tempFolder("unread");
  createAppDatabase(join(folder, "app.db"));
  const databases = Array.from({ length: 120 }, (_, index) => join(folder, `some-tenant-${index}.db`));
  for (const copy of databases) writeFileSync(copy, readFileSync(join(folder, "app.db")));
  const fifo = join(folder, "fifo");
  const command = `mkfifo ${fifo}; exec 3<>${fifo}; exec "$@" > ${fifo}`;
  const words = ["explain", ...databases, "-b", `file://${folder}/bucket`, "--json"];
  const child = untilTestEnds(
    Bun.spawn(["bash", "-c", command, "bash", await walrustBinary(), ...words], {
      env: cleanEnvironment(),
      stdio: ["ignore", "ignore", "ignore"],
    }),
  );
  await waitUntil(() => existsSync(fifo));
  const reader = openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    await waitUntil(() => isReadable(reader));
    child.kill("SIGTERM");
    expect(await child.exited).toBe(143);
  } finally {
    closeSync(reader);
  }
});

/** Whether something can be read from a pipe; takes one byte of it. */
function isReadable(fd: number): boolean {
  try {
    return readSync(fd, new Uint8Array(1)) > 0;
  } catch {
    // EAGAIN: nothing yet.
    return false;
  }
}

const ODD_WORDS = [
  "",
  "-",
  "--",
  "x".repeat(10_000),
  "ä/ö\u{1f600}",
  "a\nb",
  "\u001b[31mred",
  "../..",
  "\u202eevil",
  "%s%n",
  "/",
];

test("no word breaks the output: every verb answers each odd one with one clear line", async () => {
  const folder = tempFolder("odd");
  const extras: Record<string, readonly string[]> = {
    restore: ["-o", join(folder, "out.db")],
    replicate: ["--local", join(folder, "replica.db"), "--once"],
  };
  for (const verb of VERBS) {
    const bucket = verb === "replicate" || verb === "pragma" ? [] : ["-b", `file://${folder}/none`];
    await Promise.all(
      ODD_WORDS.map(async (word) => {
        const words = [verb, ...(extras[verb] ?? []), ...bucket, "--json", word];
        const run = await runWalrust(words, { cwd: folder });
        assertNoSlip(run);
        const isFine = (verb === "explain" || verb === "pragma") && run.exitCode === 0;
        if (!isFine && verb !== "explain") {
          expect([verb, word, failureDocument(run).exit]).toEqual([verb, word, run.exitCode]);
          expect(toldFailure(run).message.length).toBeGreaterThan(10);
        }
        expect([verb, word, [0, 2, 3, 4, 6].includes(run.exitCode)]).toEqual([verb, word, true]);
      }),
    );
  }
  expect(readdirSync(folder)).toEqual([]);
});

/** Words before or instead of a verb, and what is said. */
const NO_VERB: readonly (readonly [words: readonly string[], message: string, hint: string])[] = [
  [["--json", "list"], "No verb is given before --json", "Options go after the verb"],
  [["-b", "s3://b", "watch"], "No verb is given before -b", "Options go after the verb"],
  [["--bucket=s3://key:hunter2@b"], "No verb is given before --bucket", "Options go after the verb"],
  [[""], 'Unknown verb ""', "See walrust --help"],
  [["lst"], 'Unknown verb "lst"', "Did you mean walrust list?"],
  [["help", "lst"], 'Unknown verb "lst"', "Did you mean walrust list?"],
  [["constructor"], 'Unknown verb "constructor"', "See walrust --help"],
];

test.each(NO_VERB)("walrust %j ends with 2", async (words, message, hint) => {
  const run = await runWalrust([...words]);
  expect(run.exitCode).toBe(2);
  expect(toldFailure(run).message).toBe(message);
  expect(toldFailure(run).hint).toContain(hint);
  expect(run.stdout === "" || failureDocument(run).exit === 2).toBe(true);
});

test("--json counts wherever it stands among the options, and not behind --", async () => {
  const bucket = ["-b", "nope"];
  for (const words of [
    ["--json", ...bucket],
    [...bucket, "--json"],
    [...bucket, "--json=true", "x"],
  ]) {
    expect(failureDocument(await runWalrust(["list", ...words]))).toMatchObject({ code: "usage", exit: 2 });
  }
  for (const words of [[...bucket, "--", "--json"], [...bucket, "--json=false"], bucket]) {
    expect((await runWalrust(["list", ...words])).stdout).toBe("");
  }
});

test("walrust help VERB, VERB --help and VERB --version work for every verb", async () => {
  const version = await mustWalrust(["--version"]);
  for (const verb of VERBS) {
    const [help, byName, versions] = await Promise.all([
      mustWalrust([verb, "--help", "no", "matter", "what"]),
      mustWalrust(["help", verb]),
      mustWalrust([verb, "--version"]),
    ]);
    expect(help.stdout).toBe(byName.stdout);
    expect(help.stdout).toContain(`Usage: walrust ${verb === "prune" ? "compact" : verb} `);
    expect(versions.stdout).toBe(version.stdout);
    for (const run of [help, byName, versions]) assertNoSlip(run);
  }
});
