/** withRetry: the errors that it retries, the length of its waits, and the moment it gives up. */
import { describe, expect, test } from "bun:test";
import { type Env, SILENT_LOG, systemEnv } from "../../../src/env.ts";
import { WalrustError } from "../../../src/errors.ts";
import { patienceOf, retryDelayMs, withRetry } from "../../../src/storage/contract/retry.ts";
import { DEFAULT_CONFIG } from "../../support/config.ts";

const transient = new WalrustError("storage", "try again", { retryable: true });

/** An env whose sleeps take no time and are recorded. */
function fakeEnv(random = 0.5): { env: Env; sleepsMs: number[] } {
  const sleepsMs: number[] = [];
  const env: Env = {
    ...systemEnv(SILENT_LOG),
    random: () => random,
    sleep: async (durationMs) => {
      sleepsMs.push(durationMs);
    },
  };
  return { env, sleepsMs };
}

describe("withRetry", () => {
  test("withRetry waits up to the doubled base and the maximum, then throws the last error", async () => {
    const { env, sleepsMs } = fakeEnv(0.5);
    let attemptCount = 0;
    const policy = { maxRetries: 10, baseDelayMs: 100, maxDelayMs: 30_000 };
    const failing = withRetry({ env, policy }, async (attemptIndex) => {
      expect(attemptIndex).toBe(attemptCount++);
      throw transient;
    });
    await expect(failing).rejects.toBe(transient);
    expect(attemptCount).toBe(11);
    expect(sleepsMs).toEqual([50, 100, 200, 400, 800, 1600, 3200, 6400, 12_800, 15_000]);
  });

  test("retryDelayMs is uniform up to the bound, for every policy and any number of retries", () => {
    const policy = { maxRetries: 5_000, baseDelayMs: 100, maxDelayMs: 30_000 };
    expect([0, 0.25, 0.999].map((random) => retryDelayMs(policy, 3, random))).toEqual([0, 200, 799.2]);
    for (const retryIndex of [9, 10, 1_000, 5_000])
      expect(retryDelayMs(policy, retryIndex, 0.5)).toBe(15_000);
    for (const retryIndex of [0, 1_023, 5_000]) {
      expect(retryDelayMs({ ...policy, baseDelayMs: 0 }, retryIndex, 0.5)).toBe(0);
      expect(retryDelayMs({ ...policy, maxDelayMs: 0 }, retryIndex, 0.5)).toBe(0);
    }
    expect(retryDelayMs({ ...policy, baseDelayMs: 60_000 }, 0, 0.5)).toBe(15_000);
  });

  test("withRetry without retries makes one attempt and does not wait", async () => {
    const { env, sleepsMs } = fakeEnv();
    let attemptCount = 0;
    const failing = withRetry({ env, policy: { ...DEFAULT_CONFIG.retry, maxRetries: 0 } }, async () => {
      attemptCount++;
      throw transient;
    });
    await expect(failing).rejects.toBe(transient);
    expect([attemptCount, sleepsMs]).toEqual([1, []]);
  });

  test("withRetry waits at least as long as the store demands, up to the maximum", async () => {
    const { env, sleepsMs } = fakeEnv(0.5);
    const waits = [2_000, 0, 29_950, 3_600_000];
    const failing = withRetry({ env, policy: { ...DEFAULT_CONFIG.retry, maxRetries: 4 } }, async (index) => {
      const retryAfterMs = waits[index] ?? 0;
      throw new WalrustError("storage", "later", { retryable: true, context: { retryAfterMs } });
    });
    await expect(failing).rejects.toThrow("later");
    expect(sleepsMs).toEqual([2_050, 100, 30_000, 30_000]);
  });

  test("withRetry retries five times by default", async () => {
    const { env, sleepsMs } = fakeEnv();
    await expect(
      withRetry({ env, policy: DEFAULT_CONFIG.retry }, async () => Promise.reject(transient)),
    ).rejects.toBe(transient);
    expect(sleepsMs.length).toBe(5);
  });

  test("withRetry throws an error that is not retryable at once", async () => {
    const { env, sleepsMs } = fakeEnv();
    for (const error of [
      new WalrustError("auth", "no"),
      new Error("bug"),
      new WalrustError("precondition", "no"),
    ]) {
      await expect(
        withRetry({ env, policy: DEFAULT_CONFIG.retry }, async () => Promise.reject(error)),
      ).rejects.toBe(error);
    }
    expect(sleepsMs).toEqual([]);
  });

  test("withRetry stops when the signal aborts during a wait", async () => {
    const controller = new AbortController();
    const { env } = fakeEnv();
    let attemptCount = 0;
    const stopping = { ...env, sleep: async () => controller.abort(new Error("stopped")) };
    const context = { env: stopping, policy: DEFAULT_CONFIG.retry, signal: controller.signal };
    const failing = withRetry(context, async () => {
      attemptCount++;
      throw transient;
    });
    await expect(failing).rejects.toThrow("stopped");
    expect(attemptCount).toBe(1);
  });
});

test("withRetry gives up when an inner withRetry has given up, whatever its own policy", async () => {
  let nowMs = 0;
  const wait = async (durationMs: number): Promise<void> => void (nowMs += durationMs);
  const env: Env = { ...fakeEnv().env, sleep: wait, monotonicMs: () => nowMs };
  const policy = { ...DEFAULT_CONFIG.retry, patience: patienceOf(60_000) };
  let attempts = 0;
  const stalled = async (): Promise<never> => {
    attempts++;
    await wait(30_000);
    throw transient;
  };
  const failing = withRetry({ env, policy }, () => withRetry({ env, policy }, stalled));
  await expect(failing).rejects.toThrow("try again; given up after 60 s (see --timeout)");
  expect([attempts, nowMs]).toEqual([2, 60_050]);
});
