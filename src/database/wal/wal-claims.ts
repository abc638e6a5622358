/**
 * The claims of a -wal file about the database it was written for, read without SQLite and without a lock:
 * its generation, its page size, the database sizes its commits state, and the page 1 it carries.
 *
 * A frame counts only with the salts of the header and the right cumulative checksum, and only up to the last
 * commit frame: this is all that a recovery by SQLite would apply to the database. A WAL without such a
 * commit changes nothing in any database. The claims are of one moment; a writer may append meanwhile.
 */
import { closeSync, fstatSync, readSync } from "node:fs";
import { hasCode, systemCode, WalrustError } from "../../errors.ts";
import {
  decodeWalHeader,
  scanFrames,
  WAL_FRAME_HEADER_SIZE,
  WAL_HEADER_SIZE,
  type WalCursor,
  type WalHeader,
  walCursor,
} from "../../format/wal.ts";
import { type FileVersion, fileVersion } from "../files/file-version.ts";
import { openRegular } from "../files/regular-file.ts";
import { walScratch } from "../files/scratch-buffers.ts";

/** What the committed frames of a WAL say. */
export interface WalClaims {
  readonly pageSizeBytes: number;
  readonly salt1: number;
  readonly salt2: number;
  /** Whether the scan came to the end of the committed frames, and did not stop at its limit. */
  readonly isWhole: boolean;
  /** The database sizes that commits state before a frame of page 1 comes: the least and the greatest. */
  readonly earlyCommits: { readonly min: number; readonly max: number } | null;
  /** The change counters in the first and the last committed frame of page 1; null without such a frame. */
  readonly firstPage: { readonly firstCounter: number; readonly lastCounter: number } | null;
}

/** A -wal file as it lies there. */
export interface WalFile {
  readonly version: FileVersion;
  readonly sizeBytes: number;
  /** Null when a recovery would take nothing from it: no valid header, or no committed frame. */
  readonly claims: WalClaims | null;
}

/** A pipe in the place of the file must not block, and SQLite follows no link there either. */
/** A longer WAL is judged by its beginning. */
const SCAN_BYTES_MAX = 32 << 20;
/** Enough for a header and, mostly, a first commit. */
const BRIEF_BYTES_MAX = 1 << 20;
const CHANGE_COUNTER_OFFSET = 24;

/**
 * Reads the claims of the -wal at `path`, or null when there is no such file.
 * @param isBrief reads no more than the beginning: for a WAL that is known or in use
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

/**
 * Opens the -wal at `path` for reading, or null when there is none that could be read. Nobody locks it: it
 * may be closed at any time.
 * @throws WalrustError code "database" when the file is there and cannot be read
 */
export function openWalOrNull(path: string): number | null {
  try {
    return openRegular(path, false);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    // SQLite cannot apply a WAL that we may not read, and tells why.
    if (["ENOENT", "EACCES"].includes(systemCode(error) ?? "")) return null;
    throw new WalrustError("database", `Cannot read ${path}: ${systemCode(error) ?? "unknown error"}`, {
      hint: "walrust needs to read the -wal file, as every SQLite connection does",
      context: { path },
      cause: error,
    });
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

/** The header of an open WAL, or null when SQLite would ignore the file. */
export function walHeaderOrNull(fd: number): WalHeader | null {
  const bytes = walScratch.take(1 << 20).subarray(0, WAL_HEADER_SIZE);
  if (readSync(fd, bytes, 0, WAL_HEADER_SIZE, 0) < WAL_HEADER_SIZE) return null;
  try {
    return decodeWalHeader(bytes);
  } catch (error) {
    if (hasCode(error, "corrupt")) return null;
    throw error;
  }
}

/**
 * Whether any valid frame of the WAL is in the database file: the least that a checkpoint leaves there. Null
 * when that cannot be said.
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

/** @returns whether every valid frame was seen; `onFrame` returns false to end the scan */
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

/** Takes frames as they come and keeps what is committed. */
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
