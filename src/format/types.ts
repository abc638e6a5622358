/**
 * The branded numbers of the format, so that a TXID, a page number and a checksum cannot be mixed up.
 */

/** A transaction id, from 1. On disk an unsigned 64-bit number; decoding rejects more than 2^53 - 1. */
export type Txid = number & { readonly __brand: "Txid" };

/** A SQLite page number, from 1 to 2^32 - 2. */
export type Pgno = number & { readonly __brand: "Pgno" };

/** A CRC-64/ISO with bit 63 set, as LTX stores it; 0n means "none". */
export type Checksum = bigint & { readonly __brand: "Checksum" };

/** Bit 63, set in every LTX checksum so that it is never zero. */
export const CHECKSUM_FLAG = (1n << 63n) as Checksum;

/** No checksum. */
export const NO_CHECKSUM = 0n as Checksum;

/** The largest TXID that is handled: 2^53 - 1. */
export const TXID_MAX = Number.MAX_SAFE_INTEGER as Txid;

/** The first and the last ms of the years 0 to 9999: other times no date text (RFC 3339) can show. */
export const TIME_MIN_MS = -62_167_219_200_000;
export const TIME_MAX_MS = 253_402_300_799_999;

/** Whether `value` is a time in whole ms that a date can show. */
export function isTimeMs(value: number): boolean {
  return Number.isSafeInteger(value) && value >= TIME_MIN_MS && value <= TIME_MAX_MS;
}

/** The bytes of a SHA-256 chain value. */
export const CHAIN_SIZE = 32;

/** The byte that no SQLite page content may cover: the page holding it is the lock page. */
export const LOCK_BYTE = 0x40000000;

/** The page number that holds the lock byte; it is never written to an LTX file. */
export function lockPgno(pageSizeBytes: number): Pgno {
  return (Math.floor(LOCK_BYTE / pageSizeBytes) + 1) as Pgno;
}

/** The page sizes that SQLite allows are the powers of two from the least to the greatest. */
export const PAGE_SIZE_MIN = 512;
export const PAGE_SIZE_MAX = 65_536;

/** Whether `value` is a page size SQLite allows: a power of two from 512 to 65536. */
export function isPageSize(value: number): boolean {
  const isInRange = value >= PAGE_SIZE_MIN && value <= PAGE_SIZE_MAX;
  return Number.isInteger(value) && isInRange && (value & (value - 1)) === 0;
}
