/** The estimate: the forecasts of all databases, summed and priced. */
import { expect, test } from "bun:test";
import { estimateMonth, forecastOf } from "../../src/forecast/estimate.ts";
import { monthlyCost, PROVIDERS } from "../../src/forecast/prices.ts";
import { DEFAULT_CONFIG } from "../support/config.ts";

const RATE = { commitsPerSecond: 0.1, pagesPerCommit: 4 };
const SAMPLED = {
  bytes: 1e6,
  sample: { pageSizeBytes: 4096, pageCount: 244, ratio: 0.25 },
  config: DEFAULT_CONFIG,
};
const UNREADABLE = { ...SAMPLED, sample: null };

test("estimateMonth sums the databases and prices the sum", () => {
  const each = [SAMPLED, UNREADABLE].map((database) => forecastOf(database, RATE));
  const { requests, uploadedBytes, storedBytes, providers } = estimateMonth([SAMPLED, UNREADABLE], RATE);
  expect(requests.put).toBe(each[0]!.requests.put + each[1]!.requests.put);
  expect(uploadedBytes).toBe(each[0]!.uploadedBytes + each[1]!.uploadedBytes);
  expect(storedBytes).toBe(each[0]!.stored.totalBytes + each[1]!.stored.totalBytes);
  const downloadedBytes = each[0]!.downloadedBytes + each[1]!.downloadedBytes;
  const use = { requests, stored: { totalBytes: storedBytes }, downloadedBytes };
  const expected = PROVIDERS.map((provider) => ({ provider, cost: monthlyCost(use, provider) }));
  expect(providers).toEqual(expected);
});

test("estimateMonth of no databases costs nothing", () => {
  const { storedBytes, providers } = estimateMonth([], RATE);
  expect([storedBytes, ...providers.map(({ cost }) => cost.total)]).toEqual([0, 0, 0, 0, 0]);
});

test("forecastOf assumes incompressible pages for a file that cannot be read", () => {
  const ratio = forecastOf(UNREADABLE, RATE).uploadedBytes / forecastOf(SAMPLED, RATE).uploadedBytes;
  expect(ratio).toBeGreaterThan(3);
});
