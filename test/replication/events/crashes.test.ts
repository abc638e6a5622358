/**
 * A crash of the watch at each step of a capture and of its upload, with captured files kept and with
 * `--no-cache`. The crash leaves the local files and the bucket as they are at that moment. The next watch
 * continues the same history: no TXID is missing or taken twice, no second snapshot is made, and at most the
 * changed pages are uploaded.
 */
import { afterEach, describe, expect, spyOn, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { SumUpdate } from "../../../src/local/page-sums.ts";
import { SpoolWriter } from "../../../src/local/spool.ts";
import { keysAt } from "../../support/oracles/history-oracle.ts";
import type { SqliteProcess } from "../../support/processes/sqlite-process.ts";
import { loggedAnchors, provenEnd } from "../../support/runs/event-run.ts";
import { newDatabase, targetOf, WatchRun } from "../../support/runs/watch-run.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";

const FILL = `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
  INSERT INTO t(v) SELECT randomblob(900) FROM n`;
/** Changes three pages of some 290. */
const CHANGE = "UPDATE t SET v = randomblob(900) WHERE id IN (2, 500, 900)";
const CHANGED_PAGES_MAX = 20;
const RESTART_WAL = ["PRAGMA wal_checkpoint(TRUNCATE)", CHANGE];

const mocks: { mockRestore(): void }[] = [];

afterEach(() => {
  for (const mock of mocks.splice(0)) mock.mockRestore();
});

type Files = ReadonlyMap<string, Buffer>;

function filesBelow(folder: string): Files {
  const names = readdirSync(folder, { recursive: true }) as string[];
  const paths = names.map((name) => join(folder, name)).filter((path) => statSync(path).isFile());
  return new Map(paths.map((path) => [path, readFileSync(path)]));
}

/** Makes the files of a folder those of an earlier moment. The folder itself stays: it is no copy. */
function rewind(folder: string, files: Files): void {
  for (const path of filesBelow(folder).keys()) if (!files.has(path)) rmSync(path);
  for (const [path, content] of files) {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
}

/**
 * A process that crashes at a moment: nothing later reaches the bucket, and `rewind` undoes the local rest.
 */
class Crash {
  isArmed = false;
  files: Files | null = null;

  constructor(
    readonly folder: string,
    readonly store: FaultyStore,
  ) {}

  pass(): void {
    if (!this.isArmed || this.files !== null) return;
    this.files = filesBelow(this.folder);
    this.store.before = () => {
      throw unreachable();
    };
  }
}

function passAt(crash: Crash, owner: object, name: string, when: "before" | "after"): void {
  const methods = owner as Record<string, (...words: never[]) => unknown>;
  const original = methods[name]!;
  const mock = spyOn(methods, name).mockImplementation(function (this: unknown, ...words: never[]): unknown {
    if (when === "before") crash.pass();
    const result = original.apply(this, words);
    if (when === "after") crash.pass();
    return result;
  });
  mocks.push(mock);
}

/** Where the process crashes. A put of an increment crashes before or after it took effect. */
const MOMENTS: readonly (readonly [what: string, arm: (crash: Crash) => void])[] = [
  ["before the spool file is complete", (crash) => passAt(crash, SpoolWriter.prototype, "finish", "before")],
  [
    "before the state names the spool file",
    (crash) => passAt(crash, SpoolWriter.prototype, "finish", "after"),
  ],
  ["before the page sums are written", (crash) => passAt(crash, SumUpdate.prototype, "apply", "before")],
  ["after the page sums are written", (crash) => passAt(crash, SumUpdate.prototype, "apply", "after")],
  [
    "before the put takes effect",
    (crash) => {
      crash.store.before = (operation, key) => {
        if (operation === "put" && key.startsWith("app/0000/")) crash.pass();
        if (crash.files !== null) throw unreachable();
      };
    },
  ],
  [
    "after the put took effect",
    (crash) => {
      crash.store.after = (operation, key) => {
        if (operation === "put" && key.startsWith("app/0000/")) crash.pass();
        if (crash.files !== null) throw unreachable();
      };
    },
  ],
];

/** The application between the crash and the next watch. */
const MEANWHILE: readonly (readonly [what: string, statements: readonly string[]])[] = [
  ["rests", []],
  ["commits", [CHANGE]],
  ["restarts the WAL", RESTART_WAL],
];

async function crashAndContinue(
  isCached: boolean,
  arm: (crash: Crash) => void,
  meanwhile: readonly string[],
): Promise<void> {
  const { path, app } = await newDatabase();
  await app.must(FILL);
  const memory = new MemoryStore();
  const store = new FaultyStore(memory);
  const crash = new Crash(targetOf(path).paths.folder, store);
  const change = { sync: { shutdownTimeoutMs: 50 }, cache: { enabled: isCached } };
  arm(crash);
  const first = new WatchRun([targetOf(path)], store, change);
  await first.uploaded(1);
  await first.commit(app, CHANGE);
  crash.isArmed = true;
  await app.must(CHANGE);
  await first.until("the crash", () => crash.files !== null);
  await first.stop();
  rewind(crash.folder, crash.files!);
  for (const mock of mocks.splice(0)) mock.mockRestore();
  store.before = store.after = () => {};
  await app.must(...meanwhile);
  await expectContinued(path, memory, app, change);
}

async function expectContinued(
  path: string,
  store: MemoryStore,
  app: SqliteProcess,
  change: ConstructorParameters<typeof WatchRun>[2],
): Promise<void> {
  const second = await new WatchRun([targetOf(path)], store, change).watching();
  await second.until("all uploads", () => second.status().pendingCount === 0);
  await second.commit(app, "INSERT INTO t(v) VALUES ('after')").catch(() => {});
  const modes = loggedAnchors(second).map(({ mode }) => mode);
  expect(modes).not.toContain("full");
  const history = await provenEnd(second, path, store);
  expect(await keysAt(store, "app", 9)).toEqual(["app/0009/0000000000000001-0000000000000001.ltx"]);
  for (const { pgnos } of history.slice(1)) expect(pgnos.length).toBeLessThanOrEqual(CHANGED_PAGES_MAX);
  await app.close();
}

describe.each([
  ["with captured files kept", true],
  ["with --no-cache", false],
] as const)("a crash %s", (_, isCached) => {
  describe.each(MOMENTS)("%s", (_what, arm) => {
    test.each(MEANWHILE)("while the application %s", async (_does, meanwhile) => {
      await crashAndContinue(isCached, arm, meanwhile);
    });
  });
});
