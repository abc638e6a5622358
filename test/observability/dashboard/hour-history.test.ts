/** The history of the dashboard: steps, gaps, rates, and its bound. */
import { describe, expect, test } from "bun:test";
import { HourHistory, type Sums } from "../../../src/observability/dashboard/hour-history.ts";

const NOTHING: Sums = { lagSeconds: 0, notHealthy: 0, pendingBytes: 0, uploads: 0, uploadBytes: 0 };

describe("HourHistory", () => {
  test("is empty before the first value", () => {
    const { step_seconds, ...values } = new HourHistory().hour;
    expect(step_seconds).toBe(30);
    for (const list of Object.values(values)) expect(list).toEqual([]);
  });

  test("keeps the most of each step of 30 s", () => {
    const history = new HourHistory();
    for (const [second, lagSeconds] of [
      [1, 2],
      [20, 5],
      [29.9, 3],
      [30, 1],
      [61, 7],
    ] as const) {
      history.add(
        { ...NOTHING, lagSeconds, notHealthy: lagSeconds + 1, pendingBytes: 10 * lagSeconds },
        second * 1000,
      );
    }
    expect(history.hour.lag_seconds).toEqual([5, 1, 7]);
    expect(history.hour.not_healthy).toEqual([6, 2, 8]);
    expect(history.hour.pending_bytes).toEqual([50, 10, 70]);
  });

  test("gives rates between the requests, also over the border of two steps", () => {
    const history = new HourHistory();
    history.add({ ...NOTHING, uploads: 100, uploadBytes: 1_000 }, 10_000);
    expect(history.hour.uploads_per_second).toEqual([null]);
    history.add({ ...NOTHING, uploads: 110, uploadBytes: 3_000 }, 20_000);
    expect(history.hour.uploads_per_second).toEqual([1]);
    history.add({ ...NOTHING, uploads: 150, uploadBytes: 3_000 }, 40_000);
    expect(history.hour.uploads_per_second).toEqual([1, 2]);
    expect(history.hour.upload_bytes_per_second).toEqual([200, 0]);
  });

  test("shows a time without requests as a gap", () => {
    const history = new HourHistory();
    history.add({ ...NOTHING, lagSeconds: 1 }, 0);
    history.add({ ...NOTHING, lagSeconds: null }, 31_000);
    history.add({ ...NOTHING, lagSeconds: 2 }, 95_000);
    expect(history.hour.lag_seconds).toEqual([1, null, null, 2]);
  });

  test("forgets what is older than an hour, after a gap of any length", () => {
    const history = new HourHistory();
    for (let step = 0; step < 300; step++) history.add({ ...NOTHING, lagSeconds: step }, step * 30_000);
    expect(history.hour.lag_seconds).toEqual(Array.from({ length: 120 }, (_, index) => 180 + index));
    history.add({ ...NOTHING, lagSeconds: 7 }, 10_000 * 30_000);
    expect(history.hour.lag_seconds).toEqual([...new Array(119).fill(null), 7]);
    expect(
      Object.values(history.hour)
        .filter(Array.isArray)
        .map((list) => list.length),
    ).toEqual(new Array(5).fill(120));
  });
});
