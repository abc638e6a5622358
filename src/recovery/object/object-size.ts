/**
 * Bounds that follow from the header alone: the sizes that an LTX file can have, and the number of pages that
 * a file of a given size can hold. Pure.
 */
import {
  INDEX_ENTRY_SIZE_MAX,
  LTX_HEADER_SIZE,
  LTX_PAGE_HEADER_SIZE,
  LTX_TRAILER_SIZE,
  type LtxHeader,
} from "../../format/ltx.ts";
import { lz4CompressBound } from "../../format/lz4.ts";
import { lockPgno } from "../../format/types.ts";

/** The end of a file: size of the page index, trailer. */
export const LTX_TAIL_SIZE = 8 + LTX_TRAILER_SIZE;

/** The size of a file without pages: header, end of the pages, end of the index, tail. */
export const LTX_SIZE_MIN = LTX_HEADER_SIZE + LTX_PAGE_HEADER_SIZE + 1 + LTX_TAIL_SIZE;

/** An LZ4 frame, as old versions write it, exceeds a block of the same page by at most this much. */
const LZ4_FRAME_EXTRA = 32;
/** The least overhead of a page beside its block: page header, block size, three bytes of index. */
const PAGE_OVERHEAD_MIN = LTX_PAGE_HEADER_SIZE + 4 + 3;
/** LZ4 writes at least one byte for 255 bytes of a page. */
const LZ4_RATIO_MAX = 255;

/** Whether a file of `sizeBytes` can have this header. */
export function isPlausibleSize(header: LtxHeader, sizeBytes: number): boolean {
  const { pageSizeBytes, commit, minTxid } = header;
  const frameSizeMax =
    LTX_PAGE_HEADER_SIZE + 4 + lz4CompressBound(pageSizeBytes) + LZ4_FRAME_EXTRA + INDEX_ENTRY_SIZE_MAX;
  if (sizeBytes < LTX_SIZE_MIN || sizeBytes > LTX_SIZE_MIN + commit * frameSizeMax) return false;
  return minTxid !== 1 || holdsAllPages(header, sizeBytes);
}

/** Whether a file of `sizeBytes` can hold every page up to the commit. */
export function holdsAllPages(header: LtxHeader, sizeBytes: number): boolean {
  const { pageSizeBytes, commit } = header;
  const pageCount = commit - (commit >= lockPgno(pageSizeBytes) ? 1 : 0);
  return sizeBytes >= LTX_SIZE_MIN + pageCount * frameSizeMin(pageSizeBytes);
}

function frameSizeMin(pageSizeBytes: number): number {
  return PAGE_OVERHEAD_MIN + Math.floor(pageSizeBytes / LZ4_RATIO_MAX);
}

/** The largest number of pages that a file of `sizeBytes` can hold. */
export function pagesMax({ pageSizeBytes }: LtxHeader, sizeBytes: number): number {
  return Math.floor((sizeBytes - LTX_SIZE_MIN) / frameSizeMin(pageSizeBytes));
}
