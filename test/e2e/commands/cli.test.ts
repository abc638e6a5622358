/**
 * The command-line interface: help, versions, usage errors with their exit codes, and the split between
 * stdout and stderr. The output never contains a secret.
 */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../../package.json";
import { eventually } from "../../support/eventually.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { recordHistory } from "../../support/histories/history.ts";
import {
  collect,
  documentOf,
  mustWalrust,
  type Run,
  runWalrust,
  spawnWalrust,
} from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination, newDestination } from "../../support/servers/destinations.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";
import { runOnTerminal } from "../../support/terminal.ts";

/** The verbs that the program's own help names. */
async function namedVerbs(): Promise<string[]> {
  const { stdout } = await mustWalrust(["--help"]);
  const [, verbs = ""] = /\nVerbs:\n(.*?)\n\n/s.exec(stdout) ?? [];
  return [...verbs.matchAll(/^ {2}([a-z]+) {2,}\S/gm)].map(([, verb]) => verb!);
}

test("every verb's --help has options, examples with known options, and exit codes", async () => {
  const verbs = await namedVerbs();
  for (const verb of ["watch", "snapshot", "restore", "list"]) expect(verbs).toContain(verb);
  for (const verb of verbs) {
    const run = await mustWalrust([verb, "--help"]);
    expect(run.stderr).toBe("");
    const [, options = "", examples = "", exitCodes = ""] =
      /\nOptions:\n(.*)\n\nExamples:\n(.*)\n\nExit codes:\n(.*)$/s.exec(run.stdout) ?? [];
    expect(run.stdout).toContain(`Usage: walrust ${verb} `);
    expect(examples).toContain(`walrust ${verb} `);
    // A quoted command, and one behind a pipe, has flags of its own.
    const own = examples.replace(/(['"]).*?\1| \| .*$/gm, "");
    for (const [flag] of own.matchAll(/(?<= )--?[a-z][a-z-]*/g)) expect(options).toContain(flag);
    expect(exitCodes).toMatch(/^ +0 {2}\S/);
    for (const flag of ["--json", "--log-level", "--log-format", "--help", "--version"]) {
      expect(options).toContain(flag);
    }
  }
});

test("walrust without a verb shows its help and ends with 2", async () => {
  const run = await mustWalrust(["--help"]);
  const bare = await runWalrust([]);
  expect(bare.exitCode).toBe(2);
  expect(bare.stdout).toBe(run.stdout);
});

test("walrust --version prints the versions of walrust, Bun and SQLite", async () => {
  const run = await mustWalrust(["--version"]);
  const { version } = packageJson;
  expect(run.stdout).toMatch(
    new RegExp(`^walrust ${version} \\(Bun ${Bun.version}, SQLite 3\\.\\d+\\.\\d+\\)\\n$`),
  );
  const document = documentOf(await mustWalrust(["--version", "--json"]));
  expect(document).toEqual({
    walrust: version,
    bun: Bun.version,
    sqlite: expect.stringMatching(/^3\.\d+\.\d+$/),
  });
});

/** Words, and the expected message on stderr. */
const MISTAKES: readonly (readonly [words: string, said: string])[] = [
  ["wacth app.db", "Did you mean walrust watch?"],
  ["frobnicate", "See walrust --help"],
  ["watch app.db --buckett file:///b", "Did you mean --bucket?"],
  ["watch app.db", "-b file:///folder"],
  ["watch -b file:///b", "No database is named"],
  ["watch app.db -b file:///b --wal-sync-interval soon", "--wal-sync-interval"],
  ["watch app.db -b file:///b --wal-sync-interval 0", "from 0.01 to 3600"],
  ["watch app.db -b file:///b --min-checkpoint-pages 1.5", "a whole number"],
  ["watch app.db -b file:///b -b file:///c", "--bucket is given twice"],
  ["watch app.db -b ftp://b", "ftp:// is unknown"],
  ["watch app.db -b b", "it has no scheme"],
  ["list -b file:///b --log-level loud", "debug, info, warn, error"],
  ["list -b s3://key:hunter2@bucket", "keys do not belong into it"],
  ["list a b -b file:///b", "NAME"],
  ["restore app -b file:///b", "-o PATH"],
  ["restore app -o x.db -b file:///b --point-in-time yesterday", "with its zone"],
  ["restore app -o x.db -b file:///b --point-in-time txid:0", "txid:N"],
  ["restore app -o", "--output needs a value"],
  ["snapshot -b file:///b", "DATABASE"],
];

test.each(MISTAKES)("walrust %s ends with 2 and reports %j", async (line, said) => {
  const run = await runWalrust(line.split(" "));
  expect(run.exitCode).toBe(2);
  expect(run.stdout).toBe("");
  expect(run.stderr).toContain(said);
  expect(run.stderr).toStartWith("walrust: ");
  expect(run.stderr).not.toContain("hunter2");
  const json = await runWalrust([...line.split(" "), "--json"]);
  expect(json.exitCode).toBe(2);
  expect(documentOf(json)).toMatchObject({ error: { code: "usage", exit: 2 } });
});

/** Databases that cannot be replicated: how to make each, the error's code, and the expected message. */
const BAD_DATABASES: readonly (readonly [
  what: string,
  make: (path: string) => void,
  code: string,
  said: string,
])[] = [
  ["missing", () => {}, "database", "must exist"],
  ["a folder", (path) => mkdirSync(path), "database", "bad.db"],
  ["empty", (path) => writeFileSync(path, ""), "database", "not a SQLite database"],
  [
    "not SQLite",
    (path) => writeFileSync(path, "plain text\n".repeat(500)),
    "database",
    "not a SQLite database",
  ],
  ["not in WAL mode", makeRollbackDatabase, "not-wal", "PRAGMA journal_mode=WAL"],
  ["with a hot journal", makeHotJournal, "database", "rollback journal"],
];

function makeRollbackDatabase(path: string): void {
  const database = new Database(path);
  database.run("CREATE TABLE t (id INTEGER)");
  database.close(true);
}

function makeHotJournal(path: string): void {
  createAppDatabase(path);
  writeFileSync(`${path}-journal`, new Uint8Array([0xd9, 0xd5, 0x05, 0xf9]));
}

test.each(BAD_DATABASES)(
  "watch and snapshot of a database that is %s end with 3",
  async (_what, make, code, said) => {
    const path = join(tempFolder("bad"), "bad.db");
    make(path);
    const destination = fileDestination();
    for (const verb of ["watch", "snapshot"]) {
      const run = await runWalrust([verb, path, ...destination.words, "--json"]);
      expect(run.exitCode).toBe(3);
      expect(run.stderr).toContain(said);
      const last = run.stdout.trimEnd().split("\n").at(-1)!;
      expect(JSON.parse(last)).toMatchObject({ error: { code, exit: 3 } });
    }
    expect(await destination.objects("bad")).toEqual([]);
  },
);

test("watch of one file twice, or of two files with one name, ends with 2", async () => {
  const folder = tempFolder("names");
  const path = join(folder, "app.db");
  createAppDatabase(path);
  const destination = fileDestination();
  const twice = await runWalrust(["watch", path, path, ...destination.words]);
  expect(twice.exitCode).toBe(2);
  expect(twice.stderr).toContain("the same database");
  copyFileSync(path, join(folder, "app.sqlite"));
  const collision = await runWalrust(["watch", path, join(folder, "app.sqlite"), ...destination.words]);
  expect(collision.exitCode).toBe(2);
  expect(collision.stderr).toContain("would both be called");
});

testWith("versitygw")(
  "a missing bucket and refused credentials end with 4, and no secret is shown",
  async () => {
    const destination = await newDestination("s3");
    const path = join(tempFolder("auth"), "app.db");
    createAppDatabase(path);
    const secret = "not-the-secret-key-0123456789";
    const env = { ...destination.env, AWS_SECRET_ACCESS_KEY: secret };
    const endpoint = destination.words.slice(2);
    const calls = [
      ["watch", path],
      ["snapshot", path],
      ["list"],
      ["restore", "app", "-o", `${path}.restored`],
    ];
    for (const words of calls) {
      const refused = await runWalrust([...words, ...destination.words, "--log-level", "debug", "--json"], {
        env,
      });
      expect(refused.exitCode).toBe(4);
      const last = refused.stdout.trimEnd().split("\n").at(-1)!;
      expect(JSON.parse(last)).toMatchObject({ error: { code: "auth", exit: 4 } });
      expect(refused.stdout + refused.stderr).not.toContain(secret);
      expect(refused.stdout + refused.stderr).not.toContain("Signature=");
      const missing = await runWalrust([...words, "-b", "s3://no-such-bucket", ...endpoint], destination);
      expect(missing.exitCode).toBe(4);
      expect(missing.stderr).toContain("no-such-bucket");
      expect(missing.stdout + missing.stderr).not.toContain(destination.env["AWS_SECRET_ACCESS_KEY"]!);
    }
  },
);

test("of two watches with one prefix, the overtaken one ends with 4 and names the other", async () => {
  const destination = fileDestination();
  const paths = ["one", "two"].map((name) => join(tempFolder(name), "app.db"));
  for (const path of paths) createAppDatabase(path);
  const first = await WatchProcess.start([paths[0]!, ...destination.words]);
  await first.waitForUploads(1);
  // As on another machine: on one machine, the second watch sees the first and refuses to start.
  const elsewhere = { env: { XDG_RUNTIME_DIR: tempFolder("elsewhere") } };
  const second = await WatchProcess.start([paths[1]!, ...destination.words], elsewhere);
  await second.waitForUploads(1);
  const connection = new Database(paths[0]!);
  connection.run("INSERT INTO counter VALUES (1, 0)");
  connection.close(true);
  expect(await first.exit()).toBe(4);
  expect(first.eventsOf("stopped")).toMatchObject([{ code: "foreign-writer" }]);
  expect(first.stderr).toContain("another writer");
  expect(await second.stop()).toBe(0);
});

test("watch keeps stdout for results and stderr for its log, as text and as JSON", async () => {
  const path = join(tempFolder("output"), "app.db");
  createAppDatabase(path);
  const runUntilUploaded = async (...flags: string[]): Promise<Run> => {
    const destination = fileDestination();
    const child = await spawnWalrust(["watch", path, ...destination.words, ...flags]);
    await eventually("an upload", async () => (await destination.objects("app")).length > 0);
    child.kill("SIGTERM");
    return collect(child, "watch");
  };
  // Each run uses another folder, so a new history begins there.
  const text = await runUntilUploaded();
  expect(text.exitCode).toBe(0);
  expect(text.stdout).toBe("");
  expect(text.stderr).toContain("app: snapshot uploaded: TXID 1");
  const json = await runUntilUploaded("--log-format", "json");
  expect(json.stdout).toBe("");
  const entries = json.stderr
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { level: string });
  expect(new Set(entries.map(({ level }) => level))).toEqual(new Set(["info", "warn"]));
  const quiet = await runUntilUploaded("--log-level", "error", "--json");
  expect(quiet.stderr).toBe("");
  const events = quiet.stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as { event: string });
  expect(events.map(({ event }) => event)).toEqual(["started", "watching", "uploaded"]);
});

test("a restore of a moment shows no progress, neither on a terminal nor on a pipe", async () => {
  const { destination, folder } = await recordHistory(fileDestination());
  const words = (output: string) => ["restore", "app", "-o", join(folder, output), ...destination.words];
  const onPipe = await mustWalrust(words("pipe.db"));
  expect(onPipe.stderr).toBe("");
  for (const drawn of ["█", "\r", "\x1b"]) expect(onPipe.stdout).not.toContain(drawn);
  const { exitCode, output } = await runOnTerminal(words("terminal.db"));
  expect(exitCode).toBe(0);
  // progress.test.ts shows the bar of a restore that takes longer.
  for (const drawn of ["█", "\x1b"]) expect(output).not.toContain(drawn);
  expect(output).toContain("restored TXID 10");
});
