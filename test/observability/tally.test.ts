/** Counts of events: their meaning, their lifetime, and their bound. */
import { describe, expect, test } from "bun:test";
import { isStorageCode, Tally } from "../../src/observability/tally.ts";
import { ManualTime } from "./manual-time.ts";
import { failed, letGo, recovered, uploaded } from "./samples.ts";

describe("Tally", () => {
  test("errorsLastHour forgets after an hour, errorCounts does not", () => {
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
    expect([...tally.errorCounts()]).toEqual([
      ["app", "storage", 1],
      ["app", "auth", 1],
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
    expect([...tally.errorCounts()]).toEqual([["app", "storage", 5_000]]);
  });

  test("forgetOthers drops the counts of databases that are gone", () => {
    const tally = new Tally(new ManualTime().env);
    tally.observe(failed("storage", "gone"));
    tally.observe(failed("storage", "there"));
    tally.observe(failed("storage", "left"));
    tally.observe(letGo("left"));
    tally.forgetOthers(new Set(["there", "well", "left"]));
    expect([...tally.errorCounts()].map(([database]) => database)).toEqual(["there"]);
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
