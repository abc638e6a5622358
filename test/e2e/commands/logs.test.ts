/**
 * The log for an operator: one line per event, no line forged by a name, silence while nothing happens, and
 * each outage logged once. Replication continues if the reader of the log stops.
 */
import { Database } from "bun:sqlite";
import { afterAll, afterEach, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync, mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "../../support/eventually.ts";
import { Gate } from "../../support/gate.ts";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertNoSlip } from "../../support/oracles/run-checks.ts";
import {
  cleanEnvironment,
  mustWalrust,
  runWalrust,
  spawnWalrust,
  untilTestEnds,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

/** A line as text: time, severity where it is not info, database or none, the rest. */
const TEXT_LINE = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG |WARN |ERROR )?(?! )\S.*$/;
const FORGED = "2026-01-01T00:00:00.000Z ERROR forged: it is all lost";
const MERGING = ": merging and expiring stored objects: ";
const NASTY = `app\n${FORGED}\u001b[2J\r`;

let server: S3Server;
let gate: Gate | null = null;

beforeAll(async () => {
  server = await S3Server.start();
});
afterAll(() => server.stop());
afterEach(async () => {
  await gate?.shut();
  gate = null;
});

function linesOf(text: string): string[] {
  return text === "" ? [] : text.trimEnd().split("\n");
}

/** The options for a watch that replicates to the server. @param url another address of the server */
function onServer(url = server.url): { words: readonly string[]; env: Record<string, string> } {
  const { accessKeyId, secretAccessKey } = server.options;
  const env = { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey };
  return { words: ["-b", "s3://bucket/vm", "--endpoint", url, "--no-metrics"], env };
}

function commit(path: string): void {
  const connection = new Database(path);
  connection.run("INSERT INTO counter VALUES (abs(random()), 0)");
  connection.close(true);
}

/** Runs a watch until its first upload, and stops it. @returns its log */
async function logOf(words: readonly string[], destination = fileDestination()): Promise<string> {
  const watch = await WatchProcess.start([...words, ...destination.words, "--no-metrics"]);
  await watch.waitForUploads(1);
  expect(await watch.stop()).toBe(0);
  return watch.stderr;
}

test("no name of a file or folder breaks or forges a line, in text or JSON", async () => {
  const folder = tempFolder("nasty");
  mkdirSync(join(folder, NASTY));
  for (const path of ["good.db", join(NASTY, "tenant.db"), `${NASTY}.db`]) {
    const plain = join(folder, "plain.db");
    createAppDatabase(plain);
    renameSync(plain, join(folder, path));
  }
  writeFileSync(join(folder, NASTY, "bad.db"), "no database");
  const words = [
    join(folder, "good.db"),
    join(folder, NASTY, "bad.db"),
    `${folder}/*.db`,
    `${folder}/*/*.db`,
  ];
  const text = await logOf([...words, "--log-level", "debug"]);
  for (const line of linesOf(text)) expect(line).toMatch(TEXT_LINE);
  expect(linesOf(text).filter((line) => line.startsWith(FORGED))).toEqual([]);
  expect(text).toContain(String.raw`app\n2026-01-01T00:00:00.000Z ERROR forged`);
  assertNoSlip({ exitCode: 0, stdout: "", stderr: text });

  const json = await logOf([...words, "--log-format", "json", "--log-level", "debug"]);
  const entries = linesOf(json).map((line) => JSON.parse(line) as Record<string, unknown>);
  for (const { time, level, message } of entries) {
    expect(time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    expect(["debug", "info", "warn", "error"]).toContain(String(level));
    expect(String(message).length).toBeGreaterThan(3);
  }
  expect(entries.filter(({ database }) => database === "good").length).toBeGreaterThan(0);
  expect(json).toContain("forged");
});

test("a folder of any name in the destination breaks no line and hides no backup", async () => {
  const destination = fileDestination();
  const path = join(tempFolder("source"), "app.db");
  createAppDatabase(path);
  await mustWalrust(["snapshot", path, ...destination.words]);
  cpSync(join(destination.folder, "app"), join(destination.folder, NASTY), { recursive: true });
  for (const words of [["list"], ["verify", "--all"], ["compact", "--all"]]) {
    const run = await mustWalrust([...words, ...destination.words]);
    assertNoSlip(run);
    expect(run.stdout).toContain("app");
    expect(run.stdout).not.toContain("forged");
  }
});

test("each level shows its severity and above; a failure that a retry resolves is at debug", async () => {
  const logs: Record<string, string[]> = {};
  for (const level of ["debug", "info", "warn", "error"]) {
    server.reset();
    const answer = { status: 503, code: "SlowDown" };
    server.inject({ kind: "put", when: "before", key: /\.ltx$/, answer });
    const path = join(tempFolder("levels"), "app.db");
    createAppDatabase(path);
    const watch = await WatchProcess.start([path, ...onServer().words, "--log-level", level], onServer());
    await watch.waitForUploads(1);
    expect(await watch.stop()).toBe(0);
    logs[level] = linesOf(watch.stderr).map((line) => line.slice(25).split(" ")[0]!);
  }
  // The events are on stdout, so stderr has only the first and the last line.
  const { debug, ...others } = logs;
  expect(others).toEqual({ info: ["replicating", "stopped"], warn: [], error: [] });
  expect(debug?.filter((word) => word !== "DEBUG")).toEqual(["replicating", "stopped"]);
  expect(debug?.length).toBeGreaterThan(2);
});

test("a watch without --json logs the first upload of each database, then sums", async () => {
  const path = join(tempFolder("text"), "app.db");
  createAppDatabase(path);
  const destination = fileDestination();
  const child = await spawnWalrust(["watch", path, ...destination.words, "--no-metrics"]);
  await eventually("a snapshot", async () => (await destination.objects("app")).length > 0);
  commit(path);
  await eventually("an increment", async () => (await destination.objects("app")).length > 1);
  child.kill("SIGTERM");
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(stdout).toBe("");
  const lines = linesOf(stderr);
  for (const line of lines) expect(line).toMatch(TEXT_LINE);
  expect(lines.map((line) => line.slice(25).replace(/\d+(\.\d+)? (KB|B|ms)/g, "N"))).toEqual([
    `replicating ${path} to ${destination.url}`,
    "app: watching from TXID 1",
    "app: snapshot uploaded: TXID 1, N",
    "app: 1 upload, N, slowest N, up to TXID 2",
    "stopped",
  ]);
});

test("a watch logs nothing while nothing changes, whatever upkeep runs meanwhile", async () => {
  server.reset();
  const path = join(tempFolder("quiet"), "app.db");
  createAppDatabase(path);
  const often = [
    "--validation-interval",
    "0.05",
    "--checkpoint-interval",
    "0.1",
    "--compact-interval",
    "0.1",
  ];
  const watch = await WatchProcess.start([path, ...onServer().words, ...often], onServer());
  await watch.waitForUploads(1);
  const [lines, events] = [watch.stderr, watch.events.length];
  const listed = server.count("list");
  await eventually("many rounds", async () => server.count("list") >= listed + 20);
  // A verification without findings is an event, but no line.
  const others = watch.events.slice(events).filter(({ event }) => event !== "validated");
  expect([watch.stderr, others]).toEqual([lines, []]);
  expect(await watch.stop()).toBe(0);
});

const DATABASES = 20;

/** Twenty watched databases behind a gate. */
async function watchTwenty(): Promise<{ watch: WatchProcess; paths: string[]; gate: Gate }> {
  server.reset();
  const opened = await Gate.to(server.url);
  gate = opened;
  const folder = tempFolder("outage");
  const paths = Array.from({ length: DATABASES }, (_, index) => join(folder, `db-${index}.db`));
  for (const path of paths) createAppDatabase(path);
  const config = join(folder, "walrust.toml");
  const retry = [
    "max_retries = 1",
    "base_delay_ms = 10",
    "max_delay_ms = 20",
    "circuit_breaker_threshold = 2",
  ];
  writeFileSync(config, ["[retry]", ...retry, "circuit_breaker_cooldown_ms = 50", ""].join("\n"));
  const { words, env } = onServer(opened.url);
  const watch = await WatchProcess.start([...paths, "--config", config, ...words], { env });
  await watch.waitForUploads(DATABASES);
  const manifests = (): number =>
    [...server.objects.keys()].filter((key) => key.endsWith("manifest.json")).length;
  // The store may hold a manifest whose answer is still on its way. An outage now would make that a failure,
  // too.
  await eventually("all manifests", async () => manifests() === DATABASES && opened.isAnswered);
  return { watch, paths, gate: opened };
}

test("an outage is logged once a database: the failure, the breaker, the recovery", async () => {
  const { watch, paths, gate: opened } = await watchTwenty();
  const before = linesOf(watch.stderr).length;
  opened.break();
  for (const path of paths) commit(path);
  await watch.waitFor("all failures", () => watch.eventsOf("failed").length >= DATABASES);
  await watch.waitFor("all breakers", () => watch.eventsOf("circuit-open").length >= DATABASES);
  const main = (): string[] => linesOf(watch.stderr).filter((line) => !line.includes(MERGING));
  // The events come on stdout, so the last lines on stderr may still be on their way.
  const countOfLines = (pattern: RegExp): number => main().filter((line) => pattern.test(line)).length;
  await eventually("a line for each failure", async () => countOfLines(/ ERROR db-/) >= DATABASES);
  await eventually("a line for each breaker", async () => countOfLines(/ are suspended until /) >= DATABASES);
  const lines = main().length;
  const brokenBefore = opened.brokenCount;
  // The application commits more, for many times the cooldown.
  for (let round = 0; round < 5; round++) for (const path of paths) commit(path);
  await eventually("a lasting outage", async () => opened.brokenCount >= brokenBefore + 10 * DATABASES);
  expect(main().length).toBe(lines);
  await opened.open();
  await watch.waitFor("all recoveries", () => watch.eventsOf("recovered").length >= DATABASES);
  await watch.waitFor(
    "all uploads",
    () => new Set(watch.uploads().map(({ database }) => database)).size === DATABASES,
  );
  expect(await watch.stop()).toBe(0);
  const said = linesOf(watch.stderr).slice(before);
  const countOf = (pattern: RegExp): number => said.filter((line) => pattern.test(line)).length;
  expect(countOf(/ ERROR db-\d+: /)).toBe(DATABASES);
  expect(countOf(/ WARN db-\d+: requests to the store are suspended/)).toBe(DATABASES);
  expect(countOf(/Z db-\d+: recovered$/)).toBe(DATABASES);
  // Other lines come at most from merging and expiring, its failure and its recovery.
  const others = said.filter((line) => !/ ERROR |are suspended until|: recovered$|Z stopped$/.test(line));
  expect(others.filter((line) => !(/ WARN db-\d+: /.test(line) && line.includes(MERGING)))).toEqual([]);
  expect(others.length).toBeLessThanOrEqual(DATABASES);
  expect(watch.stderr).not.toContain("verbose: true");
  for (const event of ["failed", "circuit-open", "recovered"]) {
    expect([event, watch.eventsOf(event).length]).toEqual([event, DATABASES]);
  }
});

test("a reader that stops reading stdout and stderr does not disturb replication", async () => {
  const path = join(tempFolder("gone"), "app.db");
  createAppDatabase(path);
  const destination = fileDestination();
  const words = ["watch", path, ...destination.words, "--no-metrics", "--json", "--log-level", "debug"];
  const child = await spawnWalrust(words);
  await eventually("a snapshot", async () => (await destination.objects("app")).length > 0);
  await Promise.all([child.stdout.cancel(), child.stderr.cancel()]);
  await commitAndAwait(path, destination);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
});

test("a full disk under stdout and stderr does not disturb replication", async () => {
  const path = join(tempFolder("full"), "app.db");
  createAppDatabase(path);
  const destination = fileDestination();
  const words = [path, ...destination.words, "--no-metrics", "--json", "--log-level", "debug"];
  const full = Bun.file("/dev/full");
  const child = untilTestEnds(
    Bun.spawn([await walrustBinary(), "watch", ...words], {
      env: cleanEnvironment(),
      stdio: ["ignore", full, full],
    }),
  );
  await commitAndAwait(path, destination);
  child.kill("SIGTERM");
  expect(await child.exited).toBe(0);
});

/** Commits until the store holds four more objects. */
async function commitAndAwait(path: string, destination: ReturnType<typeof fileDestination>): Promise<void> {
  const count = async (): Promise<number> => (await destination.objects("app")).length;
  await eventually("a snapshot", async () => (await count()) > 0);
  for (let round = 0; round < 3; round++) {
    const wanted = (await count()) + 1;
    commit(path);
    await eventually("an upload", async () => (await count()) >= wanted);
  }
}

test("an unknown level or format ends with 2", async () => {
  for (const flag of [["--log-level", "loud"], ["--log-format", "xml"], ["--log-level"]]) {
    const run = await runWalrust(["list", "-b", "file:///none", ...flag]);
    expect([run.exitCode, run.stdout]).toEqual([2, ""]);
    expect(run.stderr).toContain(flag[0]!);
  }
});
