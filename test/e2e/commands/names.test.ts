/**
 * Names that resemble parts of a destination or that a URL would change. Every verb accepts them on both
 * layouts, and no name hides another.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { assertSameBytes, checkpoint } from "../../support/histories/database-files.ts";
import { mustWalrust, runWalrust, type Variables } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { S3Server } from "../../support/servers/s3-server.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const NAMES = [
  ...["0000", "0001", "0009", "ltx", "manifest.json", "acme"],
  ...["a", "a/0001", "a/ltx", "a/0009/app", "a/ltx/9", "a/ltx/ltx"],
  ...["a b", "a+b", "a%20b", "100%", "c#", "what?", "user@example.com"],
  ...["naïve 数据", "x.tmp", "x.meta.json"],
];

let server: S3Server;

beforeAll(async () => {
  // The store confirms encoding-type but does not encode.
  server = await S3Server.start({ urlEncoding: "echo" });
});

afterAll(() => server.stop());

async function newDatabase(path: string, text: string): Promise<void> {
  mkdirSync(dirname(path), { recursive: true });
  const app = await SqliteProcess.open(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(v)", `INSERT INTO t VALUES ('${text}')`);
  await app.close();
  checkpoint(path);
}

describe.each(["file", "s3"] as const)("on %s", (kind) => {
  let folder: string;
  let bucket: string;
  let env: Variables = {};

  const run = (words: readonly string[]) => runWalrust(words, { cwd: folder, env });
  const must = async (words: readonly string[]): Promise<string> =>
    (await mustWalrust(words, { cwd: folder, env })).stdout;
  const dataOf = (name: string): string => join(folder, "data", `${name}.db`);

  beforeAll(async () => {
    folder = tempFolder("names");
    bucket = kind === "file" ? `file://${folder}/backup` : "s3://bucket/vm 1";
    if (kind === "s3") {
      env = {
        AWS_ENDPOINT_URL_S3: server.url,
        AWS_ACCESS_KEY_ID: "test",
        AWS_SECRET_ACCESS_KEY: "testsecret",
        AWS_REGION: "us-east-1",
      };
    }
    for (const name of NAMES) await newDatabase(dataOf(name), name);
    const entry = `[[databases]]\npath = "data/**/*.db"\nprefix = "tenants"\n`;
    const head = `[s3]\nbucket = "${bucket}"\n[metrics]\nenabled = false\n`;
    writeFileSync(join(folder, "walrust.toml"), head + entry);
    const watch = await WatchProcess.start([], { cwd: folder, env });
    await watch.waitFor("all snapshots", () => {
      return new Set(watch.uploads().map(({ database }) => database)).size === NAMES.length;
    });
    expect(await watch.stop()).toBe(0);
  });

  const sorted = NAMES.map((name) => `tenants/${name}`).sort();

  test("list shows every name once", async () => {
    const { databases } = JSON.parse(await must(["list", "--json"]));
    expect(databases.map(({ name }: { name: string }) => name)).toEqual(sorted);
    for (const { snapshots, problems } of databases) expect([snapshots.length, problems]).toEqual([1, []]);
  });

  test("verify --all finds every database sound", async () => {
    const { status, databases } = JSON.parse(await must(["verify", "--all", "--read-data", "--json"]));
    expect(databases.map(({ name }: { name: string }) => name)).toEqual(sorted);
    for (const { name, findings } of databases) expect([name, findings]).toEqual([name, []]);
    expect(status).toBe("ok");
  });

  test("compact --all reaches every database", async () => {
    const { databases, errors } = JSON.parse(await must(["compact", "--all", "--force", "--json"]));
    expect(databases.map(({ name }: { name: string }) => name)).toEqual(sorted);
    expect(errors).toEqual([]);
  });

  test("restore and replicate return the content of each name", async () => {
    for (const [index, name] of NAMES.entries()) {
      const [restored, replica, byUrl] = ["restored", "replica", "url"].map((what) => `${what}-${index}.db`);
      await must(["restore", `tenants/${name}`, "-o", restored!]);
      await must(["replicate", `tenants/${name}`, "-b", bucket, "--local", replica!, "--once"]);
      const escaped = name.split("/").map(encodeURIComponent).join("/");
      const url = `${bucket.replaceAll(" ", "%20")}/tenants/${escaped}`;
      await must(["replicate", url, "--local", byUrl!, "--once"]);
      for (const path of [restored!, replica!, byUrl!]) assertSameBytes(join(folder, path), dataOf(name));
    }
  });

  test("watch skips a find whose name is a file of another; a named one ends the start", async () => {
    const path = dataOf("a/manifest.json");
    await newDatabase(path, "in the way");
    const watch = await WatchProcess.start([], { cwd: folder, env });
    await watch.waitFor("the warning", ({ stderr }) => stderr.includes("a file of tenants/a has that name"));
    expect(await watch.stop()).toBe(0);
    const entryOf = (of: string, name: string) => `[[databases]]\npath = "${of}"\nname = "${name}"\n`;
    const toml = entryOf("data/a.db", "a") + entryOf(path, "a/manifest.json");
    writeFileSync(join(folder, "named.toml"), `[metrics]\nenabled = false\n${toml}`);
    const refused = await run(["watch", "--config", "named.toml", "-b", bucket]);
    expect([refused.exitCode, refused.stderr]).toEqual([
      2,
      expect.stringContaining("a file of a has that name"),
    ]);
    expect(refused.stderr).toContain("give it a name in walrust.toml");
  });
});
