/**
 * The document that `explain --json` prints. Keys are only ever added.
 */
import type { WalrustError } from "../../errors.ts";
import { forecastOf } from "../../forecast/estimate.ts";
import type { RequestCounts } from "../../forecast/prices.ts";
import { restorablePoints } from "../../forecast/restorable-points.ts";
import type { ExplainDocument } from "../shared/documents.ts";
import { guaranteeText } from "../shared/probed-destination.ts";
import type { ExplainedDatabase } from "./explained-database.ts";
import type { Explanation } from "./explanation.ts";

/** The explanation as a JSON document. */
export function explainJson(explanation: Explanation): ExplainDocument {
  const { configFile, settings, storage, databases, hasGlobs, rate, estimate, problems } = explanation;
  return {
    config_file: configFile,
    destination:
      storage === null
        ? null
        : {
            url: storage.url,
            reachable: storage.isReachable,
            conditional_writes: storage.conditionalPut,
            single_writer: guaranteeText(storage),
          },
    settings: settings.map(({ section, key, value, origin, from }) => ({
      key: `${section}.${key}`,
      value,
      origin,
      from,
    })),
    looks_again: hasGlobs,
    databases: databases.map((database) => databaseJson(database, explanation)),
    estimate: {
      commits_per_second: rate.commitsPerSecond,
      pages_per_commit: rate.pagesPerCommit,
      requests: wholeRequests(estimate.requests),
      uploaded_bytes: Math.round(estimate.uploadedBytes),
      stored_bytes: Math.round(estimate.storedBytes),
      growth_bytes: Math.round(estimate.growthBytesPerMonth),
      providers: estimate.providers.map(({ provider, cost }) => ({
        provider: provider.id,
        storage_usd: cents(cost.storage),
        requests_usd: cents(cost.requests),
        total_usd: cents(cost.total),
        egress_usd: cents(cost.egress),
        prices_as_of: provider.asOf,
      })),
    },
    problems: problems.map(problemJson),
  };
}

function databaseJson(
  database: ExplainedDatabase,
  { storage, rate }: Explanation,
): ExplainDocument["databases"][number] {
  const { path, name, isDiscovered, entryLine, bytes, walBytes, sample, problem, config } = database;
  const { requests, stored, uploadedBytes } = forecastOf(database, rate);
  return {
    path,
    name,
    destination: storage === null ? null : `${storage.url}/${name}`,
    found_by_glob: isDiscovered,
    config_line: entryLine,
    bytes,
    wal_bytes: walBytes,
    page_size: sample?.pageSizeBytes ?? null,
    compressed_to: sample === null ? null : Math.round(sample.ratio * 1000) / 1000,
    settings: database.overrides.map(({ section, key, value, origin, from }) => ({
      key: `${section}.${key}`,
      value,
      origin,
      from,
    })),
    restorable: restorablePoints(config).spans.map((span) => ({
      kind: span.kind,
      until_seconds: span.until === null ? null : span.until / 1000,
      spacing_seconds: span.spacingMs === null ? null : span.spacingMs / 1000,
      end: span.end,
      what: span.what,
    })),
    requests: wholeRequests(requests),
    uploaded_bytes: Math.round(uploadedBytes),
    stored_bytes: Math.round(stored.totalBytes),
    growth_bytes: Math.round(stored.growthBytesPerMonth),
    problem: problem === null ? null : problemJson(problem),
  };
}

function problemJson({
  code,
  exitCode,
  message,
  hint,
  context,
}: WalrustError): ExplainDocument["problems"][number] {
  return { code, exit: exitCode, message, hint: hint ?? null, context };
}

function wholeRequests({ put, list, get, delete: deletes }: RequestCounts): RequestCounts {
  return {
    put: Math.round(put),
    list: Math.round(list),
    get: Math.round(get),
    delete: Math.round(deletes),
  };
}

function cents(dollars: number): number {
  return Math.round(dollars * 100) / 100;
}
