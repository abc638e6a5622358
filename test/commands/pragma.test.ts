/**
 * `walrust pragma`: `sqlite3` runs its SQL unchanged, and the settings take effect. The SQL does not change a
 * database's content. With -o it replaces a file as a whole or not at all.
 */

import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { AVOIDED_PRAGMAS, pragmaSql, recommendedPragmas } from "../../src/database/recommended-pragmas.ts";
import { DEFAULT_CONFIG } from "../support/config.ts";
import { peerPath, testWith } from "../support/servers/peers.ts";
import { tempFolder } from "../support/temp.ts";

/** The pragmas beside a watch with the default settings. */
const RECOMMENDED = recommendedPragmas(DEFAULT_CONFIG.sync.minCheckpointPageCount);

setDefaultTimeout(30_000);

const MAIN = join(import.meta.dir, "..", "..", "src", "main.ts");

interface Run {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function run(command: string[], options: { stdin?: string; cwd?: string } = {}): Promise<Run> {
  const stdin = new Blob([options.stdin ?? ""]);
  const child = Bun.spawn(command, { cwd: options.cwd ?? "/", stdin, stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { exitCode: await child.exited, stdout, stderr };
}

const pragma = (words: string[] = [], cwd?: string): Promise<Run> =>
  run([process.execPath, MAIN, "pragma", ...words], cwd === undefined ? {} : { cwd });

const sqlite3 = (path: string, sql: string, ...words: string[]): Promise<Run> =>
  run([peerPath("sqlite3"), ...words, path], { stdin: sql });

const ASK =
  "SELECT '--'; PRAGMA journal_mode; PRAGMA synchronous; PRAGMA busy_timeout; \
PRAGMA wal_autocheckpoint; PRAGMA journal_size_limit; PRAGMA integrity_check;";
const DEFAULTS_IN_FORCE = ["wal", "2", "5000", "1000", "67108864", "ok"];

/** The output after the marker that ASK prints. */
const answersOf = ({ stdout }: Run): string[] => stdout.trimEnd().split("--\n").at(-1)!.split("\n");

/** A database in rollback mode, with content. */
function populated(): string {
  const path = join(tempFolder("pragma"), "app.db");
  const database = new Database(path);
  database.run("PRAGMA page_size = 1024");
  database.run("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)");
  for (let id = 1; id <= 50; id++) database.run("INSERT INTO t VALUES (?, randomblob(700))", [id]);
  database.close();
  return path;
}

function contentOf(path: string): unknown[] {
  const database = new Database(path);
  const rows = database.query("SELECT id, hex(x) AS x FROM t ORDER BY id").all();
  database.close();
  return rows;
}

describe.each(["true", "false"])("walrust pragma --comments %s", (comments) => {
  testWith("sqlite3")("a new database: exit 0, nothing on stderr, every setting is in force", async () => {
    const { stdout: sql, stderr, exitCode } = await pragma(["--comments", comments]);
    expect([exitCode, stderr, sql.includes("--")]).toEqual([0, "", comments === "true"]);
    const path = join(tempFolder("pragma"), "new.db");
    const ran = await sqlite3(path, sql + ASK);
    expect([ran.exitCode, ran.stderr]).toEqual([0, ""]);
    expect(answersOf(ran)).toEqual(DEFAULTS_IN_FORCE);
  });

  testWith("sqlite3")("a database with content: the same, and its content is what it was", async () => {
    const path = populated();
    const before = contentOf(path);
    const ran = await sqlite3(path, (await pragma(["--comments", comments])).stdout + ASK);
    expect([ran.exitCode, ran.stderr]).toEqual([0, ""]);
    expect(answersOf(ran)).toEqual(DEFAULTS_IN_FORCE);
    expect(contentOf(path)).toEqual(before);
  });
});

describe("the effect of the settings", () => {
  const sql = pragmaSql(RECOMMENDED, true);

  testWith("sqlite3")("the next connection has only the settings that the database stores", async () => {
    const path = join(tempFolder("pragma"), "new.db");
    const plain = answersOf(await sqlite3(path, ASK));
    await sqlite3(path, sql);
    expect(answersOf(await sqlite3(path, ASK))).toEqual(["wal", ...plain.slice(1)]);
    expect(RECOMMENDED.filter(({ scope }) => scope === "database")).toMatchObject([{ name: "journal_mode" }]);
  });

  test("Bun's SQLite accepts them", () => {
    const database = new Database(join(tempFolder("pragma"), "bun.db"));
    database.run(sql);
    for (const { name, value } of RECOMMENDED.filter((one) => one.name !== "synchronous")) {
      const [row] = database.query(`PRAGMA ${name}`).values() as [unknown[]];
      expect([name, String(row[0])]).toEqual([name, String(value).toLowerCase()]);
    }
    expect(database.query("PRAGMA synchronous").values()).toEqual([[2]]);
    database.close();
  });

  testWith("sqlite3")(
    "a read-only connection to a database in rollback mode fails, and changes nothing",
    async () => {
      const path = populated();
      const before = readFileSync(path);
      const ran = await sqlite3(path, sql, "-readonly", "-bail");
      expect([ran.exitCode, ran.stderr]).toEqual([1, expect.stringContaining("readonly database")]);
      expect(readFileSync(path).equals(before)).toBe(true);
    },
  );

  testWith("sqlite3")(
    "a rollback-mode database with a writer: locked, and the writer continues",
    async () => {
      const path = populated();
      const writer = new Database(path);
      writer.run("BEGIN IMMEDIATE");
      writer.run("DELETE FROM t WHERE id > 10");
      const ran = await sqlite3(path, sql, "-bail");
      expect([ran.exitCode, ran.stderr]).toEqual([1, expect.stringContaining("database is locked")]);
      writer.run("COMMIT");
      writer.close();
      expect(contentOf(path).length).toBe(10);
    },
  );

  testWith("sqlite3")("a WAL database with a writer and a reader: no statement waits or fails", async () => {
    const path = populated();
    const writer = new Database(path);
    writer.run("PRAGMA journal_mode = WAL");
    const reader = new Database(path);
    reader.run("BEGIN");
    reader.query("SELECT count(*) FROM t").get();
    writer.run("BEGIN IMMEDIATE");
    writer.run("DELETE FROM t WHERE id > 10");
    const ran = await sqlite3(path, sql + ASK);
    expect([ran.exitCode, ran.stderr]).toEqual([0, ""]);
    expect(answersOf(ran)).toEqual(DEFAULTS_IN_FORCE);
    writer.run("COMMIT");
    for (const database of [reader, writer]) database.close();
    expect(contentOf(path).length).toBe(10);
  });

  test("the WAL of an unwatched database grows without autocheckpoint, but not with the advice", () => {
    const walBytes = (pragmas: string): number => {
      const path = join(tempFolder("pragma"), "app.db");
      const database = new Database(path);
      database.run(sql + pragmas);
      database.run("PRAGMA synchronous = OFF");
      database.run("CREATE TABLE t (x)");
      for (let row = 0; row < 3000; row++) database.run("INSERT INTO t VALUES (zeroblob(4000))");
      const bytes = statSync(`${path}-wal`).size;
      database.close();
      return bytes;
    };
    expect(walBytes("")).toBeLessThan(6e6);
    expect(walBytes("PRAGMA wal_autocheckpoint = 0;")).toBeGreaterThan(20e6);
  });
});

describe("recommendedPragmas", () => {
  const valuesAt = (pages = DEFAULT_CONFIG.sync.minCheckpointPageCount): unknown[] =>
    recommendedPragmas(pages).flatMap(({ name, value }) =>
      ["wal_autocheckpoint", "journal_size_limit"].includes(name) ? [value] : [],
    );

  test.each([
    [undefined, 1000, 64 << 20],
    [1, 1000, 64 << 20],
    [1000, 1000, 64 << 20],
    [5000, 5000, 4 * 5000 * 4096],
    [10_000_000, 10_000, 4 * 10_000_000 * 4096],
  ])("follows the watch's threshold of %p pages within limits: %p, %p", (pages, autocheckpoint, limit) => {
    expect(valuesAt(pages)).toEqual([autocheckpoint, limit]);
  });

  test("each has a reason, and a source at sqlite.org that the comments name", () => {
    const sql = pragmaSql(RECOMMENDED, true);
    for (const { reason, source } of [...RECOMMENDED, ...AVOIDED_PRAGMAS]) {
      expect([reason.length > 20, source.startsWith("https://sqlite.org/")]).toEqual([true, true]);
    }
    for (const { source } of RECOMMENDED) expect(sql).toContain(source);
    for (const line of sql.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });
});

describe("walrust pragma -o", () => {
  test("writes the output to a file, leaves nothing beside it, and replaces an older file", async () => {
    const folder = tempFolder("pragma");
    const path = join(folder, "pragmas.sql");
    for (const words of [["--comments", "false"], []]) {
      expect(await pragma(["-o", path, ...words])).toEqual({ exitCode: 0, stdout: "", stderr: "" });
      expect(readFileSync(path, "utf8")).toBe((await pragma(words)).stdout);
      expect(readdirSync(folder)).toEqual(["pragmas.sql"]);
    }
  });

  test("keeps the mode of the replaced file, and writes through a link", async () => {
    const folder = tempFolder("pragma");
    const path = join(folder, "real.sql");
    writeFileSync(path, "old");
    chmodSync(path, 0o640);
    symlinkSync("real.sql", join(folder, "link.sql"));
    expect((await pragma(["-o", "link.sql"], folder)).exitCode).toBe(0);
    expect(readlinkSync(join(folder, "link.sql"))).toBe("real.sql");
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(readFileSync(path, "utf8")).toContain("PRAGMA journal_mode = WAL;");
  });

  test("a FIFO without a reader: exit 2 at once; one with a reader receives everything", async () => {
    const fifo = join(tempFolder("pragma"), "fifo.sql");
    Bun.spawnSync(["mkfifo", fifo]);
    const { exitCode, stderr } = await pragma(["-o", fifo]);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("ENXIO")]);
    const script = 'cat "$1" & exec 3>"$1"; shift; "$@"; exec 3>&-; wait';
    const { stdout } = await run([
      "sh",
      "-c",
      script,
      "sh",
      fifo,
      process.execPath,
      MAIN,
      "pragma",
      "-o",
      fifo,
    ]);
    expect(stdout).toBe((await pragma()).stdout);
  });

  test.skipIf(process.geteuid?.() !== 0)("writes through no link that another user made", async () => {
    const folder = tempFolder("pragma");
    const path = join(folder, "of-root.sql");
    writeFileSync(path, "-- of root\n");
    symlinkSync(path, join(folder, "link.sql"));
    lchownSync(join(folder, "link.sql"), 4242, 4242);
    const { exitCode, stderr } = await pragma(["-o", "link.sql"], folder);
    expect([exitCode, stderr]).toEqual([2, expect.stringContaining("is a link of user 4242")]);
    expect(readFileSync(path, "utf8")).toBe("-- of root\n");
    expect(readdirSync(folder).sort()).toEqual(["link.sql", "of-root.sql"]);
  });

  test.each(["-", "/dev/stdout"])("-o %s is stdout", async (name) => {
    expect((await pragma(["-o", name])).stdout).toBe((await pragma()).stdout);
  });

  test("a database, a folder, an impossible path: exit 2, and nothing changes", async () => {
    const database = populated();
    const before = readFileSync(database);
    const folder = tempFolder("pragma");
    mkdirSync(join(folder, "folder"));
    for (const path of [database, join(folder, "folder"), join(folder, "none", "a.sql")]) {
      const { exitCode, stdout, stderr } = await pragma(["-o", path]);
      expect([exitCode, stdout, stderr]).toEqual([2, "", expect.stringContaining(`Cannot write to ${path}`)]);
    }
    expect(readFileSync(database).equals(before)).toBe(true);
    expect(readdirSync(folder)).toEqual(["folder"]);
  });

  test("a full device: exit 1", async () => {
    const { exitCode, stderr } = await pragma(["-o", "/dev/full"]);
    expect([exitCode, stderr]).toEqual([1, expect.stringContaining("ENOSPC")]);
  });
});

describe("walrust pragma --json", () => {
  test("one document with each setting, its scope, reason and source", async () => {
    const { exitCode, stdout, stderr } = await pragma(["--json"]);
    expect([exitCode, stderr]).toEqual([0, ""]);
    const expected = { pragmas: RECOMMENDED, avoid: AVOIDED_PRAGMAS, output: null };
    expect(JSON.parse(stdout)).toEqual(JSON.parse(JSON.stringify(expected)));
    expect(Object.keys(JSON.parse(stdout).pragmas[0])).toEqual([
      "name",
      "value",
      "scope",
      "reason",
      "source",
    ]);
  });

  test("with -o the file has the SQL and the document names the file", async () => {
    const path = join(tempFolder("pragma"), "pragmas.sql");
    const { stdout } = await pragma(["--json", "-o", path]);
    expect(JSON.parse(stdout).output).toBe(path);
    expect(readFileSync(path, "utf8")).toBe((await pragma()).stdout);
  });

  test("the configuration's checkpoint threshold shows in the advice", async () => {
    const folder = tempFolder("pragma");
    writeFileSync(join(folder, "walrust.toml"), "[sync]\nmin_checkpoint_page_count = 4000\n");
    const { stdout } = await pragma(["--comments=false"], folder);
    expect(stdout).toContain("PRAGMA wal_autocheckpoint = 4000;");
  });
});
