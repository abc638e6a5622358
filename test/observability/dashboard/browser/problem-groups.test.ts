/** Problems of many databases as one entry each. */
import { expect, test } from "bun:test";
import { groupProblems } from "../../../../src/observability/dashboard/browser/problem-groups.ts";
import type { Problem } from "../../../../src/observability/dashboard/dashboard-document.ts";

function problem(database: string | null, code: string, change: Partial<Problem> = {}): Problem {
  return {
    code,
    health: "degraded",
    database,
    message: `${code} of ${database}`,
    hint: `mend ${code}`,
    ...change,
  };
}

test("groupProblems makes one entry of one code and one remedy, with the first message and all names", () => {
  expect(groupProblems([problem("a", "auth"), problem("b", "storage"), problem("c", "storage")])).toEqual([
    {
      code: "storage",
      health: "degraded",
      message: "storage of b",
      hint: "mend storage",
      databases: ["b", "c"],
    },
    { code: "auth", health: "degraded", message: "auth of a", hint: "mend auth", databases: ["a"] },
  ]);
});

test("groupProblems keeps other remedies and other health apart, and puts the store first", () => {
  const groups = groupProblems([
    problem("a", "lag"),
    problem("b", "lag", { health: "unhealthy" }),
    problem("c", "lag", { hint: "something else" }),
    problem("d", "lag"),
    problem(null, "weak-writes"),
    problem(null, "store", { health: "unhealthy" }),
  ]);
  expect(groups.map(({ code, health, databases }) => `${code} ${health} ${databases}`)).toEqual([
    "store unhealthy ",
    "weak-writes degraded ",
    "lag unhealthy b",
    "lag degraded a,d",
    "lag degraded c",
  ]);
});

test("groupProblems of nothing is nothing", () => {
  expect(groupProblems([])).toEqual([]);
});
