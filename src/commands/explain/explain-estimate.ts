/**
 * What a month of all databases costs, at each provider.
 */
import { type Forecast, forecastMonth } from "../../forecast/forecast.ts";
import {
  type MonthlyCost,
  monthlyCost,
  PROVIDERS,
  type ProviderPrices,
  type RequestCounts,
} from "../../forecast/prices.ts";
import type { CommitRate } from "../../forecast/steady-pace.ts";
import type { ExplainedDatabase } from "./explain-databases.ts";

/** Of a database whose file cannot be read, what SQLite makes by default. */
const DEFAULT_PAGE_SIZE_BYTES = 4096;

/** A month. */
export interface Estimate {
  readonly requests: RequestCounts;
  readonly uploadedBytes: number;
  readonly storedBytes: number;
  /** What is added each month; 0: a steady state, which `storedBytes` is. */
  readonly growthBytesPerMonth: number;
  readonly providers: readonly { readonly provider: ProviderPrices; readonly cost: MonthlyCost }[];
}

/** Adds up the forecasts of all databases. */
export function estimateOf(databases: readonly ExplainedDatabase[], rate: CommitRate): Estimate {
  const forecasts = databases.map((database) => forecastOf(database, rate));
  const sum = (of: (forecast: Forecast) => number): number =>
    forecasts.reduce((total, forecast) => total + of(forecast), 0);
  const requests: RequestCounts = {
    put: sum((forecast) => forecast.requests.put),
    list: sum((forecast) => forecast.requests.list),
    get: sum((forecast) => forecast.requests.get),
    delete: sum((forecast) => forecast.requests.delete),
  };
  const storedBytes = sum((forecast) => forecast.stored.totalBytes);
  const downloadedBytes = sum((forecast) => forecast.downloadedBytes);
  const use = { requests, stored: { totalBytes: storedBytes }, downloadedBytes };
  return {
    requests,
    uploadedBytes: sum((forecast) => forecast.uploadedBytes),
    storedBytes,
    growthBytesPerMonth: sum((forecast) => forecast.stored.growthBytesPerMonth),
    providers: PROVIDERS.map((provider) => ({ provider, cost: monthlyCost(use, provider) })),
  };
}

/** A month of one database. */
export function forecastOf({ bytes, sample, options }: ExplainedDatabase, rate: CommitRate): Forecast {
  const shape = {
    databaseBytes: bytes,
    pageSizeBytes: sample?.pageSizeBytes ?? DEFAULT_PAGE_SIZE_BYTES,
    compressionRatio: sample?.ratio ?? 1,
  };
  return forecastMonth(shape, options, rate);
}
