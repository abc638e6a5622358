/**
 * A restore of all databases: each has one row, a failure of one stops no other, a second run writes nothing
 * again, and a run that is stopped leaves no half file.
 */
import { beforeEach, describe, expect, test } from "bun:test";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { WalrustError } from "../../../src/errors.ts";
import { LocalPlaces } from "../../../src/local/places.ts";
import type { RestoreContext } from "../../../src/recovery/restore/prepare-restore.ts";
import {
  exitCodeOf,
  isInTheWay,
  type RestoreAllObserver,
  type RestoreAllRequest,
  type RestoreAllRow,
  restoreAll,
} from "../../../src/recovery/restore-all/restore-all.ts";
import { failureOf } from "../../support/failure-of.ts";
import { SourceDatabase, SourceHistory } from "../../support/histories/replica-history.ts";
import { recordingEnv } from "../../support/recording-log.ts";
import { FaultyStore, unreachable } from "../../support/servers/faulty-store.ts";
import { MemoryStore } from "../../support/servers/memory-store.ts";
import { tempFolder } from "../../support/temp.ts";

let store: MemoryStore;
let histories: Map<string, SourceHistory>;
let into: string;

beforeEach(async () => {
  store = new MemoryStore();
  histories = new Map();
  into = join(tempFolder("all"), "restored");
  for (const name of ["app", "tenants/a", "tenants/b"]) await publish(name);
});

/** Publishes two TXIDs of a database. */
async function publish(name: string): Promise<void> {
  const history = new SourceHistory(store, name);
  const source = new SourceDatabase(tempFolder("source"), 4096);
  await history.publish(source.after("CREATE TABLE t (x)", `INSERT INTO t VALUES ('${name}')`));
  await history.publish(source.after("INSERT INTO t VALUES ('second')"));
  histories.set(name, history);
}

interface Call extends Partial<Omit<RestoreAllRequest, "how">> {
  readonly how?: Partial<RestoreAllRequest["how"]>;
  readonly context?: Partial<RestoreContext>;
  readonly observer?: RestoreAllObserver;
}

function run({ how, context, observer, ...request }: Call = {}): Promise<RestoreAllRow[]> {
  const each = { point: { kind: "latest" }, force: false, dryRun: false, ...how } as const;
  const { env } = recordingEnv();
  return restoreAll(
    { into, prefix: null, jobs: 2, ...request, how: each },
    { store, env, places: LocalPlaces.standard(), ...context },
    observer,
  );
}

/** Kinds by name. */
function kindsOf(rows: readonly RestoreAllRow[]): Record<string, string> {
  return Object.fromEntries(rows.map((row) => [row.name, row.kind]));
}

function messageOf(rows: readonly RestoreAllRow[], name: string): string {
  const row = rows.find((one) => one.name === name);
  return row?.kind === "failed" ? row.error.message : `no failure: ${row?.kind}`;
}

function isRight(name: string): boolean {
  return Buffer.compare(readFileSync(join(into, `${name}.db`)), histories.get(name)!.newest) === 0;
}

/** The files below the folder, without the state of the databases. */
function filesBelow(folder = into): string[] {
  const names = readdirSync(folder, { recursive: true }) as string[];
  return names.filter((name) => !/-walrust(\/|$)/.test(name) && statSync(join(folder, name)).isFile()).sort();
}

describe("restoreAll", () => {
  test("restores every database to the path of its name", async () => {
    const rows = await run();
    expect(kindsOf(rows)).toEqual({ app: "restored", "tenants/a": "restored", "tenants/b": "restored" });
    expect(filesBelow()).toEqual(["app.db", "tenants/a.db", "tenants/b.db"]);
    for (const name of histories.keys()) expect([name, isRight(name)]).toEqual([name, true]);
    expect(exitCodeOf(rows)).toBe(0);
  });

  test("restores only what a prefix selects", async () => {
    expect(kindsOf(await run({ prefix: "tenants" }))).toEqual({
      "tenants/a": "restored",
      "tenants/b": "restored",
    });
    expect(await run({ prefix: "none" })).toEqual([]);
  });

  test("writes nothing again that is there, even with force, and restores what is missing", async () => {
    await run();
    const inode = statSync(join(into, "app.db")).ino;
    renameSync(join(into, "tenants/a.db"), join(into, "tenants/kept"));
    for (const force of [false, true]) {
      const rows = await run({ how: { force } });
      expect(kindsOf(rows)["app"]).toBe("unchanged");
      expect(rows.find(({ name }) => name === "app")).toMatchObject({ txid: 2, path: join(into, "app.db") });
    }
    expect([isRight("tenants/a"), statSync(join(into, "app.db")).ino]).toEqual([true, inode]);
  });

  test("leaves a file alone that is not what it would write, unless force is given", async () => {
    await run();
    writeFileSync(join(into, "app.db"), "mine");
    await publishMore("tenants/b");
    const rows = await run();
    expect(kindsOf(rows)).toEqual({ app: "failed", "tenants/a": "unchanged", "tenants/b": "failed" });
    expect(messageOf(rows, "app")).toContain("exists, and its content has changed since its restore");
    expect(messageOf(rows, "tenants/b")).toMatch(
      /it holds the older TXID 2 \(\S+Z\), and TXID 3 is to be restored$/,
    );
    expect(rows.filter(isInTheWay).map(({ name }) => name)).toEqual(["app", "tenants/b"]);
    expect([exitCodeOf(rows), readFileSync(join(into, "app.db"), "utf8")]).toEqual([2, "mine"]);
    expect(kindsOf(await run({ how: { force: true } }))).toEqual({
      app: "restored",
      "tenants/a": "unchanged",
      "tenants/b": "restored",
    });
    const kept = filesBelow().filter((name) => name.startsWith("app.db.pre-restore-"));
    expect(kept.map((name) => readFileSync(join(into, name), "utf8"))).toEqual(["mine"]);
  });

  test("plans with dryRun, and writes nothing", async () => {
    const rows = await run({ how: { dryRun: true } });
    expect(new Set(Object.values(kindsOf(rows)))).toEqual(new Set(["planned"]));
    expect(existsSync(into)).toBe(false);
  });

  test("restores all databases to one time", async () => {
    const point = { kind: "txid", txid: 1 as never } as const;
    await run({ how: { point } });
    for (const [name, { images }] of histories) {
      expect(Buffer.compare(readFileSync(join(into, `${name}.db`)), images.get(1)!)).toBe(0);
    }
  });

  test("fixes a time ago once, although the clock goes on between two databases", async () => {
    let nowMs = Date.UTC(2026, 0, 1, 0, 0, 11, 500);
    const clock = {
      nowMs: () => {
        nowMs += 3_600_000;
        return nowMs - 3_600_000;
      },
    };
    const context = { env: recordingEnv(clock).env };
    const point = { kind: "ago", durationMs: 10_000 } as const;
    const rows = await run({ jobs: 1, how: { point }, context });
    expect(rows.map((row) => (row.kind === "restored" ? row.result.txid : row.kind))).toEqual([1, 1, 1]);
  });

  test("restores nothing from an empty destination", async () => {
    store = new MemoryStore();
    expect(await run()).toEqual([]);
    expect(existsSync(into)).toBe(false);
  });
});

async function publishMore(name: string): Promise<void> {
  const source = new SourceDatabase(tempFolder("source"), 4096);
  await histories.get(name)!.publish(source.after("CREATE TABLE other (x)"));
}

describe("a failure of one database", () => {
  test("stops no other, and the exit code is the worst", async () => {
    await publish("App");
    mkdirSync(join(into, "tenants", "a.db"), { recursive: true });
    const rows = await run();
    expect(kindsOf(rows)).toEqual({
      App: "failed",
      app: "failed",
      "tenants/a": "failed",
      "tenants/b": "restored",
    });
    expect(messageOf(rows, "app")).toContain("differ in case alone");
    expect(messageOf(rows, "tenants/a")).toContain("it is no regular file");
    expect(isRight("tenants/b")).toBe(true);
    expect(exitCodeOf(rows)).toBe(2);
  });

  test("damage of one gives exit code 5 and names the object", async () => {
    const keys: string[] = [];
    for await (const { key } of store.list("tenants/a/")) keys.push(key);
    for (const key of keys) await store.put(key, { kind: "bytes", bytes: new Uint8Array(200) }, {});
    const rows = await run();
    expect(kindsOf(rows)).toEqual({ app: "restored", "tenants/a": "failed", "tenants/b": "restored" });
    expect(messageOf(rows, "tenants/a")).toContain("tenants/a/");
    expect(exitCodeOf(rows)).toBe(5);
    expect(filesBelow()).toEqual(["app.db", "tenants/b.db"]);
  });

  test("a store that goes away fails every database that is left, with the same error", async () => {
    const faulty = new FaultyStore(store);
    faulty.before = (operation, key) => {
      if (operation === "get" && /^tenants.*ltx$/.test(key)) throw unreachable();
    };
    const rows = await run({ jobs: 1, context: { store: faulty } });
    expect(kindsOf(rows)).toEqual({ app: "restored", "tenants/a": "failed", "tenants/b": "failed" });
    expect(messageOf(rows, "tenants/b")).toBe(messageOf(rows, "tenants/a"));
    expect(exitCodeOf(rows)).toBe(4);
    expect(faulty.calls.filter((call) => call.includes("get tenants/b"))).toEqual([]);
    expect(exitCodeOf(await run())).toBe(0);
  });

  test("a place that leads out of the folder through a link is refused", async () => {
    const outside = tempFolder("outside");
    mkdirSync(into, { recursive: true });
    symlinkSync(outside, join(into, "tenants"));
    const rows = await run();
    expect(kindsOf(rows)).toEqual({ app: "restored", "tenants/a": "failed", "tenants/b": "failed" });
    expect(messageOf(rows, "tenants/a")).toContain("leads out of the folder");
    expect(readdirSync(outside)).toEqual([]);
  });

  test("two places that a link makes one are refused", async () => {
    mkdirSync(join(into, "tenants"), { recursive: true });
    symlinkSync("a.db", join(into, "tenants", "b.db"));
    const rows = await run({ jobs: 1 });
    expect(kindsOf(rows)).toEqual({ app: "restored", "tenants/a": "restored", "tenants/b": "failed" });
    expect(isRight("tenants/a")).toBe(true);
  });

  test("a folder that is a file is a usage error of the run", async () => {
    const file = join(tempFolder("all"), "file");
    writeFileSync(file, "mine");
    expect((await failureOf(run({ into: file }))).code).toBe("usage");
  });
});

describe("a run that is stopped", () => {
  test("leaves no half file, and the next run continues", async () => {
    const aborter = new AbortController();
    const seen: string[] = [];
    const observer = {
      onRow: (row: RestoreAllRow) => {
        seen.push(`${row.kind} ${row.name}`);
      },
      onRead: (name: string) => {
        if (name === "tenants/a") aborter.abort(new Error("stopped"));
      },
    };
    const stopped = run({ jobs: 1, context: { signal: aborter.signal }, observer });
    await expect(stopped).rejects.toThrow("stopped");
    expect([seen, filesBelow()]).toEqual([["restored app"], ["app.db"]]);
    expect(kindsOf(await run())).toEqual({
      app: "unchanged",
      "tenants/a": "restored",
      "tenants/b": "restored",
    });
  });

  test("has no more restores at work than jobs", async () => {
    for (let index = 0; index < 6; index++) await publish(`more/${index}`);
    const atWork = new Set<string>();
    let most = 0;
    const observer = {
      onRead: (name: string) => {
        atWork.add(name);
        most = Math.max(most, atWork.size);
      },
      onRow: ({ name }: RestoreAllRow) => void atWork.delete(name),
    };
    const counts: number[] = [];
    await run({ jobs: 3, observer: { ...observer, onStart: (count) => void counts.push(count) } });
    expect([most, counts]).toEqual([3, [9]]);
  });
});

test("exitCodeOf gives damage before all others", () => {
  const failed = (
    code: "corrupt" | "restore" | "storage" | "database" | "usage" | "internal",
  ): RestoreAllRow => ({
    kind: "failed",
    name: code,
    path: "",
    error: new WalrustError(code, ""),
  });
  const all = (["internal", "usage", "database", "storage", "restore", "corrupt"] as const).map(failed);
  for (const [index, expected] of [1, 2, 3, 4, 6, 5].entries()) {
    expect(exitCodeOf(all.slice(0, index + 1))).toBe(expected);
  }
  expect(exitCodeOf([])).toBe(0);
});
