/**
 * Reads the claims that a -wal file makes about its database: its generation, its page size, the database
 * sizes that the commits state, and page 1 if a frame holds it. Needs neither SQLite nor a lock.
 *
 * A frame counts only with the salts of the header and the right cumulative checksum, and only up to the last
 * commit frame: a recovery by SQLite would apply exactly these frames. A WAL without such a commit changes no
 * database. A writer may append while the claims are read.
 */

import { closeSync, fstatSync, readSync } from "node:fs";
import {
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalCursor,
  type WalHeader,
  walCursor,
} from "../../format/wal.ts";
import { type FileVersion, fileVersion } from "../files/file-version.ts";
import { walScratch } from "../files/scratch-buffers.ts";
import { openWalOrNull, walHeaderOrNull } from "./wal-file.ts";

/** The claims of the committed frames of a WAL. */
export interface WalClaims {
  readonly pageSizeBytes: number;
  readonly salt1: number;
  readonly salt2: number;
  /** Whether the scan reached the end of the committed frames before its limit. */
  readonly isWhole: boolean;
  /** The least and the greatest database size that commits state before the first frame of page 1. */
  readonly earlyCommits: { readonly min: number; readonly max: number } | null;
  /** The change counters in the first and the last committed frame of page 1; null without such a frame. */
  readonly firstPage: { readonly firstCounter: number; readonly lastCounter: number } | null;
}

/** A -wal file and its claims. */
export interface WalFile {
  readonly version: FileVersion;
  readonly sizeBytes: number;
  /** Null when a recovery would apply nothing: no valid header, or no committed frame. */
  readonly claims: WalClaims | null;
}

/** Of a longer WAL only the beginning is read. */
const SCAN_BYTES_MAX = 32 << 20;
/** Enough for the header and usually the first commit. */
const BRIEF_BYTES_MAX = 1 << 20;
const CHANGE_COUNTER_OFFSET = 24;

/**
 * Reads the claims of the -wal at `path`, or null when there is no such file.
 * @param isBrief reads only the beginning: enough for a WAL that an application uses
 * @throws WalrustError code "database" when the file is there and cannot be read
 */
export function readWalFileOrNull(path: string, isBrief = false): WalFile | null {
  const fd = openWalOrNull(path);
  if (fd === null) return null;
  try {
    const stats = fstatSync(fd, { bigint: true });
    const sizeBytes = stats.isFile() ? Number(stats.size) : 0;
    const claims = readClaimsOrNull(fd, sizeBytes, isBrief ? BRIEF_BYTES_MAX : SCAN_BYTES_MAX);
    return { version: fileVersion(stats), sizeBytes, claims };
  } finally {
    closeSync(fd);
  }
}

function readClaimsOrNull(fd: number, sizeBytes: number, bytesMax: number): WalClaims | null {
  if (sizeBytes <= WAL_HEADER_SIZE) return null;
  const header = walHeaderOrNull(fd);
  if (header === null) return null;
  const gatherer = new ClaimsGatherer();
  const isWhole = scanAll(fd, header, bytesMax, (pgno, commit, page) => {
    gatherer.frame(pgno, commit, page);
    return true;
  });
  const { pageSizeBytes, salt1, salt2 } = header;
  const found = gatherer.found;
  // A scan that stopped at its limit may have stopped before the first commit.
  if (!gatherer.hasCommit && isWhole) return null;
  return { pageSizeBytes, salt1, salt2, isWhole, ...found };
}

/**
 * Whether the database file holds the page of any valid frame: every checkpoint leaves at least one there.
 * Null when the scan stopped at its limit, or the WAL cannot be read.
 */
export function hasFrameInFile(walPath: string, databaseFd: number): boolean | null {
  const fd = openWalOrNull(walPath);
  if (fd === null) return null;
  try {
    const header = walHeaderOrNull(fd);
    if (header === null) return null;
    const { pageSizeBytes } = header;
    const inFile = new Uint8Array(pageSizeBytes);
    let isFound = false;
    const isWhole = scanAll(fd, header, SCAN_BYTES_MAX, (pgno, _commit, page) => {
      const read = readSync(databaseFd, inFile, 0, pageSizeBytes, (pgno - 1) * pageSizeBytes);
      isFound = read === pageSizeBytes && Buffer.compare(inFile, page) === 0;
      return !isFound;
    });
    return isFound || isWhole ? isFound : null;
  } finally {
    closeSync(fd);
  }
}

/**
 * Scans the valid frames, committed or not. `onFrame` returns false to end the scan.
 * @returns whether it saw every valid frame
 */
function scanAll(
  fd: number,
  header: WalHeader,
  bytesMax: number,
  onFrame: (pgno: number, commit: number, page: Uint8Array) => boolean,
): boolean {
  const frameSize = WAL_FRAME_HEADER_SIZE + header.pageSizeBytes;
  const cursor: WalCursor = walCursor(header);
  const scratch = walScratch.take(1 << 20);
  const chunkFrames = Math.max(1, Math.floor(scratch.length / frameSize));
  for (;;) {
    const offset = WAL_HEADER_SIZE + cursor.frameCount * frameSize;
    if (offset >= bytesMax) return false;
    const chunk = scratch.subarray(0, chunkFrames * frameSize);
    const read = readSync(fd, chunk, 0, chunk.length, offset);
    let isEnded = false;
    const take = (pgno: number, commit: number, at: number): void => {
      isEnded ||= !onFrame(pgno, commit, chunk.subarray(at, at + header.pageSizeBytes));
    };
    const { frames } = scanFrames(header, cursor, chunk.subarray(0, read), chunkFrames, take);
    if (frames < chunkFrames) return true;
    if (isEnded) return false;
  }
}

/** Collects the claims of the frames it is given, as far as they are committed. */
class ClaimsGatherer {
  hasCommit = false;
  #min = Number.POSITIVE_INFINITY;
  #max = 0;
  #firstCounter: number | null = null;
  #lastCounter: number | null = null;
  #openCounters: { first: number; last: number } | null = null;

  frame(pgno: number, commit: number, page: Uint8Array): void {
    if (pgno === 1) this.#noteFirstPage(page);
    if (commit === 0) return;
    this.hasCommit = true;
    if (this.#openCounters !== null) {
      this.#firstCounter ??= this.#openCounters.first;
      this.#lastCounter = this.#openCounters.last;
      this.#openCounters = null;
    }
    if (this.#firstCounter !== null) return;
    this.#min = Math.min(this.#min, commit);
    this.#max = Math.max(this.#max, commit);
  }

  #noteFirstPage(page: Uint8Array): void {
    const view = new DataView(page.buffer, page.byteOffset, page.byteLength);
    const counter = view.getUint32(CHANGE_COUNTER_OFFSET);
    this.#openCounters = { first: this.#openCounters?.first ?? counter, last: counter };
  }

  get found(): Pick<WalClaims, "earlyCommits" | "firstPage"> {
    const isEarly = this.#max > 0;
    const isFirstPage = this.#firstCounter !== null && this.#lastCounter !== null;
    return {
      earlyCommits: isEarly ? { min: this.#min, max: this.#max } : null,
      firstPage: isFirstPage ? { firstCounter: this.#firstCounter!, lastCounter: this.#lastCounter! } : null,
    };
  }
}
