/**
 * PURE: bounds that need no more than the header: the sizes that an LTX file can have, and the pages that a
 * file of a size can hold.
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

/** The bytes at the end of a file: size of the index, trailer. */
export const LTX_TAIL_SIZE = 8 + LTX_TRAILER_SIZE;

/** A file without pages: header, end of the pages, the index's end mark, tail. */
export const LTX_SIZE_MIN = LTX_HEADER_SIZE + LTX_PAGE_HEADER_SIZE + 1 + LTX_TAIL_SIZE;

/** An LZ4 frame (files of old versions) is at most this much longer than a block of the same page. */
const LZ4_FRAME_EXTRA = 32;
/** Page header, block size, and three bytes of index: what a page takes at least beside its block. */
const PAGE_OVERHEAD_MIN = LTX_PAGE_HEADER_SIZE + 4 + 3;
/** LZ4 writes at least one byte for 255 of a page. */
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

/** The most pages that a file of `sizeBytes` can hold. */
export function pagesMax({ pageSizeBytes }: LtxHeader, sizeBytes: number): number {
  return Math.floor((sizeBytes - LTX_SIZE_MIN) / frameSizeMin(pageSizeBytes));
}
