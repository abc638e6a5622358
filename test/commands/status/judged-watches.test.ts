/** The judgement of `walrust status`, over reports of watches. */
import { describe, expect, test } from "bun:test";
import { HEALTH_EXITS, judgeWatches } from "../../../src/commands/status/judged-watches.ts";
import { WalrustError } from "../../../src/errors.ts";
import { answerOf, reportedOf, watchStatusOf } from "./status-samples.ts";

const ALL = { names: [], location: null };

test("judgeWatches puts the worst database first, and gives the exit code of the worst watch", () => {
  const databases = [
    reportedOf({ database: "b" }),
    reportedOf({ database: "slow", lagMs: 11_000, pendingCount: 1 }),
    reportedOf({ database: "a" }),
    reportedOf({
      database: "ended",
      state: "stopped",
      failure: { code: "foreign-writer", message: "another writer", hint: "stop it" },
    }),
  ];
  const judged = judgeWatches([answerOf(watchStatusOf({ databases })), answerOf(watchStatusOf())], ALL);
  expect(judged.watches.map(({ health }) => health)).toEqual(["unhealthy", "healthy"]);
  expect(judged.watches[0]!.databases.map(({ reported }) => reported.database)).toEqual([
    "ended",
    "slow",
    "a",
    "b",
  ]);
  expect(judged.watches[0]!.databases.map(({ remedies }) => remedies.length > 0)).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect(judged.watches[0]!.databases[0]!.remedies).toEqual(["stop it"]);
  expect(HEALTH_EXITS[judged.health]).toBe(3);
});

describe("the exit code", () => {
  test.each([
    ["every database is healthy", [answerOf(watchStatusOf())], ALL, 0],
    ["a database lags", [answerOf(watchStatusOf({ databases: [reportedOf({ lagMs: 11_000 })] }))], ALL, 1],
    ["no watch runs", [], ALL, 3],
    ["no watch has the name", [answerOf(watchStatusOf())], { ...ALL, names: ["app", "other"] }, 3],
    ["another database is unhealthy", [answerOf(mixed())], { ...ALL, names: ["app"] }, 0],
    ["no watch replicates there", [answerOf(watchStatusOf())], { ...ALL, location: "s3://other" }, 3],
    ["a watch replicates there", [answerOf(watchStatusOf())], { ...ALL, location: "s3://memory" }, 0],
    ["a watch hangs", [answerOf(watchStatusOf()), hanging()], ALL, 3],
    [
      "an older watch alone cannot tell where it replicates",
      [hanging(true)],
      { ...ALL, location: "s3://x" },
      3,
    ],
    ["an older watch cannot tell", [answerOf(watchStatusOf()), hanging(true)], ALL, 1],
    ["a watch hangs beside the name", [answerOf(watchStatusOf()), hanging()], { ...ALL, names: ["app"] }, 0],
    [
      "a watch hangs beside one name of two",
      [answerOf(watchStatusOf()), hanging()],
      { ...ALL, names: ["app", "b"] },
      3,
    ],
    [
      "a watch hangs beside the destination",
      [answerOf(watchStatusOf()), hanging()],
      { ...ALL, location: "s3://memory" },
      0,
    ],
    [
      "a watch hangs, and none replicates there",
      [answerOf(watchStatusOf()), hanging()],
      { ...ALL, location: "s3://x" },
      3,
    ],
    [
      "the store is silent",
      [
        answerOf(
          watchStatusOf({ storeConditions: [{ code: "store-silent", health: "degraded", message: "m" }] }),
        ),
      ],
      ALL,
      1,
    ],
  ] as const)("when %s", (_, answers, choice, exitCode) => {
    expect(HEALTH_EXITS[judgeWatches(answers, choice).health]).toBe(exitCode);
  });
});

function mixed() {
  return watchStatusOf({ databases: [reportedOf(), reportedOf({ database: "other", lagMs: 61_000 })] });
}

function hanging(isOlder = false) {
  const error = new WalrustError("locked", "The watch with pid 2 does not answer", { hint: "kill it" });
  return { pid: 2, result: null, error, isOlder };
}

test("judgeWatches says of a watch that does not answer what to do", () => {
  const { watches } = judgeWatches([hanging()], { names: ["app"], location: "s3://memory" });
  expect(watches).toMatchObject([
    { pid: 2, health: "unhealthy", reasons: ["The watch with pid 2 does not answer"], remedies: ["kill it"] },
  ]);
});

test.each([
  [
    "a failure without a hint of its own",
    { state: "failing", failure: failure("missing-bucket", null) },
    "bucket",
  ],
  ["a failure with a hint", { state: "failing", failure: failure("storage", "look there") }, "look there"],
  ["a pause", { state: "paused" }, "cache.max_size"],
  ["a lag", { lagMs: 11_000, pendingCount: 2 }, "walrust doctor"],
  [
    "a condition",
    { conditions: [{ code: "not-shared", health: "unhealthy", message: "m", hint: "close it" }] },
    "close it",
  ],
] as const)("judgeWatches gives a remedy for %s", (_, overrides, remedy) => {
  const answer = answerOf(watchStatusOf({ databases: [reportedOf(overrides)] }));
  const [database] = judgeWatches([answer], ALL).watches[0]!.databases;
  expect(database!.remedies.join("; ")).toContain(remedy);
});

function failure(code: string, hint: string | null) {
  return { code, message: "it fails", hint };
}

test("judgeWatches calls the store out of reach only as long as the failures are old", () => {
  const away = { state: "failing", failure: failure("storage", null), failingMs: 61_000 } as const;
  const long = watchStatusOf({ databases: [reportedOf(away)], sinceUploadMs: null });
  expect(judgeWatches([answerOf(long)], ALL).health).toBe("unhealthy");
  const short = watchStatusOf({
    databases: [reportedOf({ ...away, failingMs: 1_000 })],
    sinceUploadMs: null,
  });
  expect(judgeWatches([answerOf(short)], ALL).health).toBe("degraded");
});
