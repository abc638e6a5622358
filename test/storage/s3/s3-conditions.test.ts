/**
 * The condition "another server answers": raised once and cleared once, among any other answers of the store.
 */
import { expect, test } from "bun:test";
import type { Condition } from "../../../src/errors.ts";
import { notTheStore } from "../../../src/storage/s3/s3-answer.ts";
import { S3Conditions, type S3RequestKind } from "../../../src/storage/s3/s3-conditions.ts";

function bench() {
  let nowMs = 0;
  const events: string[] = [];
  let isRaised = false;
  const sink = {
    raise({ code }: Condition): void {
      if (!isRaised) events.push(`+${code}`);
      isRaised = true;
    },
    clear(code: string): void {
      if (isRaised) events.push(`-${code}`);
      isRaised = false;
    },
  };
  const conditions = new S3Conditions(sink, { monotonicMs: () => nowMs }, "s3://b/p");
  const good = (kind: S3RequestKind): Promise<void> => conditions.observed(kind, () => Promise.resolve());
  const strange = async (kind: S3RequestKind): Promise<void> => {
    const error = notTheStore("read k", "200 with an HTML page");
    await conditions.observed(kind, () => Promise.reject(error)).catch(() => {});
  };
  return { events, good, strange, pass: (ms: number) => void (nowMs += ms) };
}

test("a portal for one kind of request raises one condition, from the second answer on", async () => {
  const { events, good, strange, pass } = bench();
  const begun = ["+not-the-store", "-not-the-store", "+not-the-store"];
  for (let second = 0; second < 120; second++) {
    for (let attempt = 0; attempt < 2; attempt++) await strange("head");
    await good("put");
    await good("list");
    pass(1_000);
  }
  expect(events).toEqual(begun);
  await good("head");
  expect(events).toEqual([...begun, "-not-the-store"]);
});

test("any answer of the store clears the first condition", async () => {
  const { events, good, strange } = bench();
  for (const kind of ["head", "list", "put"] as const) await strange(kind);
  await good("put");
  expect(events).toEqual(["+not-the-store", "-not-the-store"]);
});

test("a condition of an unused kind of request ends after twenty seconds, with any answer", async () => {
  const { events, good, strange, pass } = bench();
  for (let round = 0; round < 2; round++) {
    for (let attempt = 0; attempt < 2; attempt++) await strange("head");
    await good("put");
  }
  pass(19_999);
  await good("put");
  expect(events.length).toBe(3);
  pass(1);
  await good("put");
  expect(events.at(-1)).toBe("-not-the-store");
});

test("a single strange answer raises no condition", async () => {
  const { events, good, strange } = bench();
  for (const kind of ["put", "get", "head", "list", "delete"] as const) {
    await strange(kind);
    await good(kind);
  }
  expect(events).toEqual([]);
});
