/**
 * PURE: adds up the forecasts of all databases of a process, and prices them at each provider.
 */
import type { CompressionSample } from "./compressibility.ts";
import { type Forecast, type ForecastConfig, forecastMonth } from "./forecast.ts";
import {
  type MonthlyCost,
  monthlyCost,
  PROVIDERS,
  type ProviderPrices,
  type RequestCounts,
} from "./prices.ts";
import type { CommitRate } from "./steady-pace.ts";

/** SQLite's default, for a database whose file cannot be read. */
const DEFAULT_PAGE_SIZE_BYTES = 4096;

/** A database to estimate. */
export interface EstimatedDatabase {
  /** Size of its file in bytes. */
  readonly bytes: number;
  /** Null when the file cannot be read: the estimate then assumes pages that do not compress. */
  readonly sample: CompressionSample | null;
  readonly config: ForecastConfig;
}

/** One month of all databases. */
export interface Estimate {
  readonly requests: RequestCounts;
  readonly uploadedBytes: number;
  /** Bytes in the bucket: in the steady state, or after one month where they keep growing. */
  readonly storedBytes: number;
  /** Bytes that each further month adds; 0: a steady state. */
  readonly growthBytesPerMonth: number;
  readonly providers: readonly { readonly provider: ProviderPrices; readonly cost: MonthlyCost }[];
}

/** Estimates a month of all databases, if each is written to at this rate. */
export function estimateMonth(databases: readonly EstimatedDatabase[], rate: CommitRate): Estimate {
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

/** Forecasts a month of one database. */
export function forecastOf({ bytes, sample, config }: EstimatedDatabase, rate: CommitRate): Forecast {
  const shape = {
    databaseBytes: bytes,
    pageSizeBytes: sample?.pageSizeBytes ?? DEFAULT_PAGE_SIZE_BYTES,
    compressionRatio: sample?.ratio ?? 1,
  };
  return forecastMonth(shape, config, rate);
}
