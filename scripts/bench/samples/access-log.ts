/**
 * Counts requests from the access log of the gateway: the server counts what it answered, not the sender what
 * it asked.
 */
import { readFileSync, statSync } from "node:fs";

/** Counts of answered requests. */
export interface RequestCounts {
  /** By operation, such as PutObject; a refused request counts as PutObject:412. */
  readonly byKind: Readonly<Record<string, number>>;
  readonly totalCount: number;
  /** Written level-0 objects. */
  readonly incrementCount: number;
}

/** Current size of the access log, as the start or end of a later count. */
export function accessLogOffset(path: string): number {
  return statSync(path).size;
}

/** Counts the requests in a part of the access log. */
export function countRequests(path: string, startOffset: number, endOffset: number): RequestCounts {
  return parseAccessLog(readFileSync(path).toString("latin1", startOffset, endOffset));
}

/** Counts the requests in lines of a versitygw access log. */
export function parseAccessLog(text: string): RequestCounts {
  const byKind: Record<string, number> = {};
  let totalCount = 0;
  let incrementCount = 0;
  for (const [, operation, key = "", status] of text.matchAll(/ s3_(\w+) (\S+) \S+ (\d{3}) /g)) {
    const isRefused = Number(status) >= 300;
    const kind = isRefused ? `${operation}:${status}` : `${operation}`;
    byKind[kind] = (byKind[kind] ?? 0) + 1;
    totalCount++;
    if (!isRefused && operation === "PutObject" && /\/0000\/[^/]+\.ltx$/.test(key)) incrementCount++;
  }
  return { byKind, totalCount, incrementCount };
}
