/**
 * Databases that SQLite cannot check here, or whose check finds a fault. walrust restores, replicates and
 * verifies them with a warning. Also a schema whose check never ends: signals still stop the verb.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { copyFileSync, existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import {
  APPLICATION_DATABASES,
  CHECKABLE_DATABASES,
  databaseWith,
  databaseWithExpression,
  encryptedDatabase,
  inWalMode,
  SLOW_EXPRESSION,
} from "../../recovery/integrity/integrity-databases.ts";
import { eventually } from "../../support/eventually.ts";
import { assertSameBytes } from "../../support/histories/database-files.ts";
import {
  collect,
  documentOf,
  mustWalrust,
  runWalrust,
  spawnWalrust,
} from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { Litestream } from "../../support/servers/litestream.ts";
import { testWith } from "../../support/servers/peers.ts";
import { tempFolder } from "../../support/temp.ts";

setDefaultTimeout(120_000);

/** Takes a snapshot of the database. @returns the words for the bucket */
async function backUp(path: string): Promise<string[]> {
  const words = ["-b", `file://${tempFolder("bucket")}`];
  await mustWalrust(["snapshot", path, ...words]);
  return words;
}

const newOutput = (): string => join(tempFolder("restored"), "out.db");

describe("a database that SQLite cannot check here", () => {
  const kinds: Readonly<Record<string, () => string>> = {
    ...APPLICATION_DATABASES,
    "a header in the clear before noise": () => encryptedDatabase(32),
  };

  test.each(Object.keys(kinds))("%s: restored with a warning, also with --strict", async (kind) => {
    const path = inWalMode(kinds[kind]!());
    const words = await backUp(path);
    const output = newOutput();
    const run = await mustWalrust(["restore", "app", "-o", output, ...words, "--strict", "--json"]);
    assertSameBytes(output, path);
    expect(run.stderr).toContain("WARN app: integrity_check cannot check everything");
    const { integrity_check: check } = documentOf<{ integrity_check: { status: string } }>(run);
    expect(check).toMatchObject({ mode: "full", problems: [] });
    expect(check.status).toMatch(/^(partial|not_checked)$/);
    const verified = await runWalrust(["verify", "app", "--restore", ...words]);
    expect([verified.exitCode, verified.stdout]).toEqual([1, expect.stringContaining("WARNING not-checked")]);
    expect(verified.stdout.match(/→ `walrust restore app -o COPY`/g)).toHaveLength(1);
    const all = await runWalrust(["verify", "--all", ...words]);
    expect([all.exitCode, all.stdout.split("\n")[0]]).toEqual([
      0,
      expect.stringMatching(/^app: ok \(\d+ object/),
    ]);
  });

  test("snapshot and watch report it once, when they first see the database", async () => {
    const path = inWalMode(APPLICATION_DATABASES["an index on a function"]!());
    const words = ["-b", `file://${tempFolder("bucket")}`];
    const warning = "SQLite cannot check this database completely: unknown function: slugs()";
    const [first, second] = [
      await mustWalrust(["snapshot", path, ...words]),
      await mustWalrust(["snapshot", path, ...words]),
    ];
    expect(first.stderr).toContain(`WARN app: ${warning}`);
    expect(second.stderr).toBe("");

    const folder = tempFolder("live");
    const live = join(folder, "live.db");
    copyFileSync(path, live);
    // The application has the database open, and only the WAL has its newest table.
    const app = await SqliteProcess.open(live);
    await app.must("CREATE TABLE more(x)");
    const watched = await WatchProcess.start([live, ...words, "--no-metrics"]);
    await eventually("it is told", async () => watched.stderr.includes(`WARN live: ${warning}`));
    await watched.stop();
    expect(readdirSync(folder).toSorted()).toEqual([
      ".live.db-walrust",
      "live.db",
      "live.db-shm",
      "live.db-wal",
    ]);
    expect(watched.stderr.split(warning).length).toBe(2);
    const again = await WatchProcess.start([live, ...words, "--no-metrics"]);
    await again.stop();
    expect(again.stderr).not.toContain(warning);
    await app.close();
  });

  test("replicate follows it", async () => {
    const path = inWalMode(APPLICATION_DATABASES["an index with a collation"]!());
    const words = await backUp(path);
    const local = newOutput();
    const run = await mustWalrust(["replicate", "app", "--local", local, "--once", ...words]);
    expect(run.stderr).toContain("integrity_check cannot check everything: table t");
    assertSameBytes(local, path);
  });

  test.each(Object.keys(CHECKABLE_DATABASES))("%s: no word about it", async (kind) => {
    const words = await backUp(inWalMode(CHECKABLE_DATABASES[kind]!()));
    const run = await mustWalrust(["restore", "app", "-o", newOutput(), ...words]);
    expect([run.stderr, run.stdout]).toEqual(["", expect.stringContaining("integrity_check ok")]);
  });
});

describe("a database with an integrity fault", () => {
  const withFault = (): string =>
    inWalMode(
      databaseWith(
        ["CREATE TABLE t(id INTEGER PRIMARY KEY, code)", "CREATE INDEX i ON t(code)"],
        [["ON t(code)", "ON t(id)"]],
      ),
    );

  test("restore warns; with --strict it ends with 5 and leaves the target untouched", async () => {
    const path = withFault();
    const words = await backUp(path);
    const output = newOutput();
    const strict = await runWalrust(["restore", "app", "-o", output, ...words, "--strict", "--json"]);
    expect([strict.exitCode, readdirSync(dirname(output))]).toEqual([5, []]);
    const run = await mustWalrust(["restore", "app", "-o", output, ...words, "--json"]);
    assertSameBytes(output, path);
    expect(run.stderr).toContain("integrity_check finds a fault that the source had already");
    expect(documentOf(run)).toMatchObject({
      checks: { integrity_check: "failed" },
      integrity_check: { status: "failed", problems: expect.arrayContaining(["row 1 missing from index i"]) },
    });
    const verified = await runWalrust(["verify", "app", "--restore", ...words, "--json"]);
    const { databases } = JSON.parse(verified.stdout) as { databases: object[] };
    expect([verified.exitCode, databases[0]]).toMatchObject([1, { findings: [{ code: "source-damaged" }] }]);
  });

  test.each([
    ["quick", "ok"],
    ["off", "skipped"],
  ])("--integrity-check=%s does not look at it", async (mode, status) => {
    const words = await backUp(withFault());
    const run = await mustWalrust([
      ...["restore", "app", "-o", newOutput(), ...words, "--json"],
      `--integrity-check=${mode}`,
    ]);
    expect(run.stderr).toBe("");
    expect(documentOf(run)).toMatchObject({ integrity_check: { mode, status, problems: [] } });
  });

  testWith("litestream")(
    "a copy without checksums ends with 5, or is unchecked: the copy may be at fault",
    async () => {
      const path = withFault();
      const app = await SqliteProcess.open(path);
      await app.must("CREATE TABLE more(x)");
      const destination = fileDestination();
      const litestream = Litestream.start(path, destination, "app", tempFolder("litestream"));
      await eventually("its first file", async () => (await destination.objects("app")).length > 0);
      await litestream.stop();
      await app.close();
      const words = ["restore", "app", ...destination.words];
      const refused = await runWalrust([...words, "-o", newOutput()]);
      expect([refused.exitCode, refused.stderr]).toEqual([
        5,
        expect.stringContaining("--integrity-check=off"),
      ]);
      const run = await mustWalrust([...words, "-o", newOutput(), "--integrity-check=off"]);
      expect(run.stdout).toContain("integrity_check skipped");
    },
  );

  test("restore refuses --strict without a check", async () => {
    const words = ["restore", "app", "-o", newOutput(), "-b", "file:///nowhere"];
    const run = await runWalrust([...words, "--strict", "--integrity-check", "off"]);
    expect([run.exitCode, run.stderr]).toEqual([2, expect.stringContaining("--strict")]);
  });
});

describe("a schema whose check never ends", () => {
  const isLinux = process.platform === "linux";
  /** The processes whose command line names a file below this folder. */
  const checkersOf = (folder: string): string[] =>
    readdirSync("/proc").filter((pid) => {
      if (!/^\d+$/.test(pid) || !existsSync(`/proc/${pid}/cmdline`)) return false;
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
        return words.includes("__check-database") && words.some((word) => word.startsWith(folder));
      } catch {
        return false;
      }
    });

  test.skipIf(!isLinux).each(["SIGINT", "SIGKILL"] as const)(
    "%s ends the restore and its check",
    async (signal) => {
      const words = await backUp(inWalMode(databaseWithExpression(SLOW_EXPRESSION)));
      const output = newOutput();
      const folder = dirname(output);
      const child = await spawnWalrust(["restore", "app", "-o", output, ...words]);
      await eventually("the check runs", async () => checkersOf(folder).length === 1);
      child.kill(signal);
      if (signal === "SIGKILL") await child.exited;
      else expect((await collect(child, "restore")).exitCode).toBe(130);
      await eventually("the check is gone", async () => checkersOf(folder).length === 0);
      expect(existsSync(output)).toBe(false);
      if (signal === "SIGINT") expect(readdirSync(folder)).toEqual([]);
    },
  );
});

test("restore accepts now, an epoch and a duration ago", async () => {
  const path = inWalMode(databaseWith(["CREATE TABLE t(code)"]));
  const words = await backUp(path);
  const at = (point: string) =>
    runWalrust(["restore", "app", "-o", newOutput(), ...words, "--point-in-time", point]);
  const epoch = Math.ceil(Date.now() / 1000);
  for (const point of ["now", "-0s"]) expect((await at(point)).exitCode).toBe(0);
  await eventually("the second is over", async () => Date.now() >= epoch * 1000);
  expect((await at(String(epoch))).exitCode).toBe(0);
  for (const point of ["-2h", "1000000000"]) {
    const run = await at(point);
    expect([run.exitCode, run.stderr]).toEqual([6, expect.stringContaining("before the oldest capture")]);
  }
});
