/**
 * SQLite's check of a restored file: its findings, and the parts that it cannot check here. An uncheckable
 * part hides no finding in another part.
 */
import { Database } from "bun:sqlite";
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { hasCode, WalrustError } from "../../../src/errors.ts";
import {
  checkerInChild,
  checkInProcess,
  type IntegrityChecker,
  limitsFor,
} from "../../../src/recovery/integrity/integrity-child.ts";
import {
  assessVerdict,
  type IntegrityVerdict,
  SKIPPED,
  verdictOf,
  warningOrNull,
} from "../../../src/recovery/integrity/integrity-verdict.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import {
  APPLICATION_DATABASES,
  CHECKABLE_DATABASES,
  databaseWith,
  databaseWithExpression,
  editSchema,
  encryptedDatabase,
  SLOW_EXPRESSION,
} from "./integrity-databases.ts";

setDefaultTimeout(60_000);

const PAGE = 4096;
const ENV = systemEnv(SILENT_LOG);
const MAIN = join(import.meta.dir, "../../../src/main.ts");
const CHILD = [process.execPath, MAIN, "__check-database", String(process.pid)];
const SOUND = ["CREATE TABLE t(id INTEGER PRIMARY KEY, code)", "CREATE INDEX i ON t(code)"];

const check = (path: string, mode: "full" | "quick" = "full"): Promise<IntegrityVerdict> =>
  checkInProcess(path, mode, { env: ENV });

/** Overwrites a page of a table or index with noise. */
function damagePageOf(path: string, name: string, seed: string): void {
  const database = new Database(path);
  const [[pgno]] = database
    .query("SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY pageno DESC")
    .values(name) as [[number]];
  database.close();
  const bytes = readFileSync(path);
  const random = seededRandom(seed.length);
  for (let i = (pgno - 1) * PAGE; i < pgno * PAGE; i++) bytes[i] = Math.floor(random() * 256);
  writeFileSync(path, bytes);
}

describe("inspectDatabase", () => {
  test.each(["full", "quick"] as const)("a sound database: ok (%s)", async (mode) => {
    const verdict = await check(databaseWith(SOUND), mode);
    expect(verdict).toEqual({ mode, status: "ok", problems: [], unchecked: [] });
  });

  test.each(Object.keys(APPLICATION_DATABASES))(
    "%s is not checked, but the other parts are",
    async (kind) => {
      const path = APPLICATION_DATABASES[kind]!();
      const verdict = await check(path);
      expect([kind, verdict.status, verdict.problems]).toEqual([kind, "partial", []]);
      const reasons = verdict.unchecked.map(({ reason }) => reason).join();
      expect(reasons).toMatch(/icu_de|slugs|own|jieba|SQL logic error/);
      expect(verdict.unchecked.map(({ part }) => part).join()).not.toContain("other");
    },
  );

  test.each(Object.keys(CHECKABLE_DATABASES))("%s is no obstacle", async (kind) => {
    expect(await check(CHECKABLE_DATABASES[kind]!())).toMatchObject({ status: "ok" });
  });

  // The file has four tables and indexes; the check finds damage in each of them.
  test.each(["t", "i", "other", "other_x"])(
    "an unknown collation hides no damaged page of %s",
    async (name) => {
      const path = APPLICATION_DATABASES["an index with a collation"]!();
      damagePageOf(path, name, name);
      const verdict = await check(path);
      expect(verdict.status).toBe("failed");
      expect(verdict.unchecked.length).toBeGreaterThan(0);
    },
  );

  test("quick omits the indexes: a function in an index is no obstacle", async () => {
    expect(await check(APPLICATION_DATABASES["an index on a function"]!(), "quick")).toMatchObject({
      status: "ok",
    });
  });

  test("an index without some rows and NULL in a NOT NULL column are faults", async () => {
    const stale = databaseWith(SOUND, [["ON t(code)", "ON t(id)"]]);
    expect(await check(stale)).toMatchObject({ status: "failed", unchecked: [] });
    expect(await check(stale, "quick")).toMatchObject({ status: "ok" });
    const path = databaseWith(["CREATE TABLE t(id INTEGER PRIMARY KEY, code, s         )"]);
    editSchema(path, [["s         )", "s NOT NULL)"]]);
    const verdict = await check(path);
    expect([verdict.status, verdict.problems[0]]).toEqual(["failed", "NULL value in t.s"]);
  });

  test.each([0, 16, 32])(
    "an encrypted file with %d bytes in the clear is not checked",
    async (clearBytes) => {
      const verdict = await check(encryptedDatabase(clearBytes));
      expect([verdict.status, verdict.problems]).toEqual(["not-checked", []]);
      expect(verdict.unchecked[0]!.reason).toMatch(/encrypted|not a database/);
    },
  );

  test("a schema that does not parse is a fault of the source, in SQLite's words", async () => {
    const path = databaseWith(SOUND);
    editSchema(path, [["CREATE TABLE other", "CREATE TABLEx"]]);
    expect((await check(path)).problems[0]).toContain("malformed database schema");
  });

  test("a missing file is an error of the disk, not a verdict", async () => {
    const missing = join(databaseWith(SOUND), "..", "nothing.db");
    for (const checker of [checkInProcess, checkerInChild(CHILD, () => limitsFor(0))]) {
      const failure = await checker(missing, "full", { env: ENV }).catch((error: unknown) => error);
      expect(hasCode(failure, "database") || (failure as { code?: string }).code === "ENOENT").toBe(true);
    }
  });
});

describe("checkerInChild", () => {
  const bounded = (timeMs: number, memoryBytes: number): IntegrityChecker =>
    checkerInChild(CHILD, () => ({ timeMs, memoryBytes }));
  const LARGE = "length(hex(zeroblob(400000000))) + length(code)";

  test("gives the same verdict as a check in this process", async () => {
    const paths = Object.values({ ...APPLICATION_DATABASES, ...CHECKABLE_DATABASES }).map((make) => make());
    for (const path of [...paths, encryptedDatabase(0)]) {
      const verdict = await bounded(30_000, 2 ** 30)(path, "full", { env: ENV });
      expect(verdict).toEqual(await check(path));
    }
  });

  test("ends a check at the time limit, and runs a quick one without the indexes", async () => {
    const startedMs = performance.now();
    const path = databaseWithExpression(SLOW_EXPRESSION);
    const verdict = await bounded(3_000, 2 ** 30)(path, "full", { env: ENV });
    expect(performance.now() - startedMs).toBeLessThan(20_000);
    const unchecked = [{ part: "the indexes", reason: "it took longer than 3 s" }];
    expect(verdict).toEqual({ mode: "full", status: "partial", problems: [], unchecked });
  });

  test("checks nothing if the quick check takes too long, too", async () => {
    const busy = checkerInChild(["sh", "-c", "while :; do :; done"], () => ({
      timeMs: 300,
      memoryBytes: 2 ** 30,
    }));
    for (const mode of ["full", "quick"] as const) {
      expect((await busy(databaseWith(SOUND), mode, { env: ENV })).status).toBe("not-checked");
    }
  });

  test.skipIf(process.platform !== "linux")("ends a check that takes too much memory", async () => {
    const verdict = await bounded(60_000, 200 * 2 ** 20)(databaseWithExpression(LARGE), "full", { env: ENV });
    expect(verdict.unchecked).toEqual([
      { part: "the indexes", reason: "it took more than 200 MB of memory" },
    ]);
  });

  test("ends with the signal", async () => {
    const stop = new AbortController();
    const checked = bounded(60_000, 2 ** 30)(databaseWithExpression(SLOW_EXPRESSION), "full", {
      env: ENV,
      signal: stop.signal,
    });
    const waited = ENV.sleep(300).then(() => stop.abort(new WalrustError("internal", "stopped")));
    expect(await checked.catch((error: unknown) => error)).toMatchObject({ message: "stopped" });
    await waited;
  });

  test("counts the death of the child as not checked", async () => {
    const path = databaseWith(SOUND);
    const verdict = await checkerInChild(["sh", "-c", "kill -9 $$"])(path, "full", { env: ENV });
    expect(verdict).toMatchObject({
      status: "not-checked",
      unchecked: [{ reason: "the check ended by itself (SIGKILL)" }],
    });
  });
});

describe("assessVerdict", () => {
  const proven = { name: "app", isProven: true, isStrict: false };
  const failed = verdictOf("full", [{ kind: "problem", text: "row 1 missing from index i" }]);
  const partial = verdictOf("full", [{ kind: "unchecked", part: "table t", reason: "no collation" }]);
  const nothing = verdictOf("full", [{ kind: "unchecked", part: "the database", reason: "encrypted" }]);
  const outcome = (verdict: IntegrityVerdict, evidence: Partial<typeof proven> = {}): string => {
    try {
      return assessVerdict(verdict, { ...proven, ...evidence }) === null ? "silent" : "warning";
    } catch (error) {
      return (error as WalrustError).code;
    }
  };

  test.each([
    [verdictOf("full", []), "silent", "silent", "silent"],
    [SKIPPED, "silent", "silent", "silent"],
    [partial, "warning", "warning", "warning"],
    [nothing, "warning", "warning", "integrity"],
    [failed, "warning", "integrity", "integrity"],
  ] as const)("%j", (verdict, usual, strict, unproven) => {
    const found = [
      outcome(verdict),
      outcome(verdict, { isStrict: true }),
      outcome(verdict, { isProven: false }),
    ];
    expect(found).toEqual([usual, strict, unproven]);
  });

  test("limits verdicts and warnings to one line of bounded length", () => {
    const text = `${"x".repeat(5000)}\n${"y".repeat(5000)}`;
    const notes = Array.from({ length: 1000 }, () => ({ kind: "problem", text }) as const);
    const verdict = verdictOf("full", notes);
    expect(verdict.problems.length).toBe(20);
    expect(warningOrNull(verdict)!.length).toBeLessThan(1500);
    expect(warningOrNull(verdict)).not.toContain("\n");
    expect(warningOrNull(verdict)).toEndWith("and at least 17 more");
    expect(warningOrNull(verdictOf("full", notes.slice(0, 5)))).toEndWith("and 2 more");
  });
});
