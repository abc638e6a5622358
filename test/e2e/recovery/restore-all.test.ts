/**
 * `restore --all` with the built executable: rows, exit codes, resumption, signals, the display of progress.
 */
import { beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { createAppDatabase } from "../../support/histories/app-rows.ts";
import { assertSameBytes } from "../../support/histories/database-files.ts";
import { assertNoSlip, failureDocument } from "../../support/oracles/run-checks.ts";
import { documentOf, mustWalrust, runWalrust, spawnWalrust } from "../../support/processes/binary.ts";
import { flipByte, snapshotFile } from "../../support/processes/exit-world.ts";
import { waitUntil } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const TENANTS = ["romneys", "smiths", "tylers"];
const NAMES = TENANTS.map((tenant) => `${tenant}/app`);
const destination = fileDestination();
let sources: readonly string[];

beforeAll(async () => {
  const folder = tempFolder("tenants");
  sources = TENANTS.map((tenant) => {
    mkdirSync(join(folder, tenant));
    const path = join(folder, tenant, "app.db");
    createAppDatabase(path);
    return path;
  });
  const watch = await WatchProcess.start([...sources, ...destination.words]);
  await watch.waitForUploads(TENANTS.length);
  await watch.stop();
});

interface Document {
  readonly databases: readonly {
    readonly name: string;
    readonly status: string;
    readonly output: string;
    readonly error: { readonly code: string; readonly message: string } | null;
  }[];
  readonly restored: number;
  readonly unchanged: number;
  readonly failed: number;
}

function wordsInto(into: string, there: readonly string[] = destination.words): string[] {
  return ["restore", "--all", "--into", into, ...there];
}

function statuses({ databases }: Document): string[] {
  return databases.map(({ name, status }) => `${name} ${status}`);
}

test("restore --all restores each database to its name's path, and a second run nothing again", async () => {
  const into = join(tempFolder("all"), "data");
  const first = documentOf<Document>(await mustWalrust([...wordsInto(into), "--json", "--jobs", "2"]));
  expect(statuses(first)).toEqual(NAMES.map((name) => `${name} restored`));
  expect(first).toMatchObject({ restored: 3, unchanged: 0, failed: 0 });
  for (const [index, { output }] of first.databases.entries()) {
    expect(output).toBe(join(into, `${NAMES[index]}.db`));
    assertSameBytes(output, sources[index]!);
  }
  const again = documentOf<Document>(await mustWalrust([...wordsInto(into), "--json"]));
  expect(statuses(again)).toEqual(NAMES.map((name) => `${name} unchanged`));
  unlinkSync(first.databases[1]!.output);
  const text = await mustWalrust(wordsInto(into));
  assertNoSlip(text);
  const lines = text.stdout.trimEnd().split("\n");
  expect(lines.at(-1)).toMatch(/^3 databases: 1 restored, 2 already there; \S+ \w+ written, in \d+ ms$/);
  expect(lines.filter((line) => line.startsWith("smiths/app: restored TXID 1 "))).toHaveLength(1);
});

test("restore --all reports a damaged database with 5 and restores the others", async () => {
  const copy = join(tempFolder("damaged"), "backup");
  cpSync(destination.folder, copy, { recursive: true, preserveTimestamps: true });
  flipByte(snapshotFile(join(copy, "smiths", "app")));
  const into = join(tempFolder("all"), "data");
  const words = wordsInto(into, ["-b", `file://${copy}`]);
  const run = await runWalrust([...words, "--json"]);
  expect(run.exitCode).toBe(5);
  const document = documentOf<Document>(run);
  expect(statuses(document)).toEqual(["romneys/app restored", "smiths/app failed", "tylers/app restored"]);
  expect(document.databases[1]!.error).toMatchObject({ code: "corrupt", exit: 5 });
  expect(existsSync(join(into, "smiths", "app.db"))).toBe(false);
  const text = await runWalrust(words);
  expect([text.exitCode, text.stdout.includes("smiths/app: FAILED: ")]).toEqual([5, true]);
});

test("restore --all leaves a changed file without --force, and keeps it with --force", async () => {
  const into = join(tempFolder("all"), "data");
  await mustWalrust(wordsInto(into));
  const output = join(into, "romneys", "app.db");
  writeFileSync(output, "mine");
  const refused = await runWalrust(wordsInto(into));
  expect([refused.exitCode, refused.stdout]).toEqual([2, expect.stringContaining("--force")]);
  expect(refused.stdout).toContain(`romneys/app: NOT REPLACED: ${output} exists, and its content`);
  expect(refused.stdout).toMatch(
    / 2 already there, 1 not replaced \(another file is there; see --force\), in /,
  );
  expect(readFileSync(output, "utf8")).toBe("mine");
  await mustWalrust([...wordsInto(into), "--force"]);
  assertSameBytes(output, sources[0]!);
  await mustWalrust(["undo", output]);
  expect(readFileSync(output, "utf8")).toBe("mine");
});

test("restore --all --dry-run and --prefix", async () => {
  const into = join(tempFolder("all"), "data");
  const planned = documentOf<Document>(await mustWalrust([...wordsInto(into), "--dry-run", "--json"]));
  expect(statuses(planned)).toEqual(NAMES.map((name) => `${name} planned`));
  expect(existsSync(into)).toBe(false);
  const words = [...wordsInto(into), "--prefix", "smiths", "--integrity-check", "off", "--json"];
  const some = documentOf<Document>(await mustWalrust(words));
  expect(statuses(some)).toEqual(["smiths/app restored"]);
  expect(some.databases[0]).toMatchObject({ checks: { integrity_check: "skipped" } });
  const none = await runWalrust([...wordsInto(into), "--prefix", "nobody", "--json"]);
  expect([none.exitCode, failureDocument(none)["code"]]).toEqual([6, "restore"]);
});

test("restore --all refuses contradicting words", async () => {
  const there = destination.words;
  for (const [words, said] of [
    [["app", "--all", "--into", "d"], "app and --all are both given"],
    [["--all"], "No folder is given"],
    [["--all", "--into", "d", "-o", "x.db"], "-o and --all are both given"],
    [["app", "-o", "x.db", "--into", "d"], "--into is given without --all"],
    [["app", "-o", "x.db", "--prefix", "d"], "--prefix is given without --all"],
    [["--all", "--into", "d", "--if-db-not-exists"], "--if-db-not-exists and --all are both given"],
    [["--all", "--into", "d", "--jobs", "0"], "--jobs"],
    [[], "No database is given"],
  ] as const) {
    const run = await runWalrust(["restore", ...words, ...there, "--json"]);
    expect([words, run.exitCode]).toEqual([words, 2]);
    expect(failureDocument(run).message).toContain(said);
  }
});

test("restore --all of an empty destination ends with 6, and with 0 for --if-replica-exists", async () => {
  const there = ["-b", `file://${join(tempFolder("empty"), "none")}`];
  const into = join(tempFolder("all"), "data");
  const run = await runWalrust(wordsInto(into, there));
  expect([4, 6]).toContain(run.exitCode);
  const document = documentOf<Document>(
    await mustWalrust([...wordsInto(into, there), "--if-replica-exists", "--json"]),
  );
  expect(document.databases).toEqual([]);
});

test("restore --all that is stopped by SIGINT leaves no half file", async () => {
  const into = join(tempFolder("all"), "data");
  const child = await spawnWalrust([...wordsInto(into), "--jobs", "1", "--json"]);
  await waitUntil(() => existsSync(into));
  child.kill("SIGINT");
  const [exitCode, stdout] = await Promise.all([child.exited, child.stdout.text()]);
  // A run that was done before the signal took effect ends with 0.
  expect([0, 130]).toContain(exitCode);
  expect(JSON.parse(stdout)).toBeObject();
  const names = (readdirSync(into, { recursive: true }) as string[]).filter((name) =>
    /\.restore-/.test(name),
  );
  expect(names).toEqual([]);
  for (const [index, name] of NAMES.entries()) {
    const output = join(into, `${name}.db`);
    if (existsSync(output)) assertSameBytes(output, sources[index]!);
  }
  await mustWalrust(wordsInto(into));
  for (const name of NAMES) expect(statSync(join(into, `${name}.db`)).size).toBeGreaterThan(0);
});
