/** Helpers of the codec tests: vectors, seeded pages, and LTX files made of them. */
import { expect } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type ErrorCode, hasCode } from "../../src/errors.ts";
import { pageChecksum, xorChecksum } from "../../src/format/crc64.ts";
import type { LtxHeader } from "../../src/format/ltx.ts";
import { LtxEncoder } from "../../src/format/ltx-encoder.ts";
import { CHECKSUM_FLAG, type Checksum, NO_CHECKSUM, type Txid } from "../../src/format/types.ts";
import { seededRandom } from "../support/seeded-random.ts";

/** A page number and its content. */
export type SamplePage = readonly [pgno: number, data: Uint8Array];

/** The path of a checked-in vector. */
export function vectorPath(name: string): string {
  return join(import.meta.dir, "vectors", name);
}

/** The bytes of a checked-in vector. */
export function vector(name: string): Uint8Array {
  return new Uint8Array(readFileSync(vectorPath(name)));
}

/** A valid header: a snapshot of two 512-byte pages by default. */
export function sampleHeader(changes: Partial<LtxHeader> = {}): LtxHeader {
  return {
    flags: 0,
    pageSizeBytes: 512,
    commit: 2,
    minTxid: 1 as Txid,
    maxTxid: 1 as Txid,
    timestampMs: 1_700_000_000_123,
    preApplyChecksum: NO_CHECKSUM,
    walOffset: 0,
    walSizeBytes: 0,
    walSalt1: 0,
    walSalt2: 0,
    nodeId: 0n,
    ...changes,
  };
}

/** A page of `sizeBytes` that compresses about as well as a real page: words, zeros and noise. */
export function samplePage(sizeBytes: number, seed: number): Uint8Array {
  const random = seededRandom(seed);
  const page = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; ) {
    const length = Math.min(sizeBytes - at, 1 + Math.floor(random() * 90));
    const kind = random();
    for (let end = at + length; at < end; at++) {
      if (kind < 0.4) page[at] = "the quick brown fox ".charCodeAt(at % 20);
      else if (kind < 0.7) page[at] = Math.floor(random() * 256);
    }
  }
  return page;
}

/** The checksum of a database with these pages. */
export function pagesChecksum(pages: readonly SamplePage[]): Checksum {
  return pages.reduce((sum, [pgno, data]) => xorChecksum(sum, pageChecksum(pgno, data)), CHECKSUM_FLAG);
}

/** Encodes a file; the post-apply checksum is that of the pages by default. */
export function encodeSample(
  header: LtxHeader,
  pages: readonly SamplePage[],
  postApplyChecksum: Checksum = header.flags === 0 ? pagesChecksum(pages) : NO_CHECKSUM,
): Uint8Array {
  const parts: Uint8Array[] = [];
  const encoder = new LtxEncoder(header, (bytes) => parts.push(bytes.slice()));
  for (const [pgno, data] of pages) encoder.page(pgno, data);
  encoder.finish(postApplyChecksum);
  return new Uint8Array(Buffer.concat(parts));
}

/** Pages 1 to `count`. */
export function samplePages(sizeBytes: number, count: number, seed = 1): SamplePage[] {
  return Array.from({ length: count }, (_, index) => [index + 1, samplePage(sizeBytes, seed * 1000 + index)]);
}

/** Fails unless `action` throws a WalrustError with this code whose message contains `text`. */
export function expectRefusal(action: () => unknown, code: ErrorCode, text: string): void {
  let thrown: unknown = null;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  expect(thrown).not.toBeNull();
  expect(hasCode(thrown, code) ? "" : `not ${code}: ${String(thrown)}`).toBe("");
  expect((thrown as Error).message).toContain(text);
}

/** Applies LTX pages to an image of a database, as a restore does. */
export function applyPages(image: Uint8Array, header: LtxHeader, pages: readonly SamplePage[]): Uint8Array {
  const result = new Uint8Array(header.commit * header.pageSizeBytes);
  result.set(image.subarray(0, result.length));
  for (const [pgno, data] of pages) result.set(data, (pgno - 1) * header.pageSizeBytes);
  return result;
}
