/**
 * StallTimeout: what counts as a stall. The clock is the test's; a timer that fires late is a process that
 * stood still.
 */
import { describe, expect, test } from "bun:test";
import { type Env, SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { StallTimeout, TRANSFER_POLLS } from "../../../src/storage/network/stall-timeout.ts";

const STALL_MS = 30_000;

/** A clock, and the sleep that waits for it. */
class Time {
  nowMs = 1_000;
  #untilMs = Number.POSITIVE_INFINITY;
  #wake: () => void = () => {};
  readonly env: Env = {
    ...systemEnv(SILENT_LOG),
    monotonicMs: () => this.nowMs,
    sleep: (durationMs, signal) => {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#untilMs = this.nowMs + durationMs;
      this.#wake = resolve;
      signal?.addEventListener("abort", () => resolve(), { once: true });
      return promise;
    },
  };

  /** Passes time in one piece: a timer that is due on the way fires at its end. */
  async pass(durationMs: number): Promise<void> {
    this.nowMs += durationMs;
    if (this.nowMs >= this.#untilMs) this.#wake();
    await this.env.turn();
  }

  /** Passes time with every timer on time. */
  async run(durationMs: number): Promise<void> {
    const endMs = this.nowMs + durationMs;
    while (this.#untilMs <= endMs) {
      const stepMs = Math.max(0, this.#untilMs - this.nowMs);
      this.#untilMs = Number.POSITIVE_INFINITY;
      this.nowMs += stepMs;
      this.#wake();
      await this.env.turn();
    }
    this.nowMs = endMs;
  }
}

function transfer(): { time: Time; timeout: StallTimeout } {
  const time = new Time();
  return { time, timeout: new StallTimeout(time.env, STALL_MS, undefined, null, TRANSFER_POLLS) };
}

function failureOf(timeout: StallTimeout): string {
  const explain = (cause: unknown) => ({ reason: (cause as Error).message, hint: "", retryable: true });
  return (timeout.errorFor("read k", new Error("aborted"), explain) as Error).message;
}

describe("StallTimeout", () => {
  test("cuts off a request after its limit without a movement, and not before", async () => {
    const { time, timeout } = transfer();
    await time.run(STALL_MS - 1);
    expect(timeout.signal.aborted).toBe(false);
    await time.run(2);
    expect(timeout.signal.aborted).toBe(true);
    expect(failureOf(timeout)).toBe("Cannot read k: nothing moved for 30 s");
  });

  test("cuts off no request that moves within its limit", async () => {
    const { time, timeout } = transfer();
    for (let count = 0; count < 10; count++) {
      await time.run(STALL_MS - 1);
      timeout.touch();
    }
    expect(timeout.signal.aborted).toBe(false);
    await time.run(STALL_MS + 1);
    expect(timeout.signal.aborted).toBe(true);
  });

  // Regression: a process that stood still for longer than the limit cut off its requests when it went on,
  // although their answers lay in the sockets.
  test.each([0, 9_999, 10_000, 15_000, 19_999])(
    "cuts off no request because the process stood still, %d ms after a movement",
    async (sinceMs) => {
      const { time, timeout } = transfer();
      await time.run(sinceMs);
      await time.pass(3_600_000);
      expect([timeout.signal.aborted, timeout.stillMs < STALL_MS]).toEqual([false, true]);
      timeout.touch();
      await time.run(STALL_MS - 1);
      expect(timeout.signal.aborted).toBe(false);
    },
  );

  test("cuts off a request that does not move after the process stood still", async () => {
    const { time, timeout } = transfer();
    await time.pass(3_600_000);
    await time.run(STALL_MS);
    expect(timeout.signal.aborted).toBe(true);
    expect(failureOf(timeout)).toBe("Cannot read k: nothing moved for 30 s");
  });

  test("cuts off a request in the end, however often the process stands still", async () => {
    const { time, timeout } = transfer();
    for (let count = 0; count < TRANSFER_POLLS; count++) await time.pass(60_000);
    expect(timeout.signal.aborted).toBe(true);
  });
});
