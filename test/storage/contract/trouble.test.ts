/** Trouble and StandingFindings: the log lines of failures and findings, and their number. */
import { describe, expect, test } from "bun:test";
import { WalrustError } from "../../../src/errors.ts";
import { StandingFindings, Trouble, type TroubleReport } from "../../../src/storage/contract/trouble.ts";
import { recordingEnv } from "../../support/recording-log.ts";

const gone = (key: string) => new WalrustError("storage", `Cannot put ${key}`, { retryable: true });
const refused = new WalrustError("auth", "Cannot put 1: the store answered 403");

/** A Trouble on a clock that a test moves. */
function timed(report: TroubleReport = { database: "app", level: "error" }) {
  let nowMs = 1_000;
  const { env, lines } = recordingEnv({ monotonicMs: () => nowMs });
  const trouble = new Trouble(env, report);
  const pass = (seconds: number): void => {
    for (let i = 0; i < seconds * 10; i++) {
      nowMs += 100;
      trouble.poll(nowMs);
    }
  };
  return { trouble, pass, said: () => lines.map(({ level, message }) => `${level} ${message}`) };
}

describe("Trouble", () => {
  test("logs a throttling store as one failure, and its end after a while without failures", () => {
    const { trouble, pass, said } = timed();
    const throttled = new WalrustError("storage", "Cannot put: the store answered 429", {
      context: { status: 429, s3Code: "" },
      retryable: true,
    });
    for (let round = 0; round < 200; round++) {
      trouble.failed(throttled);
      pass(2);
      trouble.recovered();
      // Success ends the current failure at once, although the log line of the end comes later.
      expect(trouble.current).toBeNull();
      pass(6);
    }
    expect(said()).toEqual(["error Cannot put: the store answered 429"]);
    pass(29);
    expect(said()).toEqual(["error Cannot put: the store answered 429", "info recovered"]);
    pass(100);
    trouble.recovered();
    expect(said().length).toBe(2);
  });

  test("logs an intermittent failure twice, and then once for as long as it recurs", () => {
    const { trouble, pass, said } = timed();
    for (let round = 0; round < 100; round++) {
      trouble.failed(gone("k"));
      pass(1);
      trouble.recovered();
      pass(20);
    }
    const once = ["error Cannot put k", "info recovered"];
    expect(said()).toEqual([...once, ...once, "error Cannot put k"]);
    pass(600);
    expect(said().slice(4)).toEqual(once);
    // After a long calm the next failure counts as the first again.
    pass(1_300);
    trouble.failed(gone("k"));
    trouble.recovered();
    expect(said().slice(6)).toEqual(once);
  });

  test("logs a lasting failure once for any keys, and its end once", () => {
    const { trouble, said } = timed();
    for (let outage = 0; outage < 2; outage++) {
      for (let key = 0; key < 1_000; key++) expect(trouble.failed(gone(`${key}`))).toBe(key === 0);
      expect(trouble.current?.message).toBe("Cannot put 999");
      for (let time = 0; time < 10; time++) expect(trouble.recovered()).toBe(time === 0);
    }
    const once = ["error Cannot put 0", "info recovered"];
    expect(said()).toEqual([...once, ...once]);
  });

  test("logs alternating failures once each", () => {
    const { trouble, said } = timed();
    for (let turn = 0; turn < 100; turn++) {
      trouble.failed(gone(`${turn}`));
      trouble.failed(refused);
      trouble.failed(new WalrustError("database", "disk I/O error"));
    }
    expect(said()).toEqual(["error Cannot put 0", `error ${refused.message}`, "error disk I/O error"]);
  });

  test("limits the lines of failures that never repeat", () => {
    const { trouble, said } = timed();
    for (let turn = 0; turn < 1_000; turn++) trouble.failed(new WalrustError("database", `failure ${turn}`));
    expect(said().length).toBe(50);
  });

  test("begins each line with its subject, and warns by default", () => {
    const { trouble, said } = timed({ database: "app", what: "upkeep" });
    expect(trouble.recovered()).toBe(false);
    for (let time = 0; time < 100; time++) trouble.failed(gone(`${time}`));
    trouble.failed(new TypeError("a bug"));
    trouble.recovered();
    trouble.recovered();
    trouble.failed(gone("later"));
    expect(said()).toEqual([
      "warn upkeep: Cannot put 0",
      "warn upkeep: a bug",
      "info upkeep: recovered",
      "warn upkeep: Cannot put later",
    ]);
  });

  test("ends with the line of its owner, or without a line", () => {
    for (const end of ["the store answers again", null]) {
      const { trouble, said } = timed({ end });
      trouble.failed(refused);
      expect(trouble.recovered()).toBe(true);
      expect(said().slice(1)).toEqual(end === null ? [] : [`info ${end}`]);
    }
  });

  test("with isFirstOnly logs only the first of several failures", () => {
    const { trouble, said } = timed({ isFirstOnly: true });
    expect([gone("k"), refused, new TypeError("a bug")].map((error) => trouble.failed(error))).toEqual([
      true,
      false,
      false,
    ]);
    trouble.recovered();
    expect(said()).toEqual(["warn Cannot put k", "info recovered"]);
  });

  test("logs a failure whose cause is already logged at level debug, and its end too", () => {
    const { trouble, said } = timed();
    expect(trouble.failed(gone("k"), true)).toBe(true);
    trouble.recovered();
    expect(said()).toEqual(["debug Cannot put k", "debug recovered"]);
    // A single failure at its own level is enough to log the end at level info.
    trouble.failed(gone("k"), true);
    trouble.failed(refused);
    trouble.recovered();
    expect(said().slice(2)).toEqual(["debug Cannot put k", `error ${refused.message}`, "info recovered"]);
  });

  test("logs the end of a failure that was only noted", () => {
    const { trouble, said } = timed();
    trouble.note(refused);
    expect([trouble.current, trouble.isOpen]).toEqual([refused, true]);
    expect(said()).toEqual([]);
    expect(trouble.recovered()).toBe(true);
    expect([trouble.current, trouble.isOpen, said()]).toEqual([null, false, ["info recovered"]]);
  });
});

test("a trouble has failed for good with its first failure: its owner keeps what it remembers", () => {
  const { trouble } = timed();
  expect(trouble.hasFailed).toBe(false);
  trouble.recovered();
  expect(trouble.hasFailed).toBe(false);
  trouble.failed(gone("k"));
  trouble.recovered();
  expect([trouble.isOpen, trouble.hasFailed]).toEqual([false, true]);
});

test("StandingFindings.replace gives the new findings and the ended ones", () => {
  const findings = new StandingFindings();
  expect(findings.replace(["a", "b", "a"])).toEqual({ begun: ["a", "b"], ended: [] });
  expect(findings.replace(["b", "c"])).toEqual({ begun: ["c"], ended: ["a"] });
  expect(findings.replace(["b", "c"])).toEqual({ begun: [], ended: [] });
  expect(findings.replace([])).toEqual({ begun: [], ended: ["b", "c"] });
  expect(findings.replace(["a"])).toEqual({ begun: ["a"], ended: [] });
});
