/**
 * The cases of `beside.ts`. Each runs `walrust watch` on one database beside processes of an application, and
 * ends with a restore that must have the bytes of the database.
 */
import { Database } from "bun:sqlite";
import { copyFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { assertSame, settleDatabase } from "../measure/comparison.ts";
import { createDatabase, openAsApplication, prepareCommit } from "../measure/databases.ts";
import { sampleProcess } from "../measure/proc.ts";
import { quantile } from "../measure/statistics.ts";
import { type Child, readLog, type Workspace, waitUntil } from "../measure/workspace.ts";
import { bunCommand } from "../toolchain.ts";

/** Options of a process of the application. */
export interface ApplicationOptions {
  readonly path: string;
  readonly role: "writer" | "reader" | "checkpointer";
  readonly synchronous: "FULL" | "NORMAL";
  /** Between two commits or checkpoints, or the length of a read transaction. */
  readonly pauseMs: number;
  readonly seed: number;
}

/** Durations of the operations of a process. */
export interface ApplicationResult {
  readonly count: number;
  /** Checkpoints that did not get their locks in five seconds. */
  readonly busyCount: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** The surroundings of a case. */
export interface Site {
  readonly workspace: Workspace;
  readonly binary: string;
  readonly durationMs: number;
  readonly sizeBytes: number;
}

/** Measured values by name; names end in their unit. */
export type Values = Readonly<Record<string, number>>;

/** A case. */
export type Case = (site: Site) => Promise<Values>;

/** The fields of an event of the watch that the cases read. */
interface WatchLine {
  readonly held_ms: number;
  readonly frames: number;
  readonly txid: number;
  readonly time: string;
  readonly lag_ms: number;
}

const READY_LIMIT_MS = 600_000;
const STOP_LIMIT_MS = 120_000;
const FRAME_BYTES = 24 + 4096;
const WAL_HEADER_BYTES = 32;
/** The default of --min-checkpoint-pages. */
const MIN_CHECKPOINT_PAGES = 1_000;
const SMALL_BYTES = 20e6;
const KILLED_AFTER_MS = 2_000;
/** Longer than a capture takes. */
const QUIET_MS = 500;
const MARKER_SEED = 1_000;

/** A watch on one database, and the processes beside the watch. */
class Scene {
  readonly path: string;
  readonly destination: string;
  #watch: Child | null = null;
  readonly #applications: Child[] = [];

  constructor(
    readonly site: Site,
    readonly folder: string,
  ) {
    this.path = join(folder, "app.db");
    this.destination = `file://${join(folder, "bucket")}`;
  }

  /** Sends SIGKILL to the watch. */
  async killWatch(): Promise<void> {
    if (this.#watch !== null) await this.site.workspace.kill(this.#watch);
    this.#watch = null;
  }

  /** Starts the watch, and waits for its first upload. */
  async startWatch(): Promise<Child> {
    const { workspace, binary } = this.site;
    const words = [binary, "watch", this.path, "-b", this.destination, "--no-metrics", "--json"];
    const child = workspace.start("watch", { words: [...words, "--log-level", "warn"], env: {} });
    this.#watch = child;
    const isReady = (): boolean => this.events("uploaded").length > 0;
    await waitUntil([child], "the first upload", READY_LIMIT_MS, isReady);
    return child;
  }

  /** The events of the watch so far. */
  events(name: string): WatchLine[] {
    if (this.#watch === null) return [];
    const lines = readLog(this.#watch).split("\n");
    return lines.filter((line) => line.startsWith(`{"event":"${name}"`)).map((line) => JSON.parse(line));
  }

  /** Starts a process of the application. */
  start(role: ApplicationOptions["role"], more: Partial<ApplicationOptions> = {}): Child {
    const seed = this.#applications.length + 1;
    const options = { path: this.path, role, synchronous: "NORMAL", pauseMs: 0, seed, ...more };
    const program = join(import.meta.dir, "application-main.ts");
    const command = { words: bunCommand(program, JSON.stringify(options)), env: {} };
    const child = this.site.workspace.start(role, command);
    this.#applications.push(child);
    return child;
  }

  /** Lets time pass; gives the longest WAL in frames. */
  async pass(durationMs = this.site.durationMs): Promise<number> {
    const untilMs = performance.now() + durationMs;
    let walBytes = 0;
    const children = [...this.#applications, ...(this.#watch === null ? [] : [this.#watch])];
    await waitUntil(children, "the time is over", durationMs * 2 + 1_000, () => {
      walBytes = Math.max(walBytes, statSync(`${this.path}-wal`, { throwIfNoEntry: false })?.size ?? 0);
      return performance.now() >= untilMs;
    });
    return Math.max(0, Math.floor((walBytes - WAL_HEADER_BYTES) / FRAME_BYTES));
  }

  /** Ends a process of the application. @returns its durations */
  async end(child: Child): Promise<ApplicationResult> {
    await this.site.workspace.stop(child, STOP_LIMIT_MS);
    this.#applications.splice(this.#applications.indexOf(child), 1);
    return JSON.parse(readLog(child)) as ApplicationResult;
  }

  /**
   * Commits once more, and waits until the bucket has that commit. No process of the application may run.
   * @returns the wait in ms
   */
  async catchUp(): Promise<number> {
    if (this.#watch === null) return 0;
    await Bun.sleep(QUIET_MS);
    const startMs = Date.now();
    const database = openAsApplication(this.path);
    prepareCommit(database, MARKER_SEED)();
    database.close(true);
    const isThere = (): boolean =>
      this.events("uploaded").some(({ time }) => Date.parse(time) >= startMs - QUIET_MS / 2);
    await waitUntil([this.#watch], "the last commit", READY_LIMIT_MS, isThere);
    return Date.now() - startMs;
  }

  /** Ends the watch, and compares a restore with the database. @throws Error when they differ */
  async prove(): Promise<void> {
    const { workspace, binary } = this.site;
    await this.catchUp();
    if (this.#watch !== null) await workspace.stop(this.#watch, STOP_LIMIT_MS);
    const output = join(this.folder, "restored.db");
    const words = [binary, "restore", "app", "-o", output, "-b", this.destination];
    await workspace.finish(workspace.start("restore", { words, env: {} }), READY_LIMIT_MS);
    settleDatabase(this.path);
    assertSame(this.path, output);
  }
}

async function inScene(site: Site, run: (scene: Scene) => Promise<Values>): Promise<Values> {
  return site.workspace.scope("case", (folder) => run(new Scene(site, folder)));
}

function ascending(left: number, right: number): number {
  return left - right;
}

/** How long walrust holds the write lock of a large database, beside writers and long readers. */
export const measureLock: Case = (site) =>
  inScene(site, async (scene) => {
    createDatabase(scene.path, site.sizeBytes, 1);
    await scene.startWatch();
    const writers = [1, 2].map(() => scene.start("writer", { pauseMs: 2 }));
    const readers = [1_500, 2_500].map((pauseMs) => scene.start("reader", { pauseMs }));
    const walFrames = await scene.pass();
    for (const reader of readers) await scene.end(reader);
    const commits = await Promise.all(writers.map((writer) => scene.end(writer)));
    const heldMs = scene
      .events("checkpointed")
      .map((event) => event.held_ms)
      .toSorted(ascending);
    await scene.prove();
    return {
      checkpointCount: heldMs.length,
      heldP50Ms: quantile(heldMs, 0.5),
      heldP99Ms: quantile(heldMs, 0.99),
      heldMaxMs: quantile(heldMs, 1),
      commitCount: commits.reduce((sum, { count }) => sum + count, 0),
      commitP99Ms: Math.max(...commits.map(({ p99Ms }) => p99Ms)),
      commitMaxMs: Math.max(...commits.map(({ maxMs }) => maxMs)),
      walMaxFrames: walFrames,
    };
  });

/** How long blocking checkpoints of the application take beside a writer, with and without walrust. */
export const measureCheckpoints: Case = (site) =>
  inScene(site, async (scene) => {
    const run = async (): Promise<ApplicationResult> => {
      const writer = scene.start("writer", { pauseMs: 1 });
      const checkpointer = scene.start("checkpointer", { pauseMs: 300 });
      await scene.pass();
      const result = await scene.end(checkpointer);
      await scene.end(writer);
      return result;
    };
    createDatabase(scene.path, SMALL_BYTES, 1);
    const alone = await run();
    await scene.startWatch();
    const beside = await run();
    await scene.prove();
    const { count, busyCount, p50Ms, p99Ms, maxMs } = beside;
    const { p50Ms: aloneP50Ms, p99Ms: aloneP99Ms, maxMs: aloneMaxMs, busyCount: aloneBusyCount } = alone;
    return {
      ...{ checkpointCount: count, busyCount, p50Ms, p99Ms, maxMs },
      ...{ aloneBusyCount, aloneP50Ms, aloneP99Ms, aloneMaxMs },
    };
  });

/** The length of the WAL beside two writers that sync every commit and never pause. */
export const measureWriters: Case = (site) =>
  inScene(site, async (scene) => {
    createDatabase(scene.path, SMALL_BYTES, 1);
    await scene.startWatch();
    const writers = [1, 2].map(() => scene.start("writer", { synchronous: "FULL" }));
    const walFrames = await scene.pass();
    const commits = await Promise.all(writers.map((writer) => scene.end(writer)));
    const checkpointed = scene.events("checkpointed").map(({ frames }) => frames);
    const ofLimit = (share: number): number =>
      quantile(checkpointed.toSorted(ascending), share) / MIN_CHECKPOINT_PAGES;
    const catchUpMs = await scene.catchUp();
    const lagMs = scene
      .events("uploaded")
      .map((event) => event.lag_ms)
      .toSorted(ascending);
    await scene.prove();
    return {
      walMaxFrames: walFrames,
      ...{ catchUpMs, uploadLagP99Ms: quantile(lagMs, 0.99), uploadLagMaxMs: quantile(lagMs, 1) },
      ofMinCheckpointPages: walFrames / MIN_CHECKPOINT_PAGES,
      ...{ p50OfMinCheckpointPages: ofLimit(0.5), p99OfMinCheckpointPages: ofLimit(0.99) },
      checkpointCount: checkpointed.length,
      commitCount: commits.reduce((sum, { count }) => sum + count, 0),
      commitP50Ms: Math.max(...commits.map(({ p50Ms }) => p50Ms)),
      commitP99Ms: Math.max(...commits.map(({ p99Ms }) => p99Ms)),
      reanchorCount: scene.events("re-anchored").length,
    };
  });

/** Time from a start after SIGKILL to the first acknowledged capture, beside a writer. */
export const measureRecovery: Case = (site) =>
  inScene(site, async (scene) => {
    createDatabase(scene.path, site.sizeBytes, 1);
    await scene.startWatch();
    const durationsMs: number[] = [];
    let reanchorCount = 0;
    const untilMs = performance.now() + site.durationMs;
    for (let round = 0; performance.now() < untilMs; round++) {
      const writer = scene.start("writer", { pauseMs: 5 });
      await scene.pass(KILLED_AFTER_MS);
      await scene.killWatch();
      // In every other round the WAL restarts while no watch runs, and the whole file is compared.
      if (round % 2 === 1) settleWal(scene.path);
      const startMs = performance.now();
      await scene.startWatch();
      durationsMs.push(performance.now() - startMs);
      reanchorCount += scene.events("re-anchored").length;
      await scene.end(writer);
    }
    await scene.prove();
    const sorted = durationsMs.toSorted(ascending);
    const [p50Ms, maxMs] = [quantile(sorted, 0.5), quantile(sorted, 1)];
    return {
      databaseBytes: statSync(scene.path).size,
      killCount: sorted.length,
      reanchorCount,
      p50Ms,
      maxMs,
    };
  });

/** Restarts the WAL beside a writer, as the application's own checkpoint does. */
function settleWal(path: string): void {
  const database = openAsApplication(path);
  database.run("PRAGMA wal_checkpoint(RESTART)");
  database.close(true);
}

/** One transaction with random content, in pages of 4 KB, that grows a small database beyond 1 GiB. */
export const measureTransaction: Case = (site) =>
  inScene(site, async (scene) => {
    createDatabase(scene.path, 100_000, 1);
    copyFileSync(scene.path, `${scene.path}.before`);
    const watch = await scene.startWatch();
    const application = openAsApplication(scene.path);
    const startMs = performance.now();
    const rowBytes = 1_000_000;
    application.run("BEGIN");
    for (let bytes = 0; bytes < site.sizeBytes; bytes += rowBytes) {
      application.run(`INSERT INTO item (version, data) VALUES (0, randomblob(${rowBytes}))`);
      if (bytes % (100 * rowBytes) === 0) await Bun.sleep(0);
    }
    application.run("COMMIT");
    const committedMs = performance.now();
    const isUploaded = (): boolean => scene.events("uploaded").some(({ txid }) => txid >= 2);
    await waitUntil([watch], "the transaction", READY_LIMIT_MS, isUploaded);
    const uploadedMs = performance.now();
    application.run("UPDATE item SET version = version + 1 WHERE id = 1");
    await waitUntil([watch], "the next commit", READY_LIMIT_MS, () =>
      scene.events("uploaded").some(({ txid }) => txid >= 3),
    );
    const { peakRssBytes } = sampleProcess(watch.pid);
    application.close(true);
    await scene.prove();
    return {
      databaseBytes: statSync(scene.path).size,
      lockPageCount: pagesBeyondLock(scene.path),
      commitMs: committedMs - startMs,
      uploadMs: uploadedMs - committedMs,
      watchPeakRssBytes: peakRssBytes,
      reanchorCount: scene.events("re-anchored").length,
    };
  });

/** Number of pages of a database after its lock page. */
function pagesBeyondLock(path: string): number {
  const database = new Database(path, { readonly: true });
  try {
    const { page_count: pages } = database.query<{ page_count: number }, []>("PRAGMA page_count").get()!;
    return Math.max(0, pages - (2 ** 30 / 4096 + 1));
  } finally {
    database.close();
  }
}
