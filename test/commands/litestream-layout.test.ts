/**
 * Backups by other programs: each verb reports a clear error with its exit code, and writes nothing into
 * them. It still serves walrust's databases beside them.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { FOREIGN_BUCKETS } from "../support/histories/foreign-buckets.ts";
import { tempFolder } from "../support/temp.ts";

setDefaultTimeout(30_000);

const MAIN = join(import.meta.dir, "..", "..", "src", "main.ts");

interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function walrust(...words: string[]): Promise<Run> {
  const child = Bun.spawn([process.execPath, MAIN, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

/** A folder with foreign backups by database name. */
function bucketWith(databases: Readonly<Record<string, keyof typeof FOREIGN_BUCKETS>>): string {
  const bucket = join(tempFolder("foreign"), "bucket");
  for (const [name, format] of Object.entries(databases)) {
    for (const [key, bytes] of Object.entries(FOREIGN_BUCKETS[format])) {
      const path = join(bucket, name, key);
      mkdirSync(dirname(path), { recursive: true });
      writeFileSync(path, bytes);
    }
  }
  return bucket;
}

function newDatabase(name: string): string {
  const path = join(tempFolder("app"), `${name}.db`);
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (x)");
  database.close();
  return path;
}

/** Every file below a folder with its content. */
function filesOf(folder: string): Map<string, string> {
  const names = readdirSync(folder, { recursive: true, withFileTypes: true });
  const paths = names.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  return new Map(paths.sort().map((path) => [path, readFileSync(path).toString("base64")]));
}

describe.each([
  ["hadbp", "the Rust walrust (HADBP)"],
  ["ltx-generations", "the Rust walrust (LTX by generation)"],
  ["ltx-flat", "the Rust walrust (flat LTX files)"],
  ["walsync", "walsync, the first Rust walrust"],
  ["litestream-0.3", "Litestream 0.3 (generations)"],
] as const)("a bucket of %s", (format, title) => {
  test.each([
    "list",
    "list app",
    "verify app --fix",
    "verify --all",
    "compact app --force",
    "compact app",
    "restore app -o OUTPUT",
    "restore app -o OUTPUT --dry-run",
    "restore app -o OUTPUT --if-db-not-exists --if-replica-exists",
  ])("walrust %s: exit 6, says whose it is, changes nothing", async (words) => {
    const bucket = bucketWith({ app: format });
    const before = filesOf(bucket);
    const output = join(tempFolder("output"), "restored.db");
    const given = words.replace("OUTPUT", output).split(" ");
    const run = await walrust(...given, "-b", `file://${bucket}`, "--json");
    expect(run.stderr).toContain(`is a backup of ${title}, which walrust cannot read: app/`);
    expect(JSON.parse(run.stdout).error).toMatchObject({ code: "restore", exit: 6, context: { format } });
    expect(run.exitCode).toBe(6);
    expect(existsSync(output)).toBe(false);
    expect(filesOf(bucket)).toEqual(before);
  });
});

describe.each(["hadbp", "ltx-generations", "ltx-flat", "walsync"] as const)("a bucket of %s", (format) => {
  test.each(["snapshot", "watch"])("walrust %s ends with 4 and writes nothing into it", async (verb) => {
    const bucket = bucketWith({ app: format });
    const before = filesOf(bucket);
    const run = await walrust(verb, newDatabase("app"), "-b", `file://${bucket}`);
    expect(run.stderr).toMatch(/is a backup of (the Rust walrust|walsync)/);
    expect(run.stderr).toContain("walrust writes nothing there");
    expect(run.exitCode).toBe(4);
    expect(filesOf(bucket)).toEqual(before);
  });
});

test("a history beside a backup of Litestream 0.3 begins with a warning, and is restored", async () => {
  const bucket = bucketWith({ app: "litestream-0.3" });
  const before = filesOf(bucket);
  const words = ["-b", `file://${bucket}`];
  const run = await walrust("snapshot", newDatabase("app"), ...words);
  expect([run.exitCode, run.stderr]).toEqual([0, expect.stringContaining("walrust does not touch it")]);
  const output = join(tempFolder("output"), "restored.db");
  expect((await walrust("restore", "app", "-o", output, ...words)).exitCode).toBe(0);
  const after = filesOf(bucket);
  for (const [path, content] of before) expect(after.get(path)).toBe(content);
});

test("databases beside foreign ones are listed, verified and compacted; the others are named", async () => {
  const bucket = bucketWith({ old: "ltx-flat" });
  const words = ["-b", `file://${bucket}`];
  expect((await walrust("snapshot", newDatabase("app"), ...words)).exitCode).toBe(0);
  const list = await walrust("list", ...words, "--json");
  expect([list.exitCode, JSON.parse(list.stdout).databases.length]).toEqual([0, 1]);
  const verify = await walrust("verify", "--all", ...words, "--json");
  expect(verify.exitCode).toBe(1);
  expect(JSON.parse(verify.stdout)).toMatchObject({
    status: "warnings",
    databases: [{ name: "app", status: "ok" }],
    foreign: [{ database: "old", format: "ltx-flat" }],
  });
  const text = await walrust("verify", "--all", ...words);
  expect(text.stdout).toContain("old: a backup of the Rust walrust (flat LTX files); not verified");
  const compact = await walrust("compact", "--all", "--force", ...words);
  expect([compact.exitCode, compact.stderr]).toEqual([0, ""]);
});
