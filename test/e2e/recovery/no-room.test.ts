/**
 * Restores and replicas by the executable on a disk with too little room. walrust reports the needed and the
 * free bytes before it writes a page. The disk stays as it was, and walrust continues with the states that
 * fit.
 */
import { Database } from "bun:sqlite";
import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { cpSync } from "node:fs";
import { join } from "node:path";
import {
  cleanEnvironment,
  collect,
  mustWalrust,
  type Run,
  walrustBinary,
} from "../../support/processes/binary.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(60_000);

const canMount =
  process.geteuid?.() === 0 &&
  Bun.which("unshare") !== null &&
  Bun.spawnSync(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]).success;

const DISK_MB = 16;
/** Runs after the command, so that the test sees the remaining files. */
const MOUNTED = `mount -t tmpfs -o size=${DISK_MB}m tmpfs "$1" && cd "$1" && shift && "$@"
code=$?; echo "left: $(ls -A | tr '\\n' ' ')"; echo "used: $(df --output=used . | tail -1)"; exit $code`;

describe.skipIf(!canMount)("a disk without room", () => {
  const destination = fileDestination();
  const path = join(tempFolder("app"), "app.db");
  /** The destination before the database grew. */
  const before = join(tempFolder("before"), "bucket");

  const onDisk = (command: readonly string[]): Promise<Run> => {
    const child = Bun.spawn(["unshare", "-m", "sh", "-c", MOUNTED, "sh", tempFolder("disk"), ...command], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      env: cleanEnvironment(),
    });
    return collect(child, command.join(" "));
  };
  const onSmallDisk = async (words: readonly string[]): Promise<Run> =>
    onDisk([await walrustBinary(), ...words, ...destination.words]);

  /** A snapshot that fits, and an increment that exceeds the room. */
  beforeAll(async () => {
    const database = new Database(path);
    database.run("PRAGMA journal_mode = WAL");
    database.run("CREATE TABLE t (x BLOB)");
    database.run("INSERT INTO t VALUES (randomblob(4000000))");
    await mustWalrust(["snapshot", path, ...destination.words]);
    cpSync(destination.folder, before, { recursive: true });
    database.run("INSERT INTO t VALUES (randomblob(20000000))");
    await mustWalrust(["snapshot", path, ...destination.words]);
    database.close();
  });

  const verbs: readonly [string, readonly string[], string][] = [
    ["restore", ["restore", "app", "-o", "app.db"], "-o"],
    ["the first state of a replica", ["replicate", "app", "--local", "app.db", "--once"], "--local"],
  ];
  test.each(verbs)("%s", async (_what, words, hint) => {
    const run = await onSmallDisk(words);
    expect([run.exitCode, run.stderr]).toEqual([3, expect.stringContaining("There is no room in ")]);
    expect(run.stderr).toMatch(/\d\d\.\d MB more are needed, \d\d\.\d MB are free/);
    expect(run.stderr).toContain(hint);
    expect(run.stdout).toMatch(/left: *\n/);
    expect(run.stdout).toMatch(/used: *0\n/);
  });

  test("a replica stays as it is when its source grows too large", async () => {
    const replicate = `"${await walrustBinary()}" replicate app --local app.db --once`;
    const words = destination.words.map((word) => `"${word}"`).join(" ");
    const follow = `${replicate} ${words}`;
    const steps = ['mv "$2" "$2.new"', 'mv "$1" "$2"', follow, 'mv "$2" "$1"', 'mv "$2.new" "$2"', follow];
    const run = await onDisk(["sh", "-c", steps.join(" && "), "sh", before, destination.folder]);
    expect([run.exitCode, run.stderr]).toEqual([3, expect.stringContaining("There is no room in ")]);
    expect(Number(/used: *(\d+)/.exec(run.stdout)?.[1])).toBeLessThan(8 * 1024);
    expect(run.stderr).toContain("is at TXID 1 of");
  });

  test("restore of a point in time that fits succeeds", async () => {
    const words = ["restore", "app", "-o", "app.db", "--point-in-time", "txid:1"];
    const run = await onSmallDisk(words);
    expect([run.exitCode, run.stdout]).toEqual([0, expect.stringContaining("left: ")]);
  });
});
