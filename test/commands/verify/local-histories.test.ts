/**
 * `walrust verify` of a bucket that holds nothing of a database of this machine, whose local state says that
 * it was uploaded there.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { remediesOf } from "../../../src/commands/verify/finding-remedies.ts";
import { goneReport } from "../../../src/commands/verify/local-histories.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(30_000);

const MAIN = join(import.meta.dir, "..", "..", "..", "src", "main.ts");

async function walrust(...words: string[]): Promise<{ exitCode: number; stdout: string; stderr: string }> {
  const child = Bun.spawn([process.execPath, MAIN, ...words], { stdio: ["ignore", "pipe", "pipe"] });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

/** Two databases with snapshots in one bucket, and a configuration that names them. */
async function uploaded() {
  const folder = tempFolder("local-histories");
  const bucket = join(folder, "bucket");
  const words = ["-b", `file://${bucket}`];
  const paths = ["shop", "users"].map((name) => join(folder, `${name}.db`));
  for (const path of paths) {
    const database = new Database(path);
    database.run("PRAGMA journal_mode = WAL");
    database.run("CREATE TABLE t (x)");
    database.close();
    const run = await walrust("snapshot", path, ...words);
    if (run.exitCode !== 0) throw new Error(run.stderr);
  }
  const config = join(folder, "walrust.toml");
  writeFileSync(config, paths.map((path) => `[[databases]]\npath = ${JSON.stringify(path)}\n`).join("\n"));
  return { folder, bucket, words, config: ["--config", config], shop: paths[0]! };
}

interface Document {
  readonly status: string;
  readonly databases: readonly {
    readonly name: string;
    readonly status: string;
    readonly findings: readonly { readonly code: string; readonly message: string; readonly txid: number }[];
  }[];
}

describe("verify of a bucket that lost a whole database", () => {
  test("--all names it and exits with 5, beside a sound one and in a bucket without objects", async () => {
    const { bucket, words, config, shop } = await uploaded();
    expect((await walrust("verify", "--all", ...words, ...config)).exitCode).toBe(0);
    rmSync(join(bucket, "shop"), { recursive: true });
    const run = await walrust("verify", "--all", ...words, ...config, "--json");
    const { status, databases } = JSON.parse(run.stdout) as Document;
    expect([run.exitCode, status]).toEqual([5, "errors"]);
    expect(databases.map((one) => [one.name, one.status])).toEqual([
      ["users", "ok"],
      ["shop", "errors"],
    ]);
    expect(databases[1]!.findings).toMatchObject([{ code: "missing-database", txid: 1 }]);
    expect(databases[1]!.findings[0]!.message).toContain(shop);
    rmSync(join(bucket, "users"), { recursive: true });
    // An empty folder is the mount point of a disk that is not mounted: nothing is known about the backups.
    expect((await walrust("verify", "--all", ...words, ...config)).exitCode).toBe(4);
    mkdirSync(join(bucket, "users"));
    const text = await walrust("verify", "--all", ...words, ...config);
    expect(text.exitCode).toBe(5);
    expect(text.stdout).toContain("ERROR missing-database: nothing is stored under this name");
    expect(text.stdout.trimEnd().split("\n").at(-1)).toBe(
      "2 databases: 0 ok, 0 with warnings, 2 with errors",
    );
  });

  test("NAME exits with 5 where the state is known, and with 6 elsewhere", async () => {
    const { bucket, words, config } = await uploaded();
    rmSync(join(bucket, "shop"), { recursive: true });
    const run = await walrust("verify", "shop", ...words, ...config, "--json");
    expect(run.exitCode).toBe(5);
    expect((JSON.parse(run.stdout) as Document).databases).toMatchObject([
      { name: "shop", findings: [{ code: "missing-database" }] },
    ]);
    expect((await walrust("verify", "shop", ...words)).exitCode).toBe(6);
    expect((await walrust("verify", "other", ...words, ...config)).exitCode).toBe(6);
  });

  test("another destination, where nothing was uploaded, misses nothing", async () => {
    const { folder, bucket, config } = await uploaded();
    renameSync(bucket, join(folder, "other"));
    rmSync(join(folder, "other", "shop"), { recursive: true });
    const run = await walrust("verify", "--all", "-b", `file://${join(folder, "other")}`, ...config);
    expect([run.exitCode, run.stdout.includes("shop")]).toEqual([0, false]);
  });
});

test("goneReport names the file and the state folder, and its remedy both commands", () => {
  const history = { name: "shop", path: "/srv/shop.db", stateFolder: "/srv/.shop.db-walrust", txid: 7 };
  const { status, findings } = goneReport(history);
  expect([status, findings.length]).toEqual(["errors", 1]);
  expect(findings[0]).toMatchObject({ code: "missing-database", severity: "error", object: null, txid: 7 });
  const parts = ["/srv/shop.db was", "TXID 7", history.stateFolder];
  const [{ remedy } = { remedy: "" }] = remediesOf(history.name, findings, history.path);
  expect(remedy).toContain("`walrust sync shop` beside a watch, or `walrust snapshot /srv/shop.db`");
  for (const part of parts) expect(findings[0]!.message).toContain(part);
});
