/**
 * The executable beside applications that share no wal-index with it: their -shm was deleted, or they opened
 * another name of the file. /health reports the state with a remedy. The restore has what the application
 * finds after its restart.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HealthReport } from "../../../src/observability/health.ts";
import { eventually } from "../../support/eventually.ts";
import { mustWalrust, type RunOptions, runWalrust } from "../../support/processes/binary.ts";
import { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { WatchProcess } from "../../support/processes/watch-process.ts";
import { fileDestination } from "../../support/servers/destinations.ts";
import { freePort } from "../../support/servers/free-port.ts";
import { tempFolder } from "../../support/temp.ts";

const apps: SqliteProcess[] = [];
afterEach(async () => {
  for (const app of apps.splice(0)) await app.kill();
});

async function opened(path: string): Promise<SqliteProcess> {
  const app = await SqliteProcess.open(path);
  apps.push(app);
  return app;
}

async function newDatabase(path: string): Promise<SqliteProcess> {
  const app = await opened(path);
  await app.must("PRAGMA journal_mode = WAL", "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
  await insert(app, 1);
  return app;
}

async function insert(app: SqliteProcess, count: number): Promise<void> {
  for (let row = 0; row < count; row++) await app.must("INSERT INTO t(v) VALUES (hex(randomblob(50)))");
}

const DUMP = "SELECT id, v FROM t ORDER BY id";

interface Health {
  readonly status: number;
  readonly codes: readonly string[];
  readonly hints: readonly string[];
}

/** A watch that serves its health. */
class Watched {
  private constructor(
    readonly watch: WatchProcess,
    readonly port: number,
    readonly words: readonly string[],
  ) {}

  static async start(path: string, options: RunOptions = {}): Promise<Watched> {
    const port = await freePort();
    const { words } = fileDestination();
    const watch = await WatchProcess.start([path, ...words, "--metrics-port", String(port)], options);
    await watch.waitForTxid(1);
    return new Watched(watch, port, words);
  }

  async health(): Promise<Health> {
    const response = await fetch(`http://127.0.0.1:${this.port}/health`);
    const { databases } = (await response.json()) as {
      databases: Record<string, { conditions: { code: string; hint: string }[] }>;
    };
    const conditions = databases["app"]?.conditions ?? [];
    const codes = conditions.map(({ code }) => code);
    return { status: response.status, codes, hints: conditions.map(({ hint }) => hint) };
  }

  async untilUnhealthy(code: string): Promise<Health> {
    await eventually(code, async () => (await this.health()).codes.includes(code));
    const health = await this.health();
    expect(health.status).toBe(503);
    return health;
  }

  async untilHealthy(): Promise<void> {
    await eventually("health", async () => (await this.health()).codes.length === 0);
  }

  /** Stops the watch and restores. @returns the rows */
  async restored(exitCode = 0): Promise<unknown> {
    expect(await this.watch.stop()).toBe(exitCode);
    const output = join(tempFolder("restored"), "app.db");
    await mustWalrust(["restore", "app", "-o", output, ...this.words]);
    return rowsAt(output);
  }
}

async function rowsAt(path: string): Promise<unknown> {
  const reader = await SqliteProcess.open(path);
  const { rows } = await reader.must(DUMP);
  await reader.close();
  return rows;
}

describe.each([[["-shm"]], [["-wal"]], [["-shm", "-wal"]]])(
  "%p deleted under the application",
  (suffixes) => {
    test("is unhealthy, and the restore has what the application finds after its restart", async () => {
      const path = join(tempFolder("gone"), "app.db");
      const app = await newDatabase(path);
      const watched = await Watched.start(path);
      await insert(app, 5);
      for (const suffix of suffixes) rmSync(path + suffix);
      await insert(app, 20);
      const { hints } = await watched.untilUnhealthy("not-shared");
      expect(hints[0]).toContain("SIGTERM");
      await insert(app, 20);
      await app.close();
      const again = await opened(path);
      await insert(again, 5);
      expect((await again.must("SELECT count(*) FROM t")).rows).toEqual([[51]]);
      await watched.untilHealthy();
      await insert(again, 5);
      await again.close();
      expect(await watched.restored()).toEqual((await rowsAt(path)) as never);
    }, 60_000);
  },
);

test("ends with 3 while an application has commits that no file has, also --exec and --once", async () => {
  const path = join(tempFolder("unread"), "app.db");
  const app = await newDatabase(path);
  const { watch, words, port } = await Watched.start(path);
  for (const suffix of ["-shm", "-wal"]) rmSync(path + suffix);
  await insert(app, 3);
  await watch.waitFor("the condition", () => watch.eventsOf("condition").length > 0);
  const lagOf = async (): Promise<number> => {
    const report = (await (await fetch(`http://127.0.0.1:${port}/health`)).json()) as HealthReport;
    return report.databases["app"]!.lag_seconds ?? 0;
  };
  await eventually("a lag", async () => (await lagOf()) > 0);
  expect(await watch.stop()).toBe(3);
  expect(watch.stderr).toContain("stopped; the last commits are not captured of app");
  for (const [course, exitCode] of [
    [["--once"], 3],
    [["--exec", "true"], 3],
    [["--exec", "sh -c 'exit 9'"], 9],
  ] as const) {
    const run = await runWalrust(["watch", path, ...words, "--no-metrics", ...course]);
    expect([course, run.exitCode]).toEqual([course, exitCode]);
    expect(run.stderr).toMatch(/is open in a process that does not use \S+-shm and -wal/);
  }
  await app.close();
  const again = await WatchProcess.start([path, ...words]);
  await again.waitFor("its start", () => again.eventsOf("watching").length > 0);
  expect(await again.stop()).toBe(0);
  const restored = join(tempFolder("restored"), "app.db");
  await mustWalrust(["restore", "app", "-o", restored, ...words]);
  expect(await rowsAt(restored)).toEqual((await rowsAt(path)) as never);
}, 90_000);

test("is unhealthy for a hard link, and for an application that comes and goes by it", async () => {
  const path = join(tempFolder("link"), "app.db");
  const app = await newDatabase(path);
  await app.close();
  linkSync(path, `${path}.link`);
  const watched = await Watched.start(path);
  const { hints } = await watched.untilUnhealthy("more-than-one-name");
  expect(hints[0]).toContain("symbolic links");
  for (let time = 0; time < 3; time++) {
    const linked = await opened(`${path}.link`);
    await insert(linked, 2);
    await linked.close();
    expect((await watched.health()).status).toBe(503);
  }
  rmSync(`${path}.link`);
  await watched.untilHealthy();
  expect(await watched.watch.stop()).toBe(0);
}, 60_000);

const canMount =
  process.geteuid?.() === 0 &&
  Bun.which("unshare") !== null &&
  Bun.spawnSync(["unshare", "-m", "true"]).success;

describe.skipIf(!canMount)("a file that is a bind mount", () => {
  /** Runs a command with the file at `from` mounted at `to`. */
  const mounted = (from: string, to: string): readonly string[] => [
    ...["unshare", "-m", "sh", "-c", 'mount --bind "$1" "$2" && shift 2 && exec "$@"', "sh", from, to],
  ];

  test("is unhealthy where the watch has the mount, and captures what is checkpointed", async () => {
    const folder = tempFolder("mount");
    const outside = join(folder, "outside.db");
    const app = await newDatabase(outside);
    mkdirSync(join(folder, "in"));
    const inside = join(folder, "in", "app.db");
    writeFileSync(inside, "");
    await app.must("PRAGMA wal_checkpoint(TRUNCATE)");
    const watched = await Watched.start(inside, { by: mounted(outside, inside) });
    await insert(app, 10);
    const { hints } = await watched.untilUnhealthy("not-shared");
    expect(hints[0]).toContain("mount the folder");
    await app.must("PRAGMA wal_checkpoint(PASSIVE)");
    await watched.watch.waitForTxid(2);
    // The application goes on, and walrust cannot read what it commits next.
    expect(await watched.restored(3)).toEqual((await rowsAt(outside)) as never);
  }, 60_000);

  test("is unhealthy where the application has the mount and the watch the original", async () => {
    const folder = tempFolder("mount");
    const path = join(folder, "app.db");
    const first = await newDatabase(path);
    await first.close();
    const watched = await Watched.start(path);
    mkdirSync(join(folder, "container"));
    const inside = join(folder, "container", "data.db");
    writeFileSync(inside, "");
    const script = join(import.meta.dir, "../../support/processes/sqlite-process-main.ts");
    const container = Bun.spawn([...mounted(path, inside), process.execPath, script, inside], {
      stdin: "pipe",
      stdout: "ignore",
      stderr: "inherit",
    });
    try {
      container.stdin.write(`${JSON.stringify(["INSERT INTO t(v) VALUES ('in the container')"])}\n`);
      await container.stdin.flush();
      await watched.untilUnhealthy("not-shared");
    } finally {
      container.stdin.end();
      await container.exited;
    }
    // No lock of walrust kept the application's last close from writing the commit into the file.
    await watched.watch.waitForTxid(2);
    expect(await watched.restored()).toEqual((await rowsAt(path)) as never);
  }, 60_000);
});

test("watch follows a link that leads to another file", async () => {
  const folder = tempFolder("releases");
  for (const release of ["1", "2"]) mkdirSync(join(folder, release));
  const [one, two] = [
    await newDatabase(join(folder, "1/app.db")),
    await newDatabase(join(folder, "2/app.db")),
  ];
  symlinkSync("1", join(folder, "current"));
  const watched = await Watched.start(join(folder, "current/app.db"));
  await insert(two, 3);
  rmSync(join(folder, "current"));
  symlinkSync("2", join(folder, "current"));
  await watched.watch.waitFor("the other", (watch) => watch.eventsOf("watching").length === 2);
  await insert(two, 3);
  await Promise.all([one.close(), two.close()]);
  expect(await watched.restored()).toEqual((await rowsAt(join(folder, "2/app.db"))) as never);
}, 60_000);
