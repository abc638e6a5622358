/**
 * Branded numbers of the format, so that the compiler keeps TXIDs, page numbers and checksums apart, and the
 * limits that SQLite sets.
 */

/** A transaction id, from 1. On disk an unsigned 64-bit number; decoding rejects more than 2^53 - 1. */
export type Txid = number & { readonly __brand: "Txid" };

/** A SQLite page number, from 1 to 2^32 - 2. */
export type Pgno = number & { readonly __brand: "Pgno" };

/** A CRC-64/ISO with bit 63 set, as LTX stores checksums; 0n means "none". */
export type Checksum = bigint & { readonly __brand: "Checksum" };

/** Bit 63, set in every LTX checksum so that a checksum is never zero. */
export const CHECKSUM_FLAG = (1n << 63n) as Checksum;

/** No checksum. */
export const NO_CHECKSUM = 0n as Checksum;

/** The largest TXID that walrust handles: 2^53 - 1. */
export const TXID_MAX = Number.MAX_SAFE_INTEGER as Txid;

/** The first and the last ms of the years 0 to 9999, the range of a date text (RFC 3339). */
export const TIME_MIN_MS = -62_167_219_200_000;
export const TIME_MAX_MS = 253_402_300_799_999;

/** Whether `value` is a time in whole ms that a date text can express. */
export function isTimeMs(value: number): boolean {
  return Number.isSafeInteger(value) && value >= TIME_MIN_MS && value <= TIME_MAX_MS;
}

/** Size of a SHA-256 chain value in bytes. */
export const CHAIN_SIZE = 32;

/** Offset of the byte that SQLite locks. The page that holds this byte, the lock page, never has content. */
export const LOCK_BYTE = 0x40000000;

/** The number of the lock page, which is never written to an LTX file. */
export function lockPgno(pageSizeBytes: number): Pgno {
  return (Math.floor(LOCK_BYTE / pageSizeBytes) + 1) as Pgno;
}

/** The smallest and the largest page size of SQLite, in bytes. */
export const PAGE_SIZE_MIN = 512;
export const PAGE_SIZE_MAX = 65_536;

/** Whether `value` is a page size of SQLite: a power of two from 512 to 65536. */
export function isPageSize(value: number): boolean {
  const isInRange = value >= PAGE_SIZE_MIN && value <= PAGE_SIZE_MAX;
  return Number.isInteger(value) && isInRange && (value & (value - 1)) === 0;
}
