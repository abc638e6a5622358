/**
 * Compares a database file with its page sums, except for the pages that its WAL holds. The result shows
 * whether the file is the one that the WAL was written for.
 *
 * Until a WAL is restarted, a checkpoint writes only pages that the WAL holds. So every other page equals its
 * sum, unless another program than SQLite wrote the file. The result is exact for the generation in which the
 * sums were taken, and undefined for every other generation. The file is read once, in slices, and other
 * databases are served between two slices.
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import { pageChecksumInto } from "../../format/crc64.ts";
import { lockPgno } from "../../format/types.ts";
import { scanFrames, WAL_FRAME_HEADER_SIZE, WAL_HEADER_SIZE, walCursor } from "../../format/wal.ts";
import { closeDescriptor, descriptorIdentity, openDescriptor } from "../files/descriptors.ts";
import { openWalOrNull, walHeaderOrNull } from "./wal-file.ts";
import { type ComparedContent, versionsOf } from "./wal-gate.ts";
import type { Content } from "./wal-ownership.ts";

/** The page sums in order of page number: `next` reads the next sum into `low` and `high`. */
export interface PageSums {
  readonly low: number;
  readonly high: number;
  next(): boolean;
  close(): void;
}

/** The page sums at a position of the WAL. */
export interface RememberedPages {
  /** Opens the sums; null when they are lost. */
  readonly openSums: () => PageSums | null;
  readonly pageSizeBytes: number;
  /** Database size in pages. */
  readonly commit: number;
  /** The generation of the WAL in which the sums were taken. */
  readonly salt1: number;
  readonly salt2: number;
}

const SLICE_BYTES = 1 << 20;

/**
 * Compares the file at `path` with the sums.
 * @param turn is awaited between slices
 * @param last the last result, valid until one of the two files changes
 * @returns "unknown" when the sums and the WAL belong to different generations
 */
export async function compareContent(
  path: string,
  pages: RememberedPages,
  turn: () => Promise<void>,
  last: ComparedContent | null = null,
): Promise<ComparedContent> {
  const fd = openDescriptor(path);
  try {
    const versions = versionsOf(path, fd);
    if (last?.versions === versions && last.content !== "unknown") return last;
    const content = await compareOpen(fd, path, pages, turn);
    // The comparison is void if a file was replaced or written meanwhile.
    return { content: versionsOf(path, fd) === versions ? content : "unknown", versions };
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

async function compareOpen(
  fd: number,
  path: string,
  pages: RememberedPages,
  turn: () => Promise<void>,
): Promise<Content> {
  const held = await pagesOfWalOrNull(`${path}-wal`, pages, turn);
  if (held === null) return "unknown";
  const content = await compareSums(fd, pages, held, turn);
  return content === "same" && (await isCurrent(fd, pages.pageSizeBytes, held, turn)) ? "current" : content;
}

/** The pages in the committed frames of a generation. */
interface HeldPages {
  /** One bit for each page number up to the database size of the sums. */
  readonly bits: Uint8Array;
  /** The sum of the newest frame of each page, low and high half. */
  readonly newest: ReadonlyMap<number, readonly [number, number]>;
  /** The database size after the last commit. */
  readonly commitLast: number;
  /** The least database size that a commit states: a checkpoint may have truncated the file to it. */
  readonly commitMin: number;
}

async function pagesOfWalOrNull(
  walPath: string,
  { pageSizeBytes, commit, salt1, salt2 }: RememberedPages,
  turn: () => Promise<void>,
): Promise<HeldPages | null> {
  const fd = openWalOrNull(walPath);
  if (fd === null) return null;
  try {
    const header = walHeaderOrNull(fd);
    const isGeneration = header?.salt1 === salt1 && header.salt2 === salt2;
    if (header === null || !isGeneration || header.pageSizeBytes !== pageSizeBytes) return null;
    const bits = new Uint8Array((commit >>> 3) + 1);
    let commitMin = commit;
    let commitLast = commit;
    const newest = new Map<number, readonly [number, number]>();
    const open = new Map<number, readonly [number, number]>();
    const sum = new Uint32Array(2);
    const cursor = walCursor(header);
    const frameSize = WAL_FRAME_HEADER_SIZE + pageSizeBytes;
    const chunk = new Uint8Array(Math.max(1, Math.floor(SLICE_BYTES / frameSize)) * frameSize);
    const wanted = chunk.length / frameSize;
    for (;;) {
      const offset = WAL_HEADER_SIZE + cursor.frameCount * frameSize;
      const read = readSync(fd, chunk, 0, chunk.length, offset);
      const { frames } = scanFrames(header, cursor, chunk.subarray(0, read), wanted, (pgno, size, at) => {
        pageChecksumInto(pgno, chunk.subarray(at, at + pageSizeBytes), sum);
        open.set(pgno, [sum[0]!, sum[1]!]);
        if (size === 0) return;
        commitMin = Math.min(commitMin, size);
        commitLast = size;
        for (const [one, value] of open) {
          if (one <= commit) bits[one >>> 3]! |= 1 << (one & 7);
          newest.set(one, value);
        }
        open.clear();
      });
      if (frames < wanted) return { bits, newest, commitMin, commitLast };
      await turn();
    }
  } finally {
    closeSync(fd);
  }
}

async function compareSums(
  fd: number,
  { openSums, pageSizeBytes }: RememberedPages,
  { bits, commitMin: commit }: HeldPages,
  turn: () => Promise<void>,
): Promise<Content> {
  const sums = openSums();
  if (sums === null) return "unknown";
  try {
    const lock = lockPgno(pageSizeBytes);
    const slicePages = Math.max(1, Math.floor(SLICE_BYTES / pageSizeBytes));
    const sizeBytes = fstatSync(fd).size;
    const slice = new Uint8Array(slicePages * pageSizeBytes);
    const sum = new Uint32Array(2);
    for (let first = 1; first <= commit; first += slicePages) {
      const count = Math.min(slicePages, commit - first + 1);
      const offset = (first - 1) * pageSizeBytes;
      const read = offset < sizeBytes ? readSync(fd, slice, 0, count * pageSizeBytes, offset) : 0;
      slice.fill(0, read);
      for (let pgno = first; pgno < first + count; pgno++) {
        if (!sums.next()) return "unknown";
        if (pgno === lock || (bits[pgno >>> 3]! & (1 << (pgno & 7))) !== 0) continue;
        const at = (pgno - first) * pageSizeBytes;
        pageChecksumInto(pgno, slice.subarray(at, at + pageSizeBytes), sum);
        if (sum[0] !== sums.low || sum[1] !== sums.high) return "other";
      }
      await turn();
    }
    return "same";
  } finally {
    sums.close();
  }
}

/** Whether the file equals the result of a checkpoint of the whole WAL. */
async function isCurrent(
  fd: number,
  pageSizeBytes: number,
  { newest, commitLast }: HeldPages,
  turn: () => Promise<void>,
): Promise<boolean> {
  if (fstatSync(fd).size !== commitLast * pageSizeBytes) return false;
  const page = new Uint8Array(pageSizeBytes);
  const sum = new Uint32Array(2);
  let left = SLICE_BYTES;
  for (const [pgno, [low, high]] of newest) {
    if (pgno > commitLast) continue;
    if (readSync(fd, page, 0, pageSizeBytes, (pgno - 1) * pageSizeBytes) < pageSizeBytes) return false;
    pageChecksumInto(pgno, page, sum);
    if (sum[0] !== low || sum[1] !== high) return false;
    left -= pageSizeBytes;
    if (left > 0) continue;
    left = SLICE_BYTES;
    await turn();
  }
  return true;
}
