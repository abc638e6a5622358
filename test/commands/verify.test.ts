/**
 * `walrust verify` as a program: exit codes, texts and JSON over real buckets that `walrust snapshot` wrote.
 */
import { Database } from "bun:sqlite";
import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { appendFileSync, cpSync, mkdirSync, readdirSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { tempFolder } from "../support/temp.ts";

setDefaultTimeout(30_000);

const MAIN = join(import.meta.dir, "..", "..", "src", "main.ts");
const INCREMENT = "0000000000000002-0000000000000002.ltx";

async function walrust(...words: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([process.execPath, MAIN, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

let template = "";

/** A bucket with TXID 1 to 3 of shop/app, each with a snapshot. */
beforeAll(async () => {
  const folder = tempFolder("verify");
  template = join(folder, "bucket");
  mkdirSync(template);
  const path = join(folder, "app.db");
  const database = new Database(path);
  database.run("PRAGMA journal_mode = WAL");
  database.run("CREATE TABLE t (x)");
  for (let row = 0; row < 3; row++) {
    database.run("INSERT INTO t VALUES (randomblob(20000))");
    const run = await walrust("snapshot", path, "-b", `file://${template}`);
    if (run.exitCode !== 0) throw new Error(run.stderr);
  }
  database.close();
});

/** A copy of the bucket. */
function bucketOf(): { folder: string; words: string[]; increments: string } {
  const folder = join(tempFolder("bucket"), "b");
  cpSync(template, folder, { recursive: true, preserveTimestamps: true });
  return { folder, words: ["-b", `file://${folder}`], increments: join(folder, "app", "ltx", "0") };
}

describe("walrust verify", () => {
  test("a sound bucket: exit 0, and a readable report that ends in a verdict of one line", async () => {
    const { words } = bucketOf();
    const run = await walrust("verify", "app", ...words, "--read-data", "--restore");
    expect([run.exitCode, run.stderr]).toEqual([0, ""]);
    expect(run.stdout).toContain("restored TXID 3 into a temporary file: integrity_check ok");
    expect(run.stdout).toContain("not compared with the live database");
    expect(run.stdout.trimEnd().split("\n").at(-1)).toBe("app: ok");
  });

  test("damage: exit 5, and the finding names the object", async () => {
    const { words, increments } = bucketOf();
    appendFileSync(join(increments, INCREMENT), "x");
    const run = await walrust("verify", "app", ...words);
    expect(run.exitCode).toBe(5);
    expect(run.stdout).toContain(`app/ltx/0/${INCREMENT}`);
    expect(run.stdout.trimEnd().split("\n").at(-1)).toMatch(/^app: A RESTORE IS IN DANGER \(\d+ errors?\)$/);
  });

  test("--json: one document with status, findings and counts", async () => {
    const { words, increments } = bucketOf();
    rmSync(join(increments, INCREMENT));
    rmSync(join(increments, `${INCREMENT}.meta.json`));
    const run = await walrust("verify", "app", ...words, "--json", "--read-data=5%");
    expect(run.exitCode).toBe(5);
    const document = JSON.parse(run.stdout);
    expect(document).toMatchObject({
      status: "errors",
      databases: [
        {
          name: "app",
          status: "errors",
          findings: [{ code: "gap", severity: "error", txid: 2, message: "no object holds TXID 2" }],
          checked: { objects: 4, snapshots: 3, min_txid: 1, max_txid: 3, restored_txid: null },
        },
      ],
      fixed: [],
    });
    expect(document.databases[0].findings[0]).toHaveProperty("object");
  });

  test("--fix: exit 1 before, 0 with it, and each repair is reported", async () => {
    const { folder, words } = bucketOf();
    rmSync(join(folder, "app", "manifest.json"));
    rmSync(join(folder, "app", "manifest.json.meta.json"));
    ageObjects(folder);
    const before = await walrust("verify", "app", ...words);
    expect([before.exitCode, before.stdout]).toEqual([1, expect.stringContaining("manifest-missing")]);
    const fixed = await walrust("verify", "app", ...words, "--fix");
    expect([fixed.exitCode, fixed.stderr]).toEqual([0, ""]);
    expect(fixed.stdout).toContain("fixed: app/manifest.json rewritten from the objects of the bucket");
    const after = await walrust("verify", "app", ...words, "--fix", "--json");
    expect(JSON.parse(after.stdout)).toMatchObject({ status: "ok", fixed: [] });
  });

  test("--all: the worst result of all databases decides", async () => {
    const { folder, words } = bucketOf();
    cpSync(join(folder, "app"), join(folder, "tenants", "bad"), { recursive: true });
    rmSync(join(folder, "tenants", "bad", "ltx", "9"), { recursive: true });
    rmSync(join(folder, "tenants", "bad", "manifest.json"));
    const run = await walrust("verify", "--all", ...words);
    expect(run.exitCode).toBe(5);
    expect(run.stdout).toStartWith("tenants/bad in file://");
    expect(run.stdout).toMatch(/^app: ok \(5 objects, .*; \d+ read in full\)$/m);
    expect(run.stdout).toMatch(/^ {2}ERROR missing-snapshot: .*\n {2}→ `walrust snapshot PATH` makes/m);
    expect(run.stdout.trimEnd().split("\n").at(-1)).toBe("2 databases: 1 ok, 0 with warnings, 1 with errors");
  });

  test("--all: the manifest reveals a database that has lost all its objects", async () => {
    const { folder, words } = bucketOf();
    rmSync(join(folder, "app", "ltx"), { recursive: true });
    const run = await walrust("verify", "--all", ...words, "--json");
    expect(run.exitCode).toBe(5);
    const [report] = JSON.parse(run.stdout).databases;
    expect(report.findings.map(({ code }: { code: string }) => code)).toEqual([
      "missing-snapshot",
      "manifest-ahead",
    ]);
  });

  test("--all of an empty destination: exit 0 and a notice", async () => {
    const run = await walrust("verify", "--all", "-b", `file://${tempFolder("empty")}`);
    expect([run.exitCode, run.stdout]).toEqual([0, expect.stringContaining("Nothing is stored in")]);
  });

  test("a missing destination: exit 4; a missing name: exit 6", async () => {
    const missing = join(tempFolder("none"), "none");
    expect((await walrust("verify", "--all", "-b", `file://${missing}`)).exitCode).toBe(4);
    expect((await walrust("verify", "app", "-b", `file://${missing}`)).exitCode).toBe(4);
    expect((await walrust("verify", "other", ...bucketOf().words)).exitCode).toBe(6);
  });

  test.each([
    [["verify"], "No database is given"],
    [["verify", "app", "--all"], "--all are both given"],
    [["verify", "app", "--read-data=0"], "--read-data"],
    [["verify", "app", "--read-data=101%"], "from 0.01 to 100"],
    [["verify", "app", "--read-date"], "--read-data"],
    [["verify", "app", "--read-data", "5"], "NAME, got app 5"],
  ])("usage: %j", async (words, text) => {
    const run = await walrust(...words, ...bucketOf().words);
    expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining(text)]);
  });
});

/** Sets the objects' times back, so that they are old enough for a manifest to be behind them. */
function ageObjects(folder: string): void {
  const level = join(folder, "app", "ltx", "9");
  for (const name of readdirSync(level)) utimesSync(join(level, name), 1_700_000_000, 1_700_000_000);
}

test("walrust verify reports a sidecar without its object only once it is old", async () => {
  const { words, increments } = bucketOf();
  writeFileSync(join(increments, "0000000000000063-0000000000000063.ltx.meta.json"), "{}");
  expect((await walrust("verify", "app", ...words)).exitCode).toBe(0);
});
