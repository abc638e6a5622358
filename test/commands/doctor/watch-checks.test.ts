/** The checks of running watches, from their answers. */
import { expect, test } from "bun:test";
import { checkNamesakes, checkWatches, watchOfOrNull } from "../../../src/commands/doctor/watch-checks.ts";
import type { FoundDatabase } from "../../../src/discovery/finder.ts";
import { WalrustError } from "../../../src/errors.ts";
import { answerOf, reportedOf, watchStatusOf } from "../status/status-samples.ts";

const APP = { path: "/srv/tenants/app.db" } as FoundDatabase;
const OTHER = { path: "/srv/tenants/other.db" } as FoundDatabase;

function told(...given: Parameters<typeof checkWatches>): [string, string][] {
  return checkWatches(...given).all.map(({ check, status }) => [check, status]);
}

test("checkWatches is content with a watch that replicates every database", () => {
  expect(told([answerOf(watchStatusOf())], [APP])).toEqual([
    ["answer", "ok"],
    ["replicated", "ok"],
  ]);
  expect(told([], [])).toEqual([]);
});

test("checkWatches warns of databases without a watch, and of failing ones", () => {
  expect(told([], [APP])).toEqual([["replicated", "warning"]]);
  const failing = reportedOf({ state: "failing", failure: { code: "storage", message: "m", hint: null } });
  const { all } = checkWatches([answerOf(watchStatusOf({ databases: [failing] }))], [APP, OTHER]);
  expect(all.map(({ check, status }) => [check, status])).toEqual([
    ["answer", "warning"],
    ["replicated", "warning"],
  ]);
  expect(all[0]!.hint).toContain("walrust status");
  expect(all[1]!.message).toContain("1 of 2 databases: /srv/tenants/other.db");
});

test("checkWatches takes over the conditions of the store from a watch of these databases", () => {
  const condition = { code: "not-the-store", health: "unhealthy", message: "a portal", hint: "h" } as const;
  const storeConditions = [condition, { ...condition, code: "weak-writes", health: "degraded" }] as const;
  const answer = answerOf(watchStatusOf({ storeConditions }));
  const stored = (databases: FoundDatabase[]) =>
    checkWatches([answer], databases).all.filter(({ check }) => check === "store");
  expect(stored([APP])).toMatchObject([
    { status: "failure", exit: 4, message: "a portal", hint: "h" },
    { status: "warning" },
  ]);
  expect(stored([OTHER])).toEqual([]);
});

test("watchOfOrNull is a watch of one of the databases, and no other", () => {
  const elsewhere = { ...answerOf(watchStatusOf({ databases: [reportedOf({ path: "/x.db" })] })), pid: 9 };
  expect(watchOfOrNull([elsewhere, answerOf(watchStatusOf())], [OTHER, APP])).toBe(1);
  expect(watchOfOrNull([elsewhere], [APP])).toBeNull();
});

test("checkWatches fails for a watch that does not answer", () => {
  const error = new WalrustError("locked", "The watch with pid 2 does not answer", { hint: "kill it" });
  const { all } = checkWatches([{ pid: 2, result: null, error, isOlder: false }], []);
  expect(all).toMatchObject([{ check: "answer", status: "failure", exit: 3, hint: "kill it" }]);
  const older = checkWatches([{ pid: 2, result: null, error, isOlder: true }], []).all;
  expect(older).toMatchObject([{ check: "answer", status: "warning", hint: "kill it" }]);
});

test("checkNamesakes fails for a name that a watch uses for another file that exists", () => {
  const database = { path: "/srv/mine.db", name: "app" } as FoundDatabase;
  const answer = (overrides: Parameters<typeof reportedOf>[0]) => [
    answerOf(
      watchStatusOf({ databases: [reportedOf({ database: "app", path: import.meta.path, ...overrides })] }),
    ),
  ];
  const [found] = checkNamesakes(answer({}), [database], "s3://memory");
  expect(found).toMatchObject({ check: "name", subject: "/srv/mine.db", status: "failure", exit: 3 });
  expect(found!.message).toContain(`the watch with pid 1 replicates ${import.meta.path} there`);
  expect(checkNamesakes(answer({}), [database], "s3://elsewhere")).toEqual([]);
  expect(checkNamesakes(answer({ database: "other" }), [database], "s3://memory")).toEqual([]);
  expect(checkNamesakes(answer({ path: "/srv/mine.db" }), [database], "s3://memory")).toEqual([]);
  expect(checkNamesakes(answer({ path: "/srv/gone.db" }), [database], "s3://memory")).toEqual([]);
  expect(checkNamesakes(answer({ writer: null }), [database], "s3://memory")).toEqual([]);
});
