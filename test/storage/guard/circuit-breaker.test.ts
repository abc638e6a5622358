/**
 * The circuit breaker: a table of its states on a clock that the test moves, and its invariants at random.
 */

import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type ErrorCode, WalrustError } from "../../../src/errors.ts";
import {
  type BreakerConfig,
  type CircuitChange,
  isSuspension,
} from "../../../src/storage/contract/circuit.ts";
import {
  type AdmittedCall,
  type CallOutcome,
  CircuitBreaker,
  outcomeOfError,
} from "../../../src/storage/guard/circuit-breaker.ts";
import { breakerOf } from "../../support/config.ts";
import { cases } from "../../support/property-cases.ts";

const COOLDOWN_MS = 60_000;
const WALL_MS = 1_000_000_000;

/** A breaker, its clock and its reported changes. */
class Subject {
  nowMs = 0;
  readonly changes: CircuitChange[] = [];
  readonly breaker: CircuitBreaker;

  constructor(config: BreakerConfig = breakerOf(3, COOLDOWN_MS)) {
    const env = { monotonicMs: () => this.nowMs, nowMs: () => WALL_MS + this.nowMs };
    this.breaker = new CircuitBreaker(config, env, { changed: (change) => void this.changes.push(change) });
  }

  /** Makes a call that ends at once. @returns whether the breaker admitted the call */
  call(outcome: CallOutcome): boolean {
    const call = this.admittedOrNull();
    if (call !== null) this.breaker.settle(call, outcome, new Error(`failure at ${this.nowMs}`));
    return call !== null;
  }

  admittedOrNull(): AdmittedCall | null {
    try {
      return this.breaker.admit();
    } catch (error) {
      expect(isSuspension(error)).toBe(true);
      return null;
    }
  }

  /** The reported changes, in short: "opened", "reopened", "closed". */
  get told(): string[] {
    return this.changes.map((change) =>
      change.kind === "closed" ? "closed" : change.isFirst ? "opened" : "reopened",
    );
  }
}

/**
 * Steps: F a failing call, S a successful one, A an answered probe, U a call without a conclusion, + the
 * cooldown passes. A lower-case letter stands for a refused call.
 */
const TABLE: readonly (readonly [steps: string, state: string, told: string])[] = [
  ["", "closed", ""],
  ["FF", "closed", ""],
  ["FFF", "open", "opened"],
  ["FFSFF", "closed", ""],
  ["FFUF", "open", "opened"],
  ["FFSFFF", "open", "opened"],
  ["FFFfsu", "open", "opened"],
  ["FFF+", "half-open", "opened"],
  ["FFF+S", "closed", "opened closed"],
  ["FFF+F", "open", "opened reopened"],
  ["FFF+Ffs", "open", "opened reopened"],
  ["FFF+U", "half-open", "opened"],
  ["FFF+UUS", "closed", "opened closed"],
  ["FFF+F+F+S", "closed", "opened reopened reopened closed"],
  ["FFF+SFF", "closed", "opened closed"],
  ["FFF+SFFF", "open", "opened closed opened"],
  ["FFF+A", "closed", "opened"],
  ["FFF+AS", "closed", "opened closed"],
  ["FFF+AUF", "open", "opened reopened"],
  ["FFF+AF+AF+AF", "open", "opened reopened reopened reopened"],
  ["FFF+AF+ASFF", "closed", "opened reopened closed"],
  ["FFAF", "open", "opened"],
];

describe("CircuitBreaker", () => {
  test.each(TABLE)("after %p is %s, and has reported %p", (steps, state, told) => {
    const subject = new Subject();
    for (const step of steps) {
      if (step === "+") {
        subject.nowMs += COOLDOWN_MS - 1;
        expect(subject.breaker.state).toBe("open");
        subject.nowMs += 1;
        continue;
      }
      const outcome = ({ F: "failed", S: "succeeded", A: "answered", U: "no-evidence" } as const)[
        step.toUpperCase()
      ]!;
      expect([step, subject.call(outcome)]).toEqual([step, step === step.toUpperCase()]);
    }
    expect([subject.breaker.state, subject.told.join(" ")]).toEqual([state as never, told]);
    expect(subject.breaker.isPassable).toBe(state !== "open");
    expect(subject.breaker.retryAtMs === null).toBe(state === "closed");
  });

  test("reports the number of failures, the end of the cooldown and the error; again after a trial", () => {
    const subject = new Subject();
    for (subject.nowMs = 5; subject.nowMs <= 15; subject.nowMs += 5) subject.call("failed");
    subject.nowMs = 15;
    const opened = { kind: "opened", isFirst: true, failures: 3 } as const;
    expect(subject.changes).toEqual([
      { ...opened, untilMs: WALL_MS + 15 + COOLDOWN_MS, message: "failure at 15" },
    ]);
    expect(subject.breaker.retryAtMs).toBe(15 + COOLDOWN_MS);
    subject.nowMs = 100_000;
    subject.call("failed");
    expect(subject.changes[1]).toEqual({
      ...opened,
      isFirst: false,
      failures: 4,
      untilMs: WALL_MS + 160_000,
      message: "failure at 100000",
    });
  });

  test("refuses with the cause and the time of the next trial, as a retryable error", () => {
    const subject = new Subject();
    for (let call = 0; call < 3; call++) subject.call("failed");
    subject.nowMs = 17_500;
    const refusal = refusalOf(subject.breaker);
    expect(refusal.message).toBe(
      "Requests are suspended after 3 failures in a row, and the next is tried in 43 s. " +
        "The last one: failure at 0",
    );
    expect([refusal.code, refusal.retryable, refusal.exitCode]).toEqual(["storage", true, 4]);
    expect([refusal.hint, refusal.context["circuit"]]).toEqual([expect.stringContaining("disk"), "open"]);
    subject.nowMs = COOLDOWN_MS;
    subject.breaker.admit();
    expect(refusalOf(subject.breaker).message).toContain("one is being tried now");
  });

  test("refuses with the remedy of the last failure, if that has one", () => {
    const subject = new Subject();
    for (let call = 0; call < 3; call++) {
      const failure = new WalrustError("storage", "skewed", { hint: "set the clock", retryable: true });
      subject.breaker.settle(subject.breaker.admit(), "failed", failure);
    }
    expect(refusalOf(subject.breaker).hint).toBe("set the clock");
  });

  test("admits one trial at a time, however long the trial takes", () => {
    const subject = new Subject();
    for (let call = 0; call < 3; call++) subject.call("failed");
    subject.nowMs += COOLDOWN_MS;
    const trial = subject.admittedOrNull()!;
    expect(trial.isTrial).toBe(true);
    subject.nowMs += 10 * COOLDOWN_MS;
    expect([subject.admittedOrNull(), subject.breaker.isPassable, subject.breaker.retryAtMs]).toEqual([
      null,
      false,
      null,
    ]);
    subject.breaker.settle(trial, "no-evidence");
    expect([subject.breaker.isPassable, subject.breaker.state]).toEqual([true, "half-open"]);
    const next = subject.admittedOrNull()!;
    subject.breaker.settle(next, "succeeded");
    subject.breaker.settle(trial, "failed");
    expect([subject.breaker.state, subject.told]).toEqual(["closed", ["opened", "closed"]]);
  });

  test("endCooldown ends a cooldown, and does nothing in other states", () => {
    const subject = new Subject();
    subject.breaker.endCooldown();
    for (let call = 0; call < 3; call++) expect(subject.call("failed")).toBe(true);
    subject.nowMs += 1;
    subject.breaker.endCooldown();
    const trial = subject.admittedOrNull()!;
    subject.breaker.endCooldown();
    expect([trial.isTrial, subject.admittedOrNull()]).toEqual([true, null]);
    subject.breaker.settle(trial, "failed");
    expect([subject.breaker.state, subject.breaker.retryAtMs]).toEqual(["open", 1 + COOLDOWN_MS]);
  });

  test("counts overlapping failures once: only consecutive calls add up", () => {
    const subject = new Subject();
    for (let round = 1; round <= 3; round++) {
      expect(subject.breaker.state).toBe("closed");
      const side = Array.from({ length: 5 }, () => subject.admittedOrNull()!);
      for (const call of side) subject.breaker.settle(call, "failed", new Error("no"));
    }
    expect(subject.changes.map((change) => change.kind === "opened" && change.failures)).toEqual([3]);
  });

  test("does not count calls that began before it opened, or the same call twice", () => {
    const subject = new Subject();
    const [early, twice] = [subject.admittedOrNull()!, subject.admittedOrNull()!];
    for (let time = 0; time < 5; time++) subject.breaker.settle(twice, "failed");
    expect(subject.breaker.state).toBe("closed");
    subject.call("failed");
    subject.call("failed");
    subject.breaker.settle(early, "succeeded");
    expect([subject.breaker.state, subject.told]).toEqual(["open", ["opened"]]);
  });

  test("never opens if switched off", () => {
    const subject = new Subject({ ...breakerOf(3, COOLDOWN_MS), circuitBreakerEnabled: false });
    for (let call = 0; call < 1_000; call++) expect(subject.call("failed")).toBe(true);
    expect([subject.breaker.state, subject.told, subject.breaker.retryAtMs]).toEqual(["closed", [], null]);
  });
});

function refusalOf(breaker: CircuitBreaker): WalrustError {
  try {
    breaker.admit();
  } catch (error) {
    if (error instanceof WalrustError) return error;
  }
  throw new Error("it was let through");
}

describe("outcomeOfError", () => {
  const refused = (code: ErrorCode, status: number) => new WalrustError(code, "no", { context: { status } });
  const later = (code: ErrorCode) => new WalrustError(code, "later", { retryable: true });
  const table: [string, unknown, CallOutcome][] = [
    ["a retryable storage error", later("storage"), "failed"],
    ["keys that cannot be had for now", later("auth"), "failed"],
    ["401", refused("auth", 401), "succeeded"],
    ["403", refused("auth", 403), "succeeded"],
    ["400", refused("storage", 400), "succeeded"],
    ["501", refused("storage", 501), "succeeded"],
    ["not-found", new WalrustError("not-found", "no"), "succeeded"],
    ["precondition", new WalrustError("precondition", "no"), "succeeded"],
    ["missing-bucket", new WalrustError("missing-bucket", "no"), "succeeded"],
    ["no keys anywhere", new WalrustError("auth", "no"), "no-evidence"],
    ["a full disk", new WalrustError("storage", "no"), "no-evidence"],
    ["a busy database", later("database-busy"), "no-evidence"],
    ["a damaged object", new WalrustError("integrity", "no"), "no-evidence"],
    ["an abort", new DOMException("stopped", "AbortError"), "no-evidence"],
    ["a bug", new TypeError("undefined is not a function"), "no-evidence"],
  ];
  test.each(table)("takes %s", (_, error, outcome) => expect(outcomeOfError(error)).toBe(outcome));
});

/** The next step of a random run: calls begin and end in any order while time passes. */
const anyStep = fc.oneof(
  fc.record({ kind: fc.constant("begin" as const) }),
  fc.record({
    kind: fc.constant("end" as const),
    index: fc.nat(20),
    outcome: fc.constantFrom<CallOutcome>("succeeded", "failed", "failed", "no-evidence"),
  }),
  fc.record({ kind: fc.constant("wait" as const), ms: fc.integer({ min: 0, max: 150 }) }),
);

test("CircuitBreaker keeps its invariants under any order of successes, failures and waits", () => {
  const policy = fc.record({ threshold: fc.integer({ min: 1, max: 5 }), cooldownMs: fc.constant(100) });
  fc.assert(
    fc.property(policy, fc.array(anyStep, { maxLength: 120 }), ({ threshold, cooldownMs }, steps) => {
      const subject = new Subject(breakerOf(threshold, cooldownMs));
      const { breaker } = subject;
      // The model: consecutive failures among the calls since the last change, and the time of opening.
      let row = 0;
      let openedMs: number | null = null;
      const calls: AdmittedCall[] = [];
      // A call that began before a change proves nothing about the time after the change.
      const stale = new Set<AdmittedCall>();
      // A call that overlaps a counted failure is part of the same failure.
      const overlapping = new Set<AdmittedCall>();
      for (const step of steps) {
        if (step.kind === "wait") subject.nowMs += step.ms;
        else if (step.kind === "begin") {
          const trials = calls.filter((call) => call.isTrial && !stale.has(call)).length;
          const isOver = openedMs !== null && subject.nowMs - openedMs >= cooldownMs;
          const call = subject.admittedOrNull();
          expect(call !== null).toBe(openedMs === null || (isOver && trials === 0));
          if (call === null) continue;
          expect(call.isTrial).toBe(openedMs !== null);
          calls.push(call);
        } else {
          const [call] = calls.splice(step.index, 1);
          if (call === undefined) continue;
          breaker.settle(call, step.outcome, new Error("no"));
          if (stale.has(call) || step.outcome === "no-evidence") continue;
          if (step.outcome === "failed" && overlapping.has(call)) continue;
          if (step.outcome === "failed") for (const call of calls) overlapping.add(call);
          row = step.outcome === "succeeded" ? 0 : row + 1;
          const opens = step.outcome === "failed" && (call.isTrial || row >= threshold);
          const wasOpen = openedMs !== null;
          if (opens) openedMs = subject.nowMs;
          else if (step.outcome === "succeeded") openedMs = null;
          if (opens || wasOpen !== (openedMs !== null)) for (const call of calls) stale.add(call);
        }
        const isOver = openedMs !== null && subject.nowMs - openedMs >= cooldownMs;
        expect(breaker.state).toBe(openedMs === null ? "closed" : isOver ? "half-open" : "open");
      }
    }),
    cases(1_000),
  );
});
