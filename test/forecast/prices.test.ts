/** Monthly costs by the price lists, against figures calculated by hand. */
import { describe, expect, test } from "bun:test";
import { forecastMonth } from "../../src/forecast/forecast.ts";
import { type MonthlyUse, monthlyCost, PROVIDERS, type ProviderPrices } from "../../src/forecast/prices.ts";
import { configWith } from "../support/config.ts";

function provider(id: ProviderPrices["id"]): ProviderPrices {
  return PROVIDERS.find((one) => one.id === id)!;
}

const USE: MonthlyUse = {
  requests: { put: 2_000_000, list: 1_000_000, get: 10_000_000, delete: 500_000 },
  stored: { totalBytes: 100e9 },
  downloadedBytes: 400e9,
};

describe("monthlyCost", () => {
  test.each([
    // 100e9 bytes are 93.132 GiB; 2 + 1 + 0.5 million at $5, 10 million at $0.40.
    ["s3", 93.1323 * 0.023, 17.5 + 4, 372.529 * 0.09],
    ["tigris", 2, 15 + 5, 0],
    ["r2", 1.5, 13.5 + 3.6, 0],
    // 300 GB of egress are free.
    ["b2", 0.695, 0, 1],
  ] as const)("%s", (id, storage, requests, egress) => {
    const cost = monthlyCost(USE, provider(id));
    expect(cost.storage).toBeCloseTo(storage, 3);
    expect(cost.requests).toBeCloseTo(requests, 6);
    expect(cost.egress).toBeCloseTo(egress, 3);
    expect(cost.total).toBe(cost.storage + cost.requests);
  });

  test("an empty month costs nothing", () => {
    const use = {
      requests: { put: 0, list: 0, get: 0, delete: 0 },
      stored: { totalBytes: 0 },
      downloadedBytes: 0,
    };
    for (const one of PROVIDERS) {
      expect(monthlyCost(use, one)).toEqual({ storage: 0, requests: 0, total: 0, egress: 0 });
    }
  });
});

test("the lists cover every provider of the contract", () => {
  expect(provider("s3")).toMatchObject({ storagePerGb: 0.023, requestsPerMillion: { put: 5 } });
  expect(provider("tigris").storagePerGb).toBe(0.02);
  for (const { source, asOf, freeAllowance } of PROVIDERS) {
    expect(source).toStartWith("https://");
    expect(asOf).toMatch(/^20\d\d-\d\d$/);
    expect(freeAllowance).not.toBe("");
  }
});

test("1 GB, a snapshot an hour, 24/7/12/12, not compressed: about $1.10 a month at Tigris", () => {
  const config = configWith({ sync: { compactAfterSnapshot: true } });
  const database = { databaseBytes: 1e9, pageSizeBytes: 4096, compressionRatio: 1 };
  // Just enough for a change every hour.
  const month = forecastMonth(database, config, { commitsPerSecond: 1 / 3600, pagesPerCommit: 1 });
  const { storage } = monthlyCost(month, provider("tigris"));
  // 55 snapshots would be $1.10; some of them coincide.
  expect(month.stored.snapshotCount).toBeLessThanOrEqual(55);
  expect(storage).toBeGreaterThan(0.95);
  expect(storage).toBeLessThan(1.15);
});
