/** Counts of events: their meaning, their lifetime, and their bound. */
import { describe, expect, test } from "bun:test";
import { isStorageCode, Tally } from "../../src/observability/tally.ts";
import { ManualTime } from "./manual-time.ts";
import { failed, letGo, recovered, uploaded } from "./samples.ts";

describe("Tally", () => {
  test("errorsLastHour forgets after an hour, the counts do not", () => {
    const time = new ManualTime();
    const tally = new Tally(time.env);
    tally.observe(failed("storage"));
    time.pass(3_000_000);
    tally.observe(failed("auth"));
    expect(tally.errorsLastHour("app")).toBe(2);
    time.pass(600_000);
    expect(tally.errorsLastHour("app")).toBe(1);
    time.pass(3_600_000);
    expect(tally.errorsLastHour("app")).toBe(0);
    expect([...tally.countsOf("app").errorCounts()]).toEqual([
      ["transient", "storage", 1],
      ["transient", "auth", 1],
    ]);
    expect(tally.errorsLastHour("other")).toBe(0);
  });

  test("failingMs counts from the first failure of a kind until its end", () => {
    const time = new ManualTime();
    const tally = new Tally(time.env);
    time.pass(10_000);
    tally.observe(failed("storage"));
    time.pass(10_000);
    tally.observe(failed("auth"));
    time.pass(10_000);
    expect(tally.failingMs("app")).toBe(20_000);
    tally.observe(failed("database"));
    expect(tally.failingMs("app")).toBe(0);
    time.pass(5_000);
    tally.observe(recovered());
    tally.observe(failed("database"));
    expect(tally.failingMs("app")).toBe(0);
    // A failure without an observed beginning may have lasted since the start.
    expect(tally.failingMs("unseen")).toBe(35_000);
  });

  test("a database that fails without end has a bounded number of recorded times", () => {
    const tally = new Tally(new ManualTime().env);
    for (let i = 0; i < 5_000; i++) tally.observe(failed("storage"));
    expect(tally.errorsLastHour("app")).toBe(100);
    expect(tally.countsOf("app").errorCount).toBe(5_000);
  });

  test("forgetOthers drops the counts of databases that are gone", () => {
    const tally = new Tally(new ManualTime().env);
    tally.observe(failed("storage", "gone"));
    tally.observe(failed("storage", "there"));
    tally.observe(failed("storage", "left"));
    tally.observe(letGo("left"));
    tally.forgetOthers(new Set(["there", "well", "left"]));
    const failing = ["gone", "there", "left"].filter((one) => tally.countsOf(one).errorCount > 0);
    expect(failing).toEqual(["there"]);
    expect(["gone", "there", "left"].map((one) => tally.errorsLastHour(one))).toEqual([0, 1, 0]);
  });

  test("countsOf has all uploads of a database, whether its first is a snapshot or an increment", () => {
    for (const first of ["snapshot", "increment"] as const) {
      const tally = new Tally(new ManualTime().env);
      const countsOf = (): number[] => {
        const { increments, snapshots, uploadedBytes } = tally.countsOf("app");
        return [increments, snapshots, uploadedBytes];
      };
      expect(countsOf()).toEqual([0, 0, 0]);
      tally.observe(uploaded(first));
      expect(countsOf()).toEqual(first === "snapshot" ? [0, 1, 1_000] : [1, 0, 1_000]);
      tally.observe(uploaded("snapshot"));
      tally.observe(uploaded("increment"));
      expect(countsOf()).toEqual(first === "snapshot" ? [1, 2, 3_000] : [2, 1, 3_000]);
    }
  });

  test("sinceUploadMs is infinite before the first upload", () => {
    const time = new ManualTime();
    const tally = new Tally(time.env);
    expect(tally.sinceUploadMs()).toBe(Number.POSITIVE_INFINITY);
    expect(tally.lastUploadTimeMs).toBeNull();
    tally.observe(uploaded());
    time.pass(700);
    expect(tally.sinceUploadMs()).toBe(700);
    expect(tally.lastUploadTimeMs).toBe(time.env.nowMs() - 700);
  });
});

test.each([
  ["storage", true],
  ["auth", true],
  ["missing-bucket", true],
  ["not-found", true],
  ["foreign-writer", false],
  ["database", false],
  ["integrity", false],
  ["internal", false],
  ["toString", false],
])("isStorageCode of %s: %p", (code, isStorage) => {
  expect(isStorageCode(code)).toBe(isStorage);
});
