/**
 * One entry of an LTX page index, as encoder and decoder both make it: three unsigned LEB128 varints.
 */

/** The most bytes putIndexEntry writes: 5 for a page number, 8 for an offset below 2^53, 3 for a size. */
export const INDEX_ENTRY_SIZE_MAX = 16;

/** Writes an entry at `at`, where INDEX_ENTRY_SIZE_MAX bytes must be free, and returns where it ends. */
export function putIndexEntry(
  target: Uint8Array,
  at: number,
  pgno: number,
  offset: number,
  sizeBytes: number,
): number {
  return putUvarint(target, putUvarint(target, putUvarint(target, at, pgno), offset), sizeBytes);
}

/** Writes an unsigned LEB128 varint below 2^53 and returns where it ends. */
function putUvarint(target: Uint8Array, at: number, value: number): number {
  let next = at;
  let rest = value;
  // Bit operations are for 32 bits only; offsets in a large snapshot need more.
  while (rest >= 0x80000000) {
    target[next++] = (rest % 128) | 128;
    rest = Math.floor(rest / 128);
  }
  while (rest >= 128) {
    target[next++] = (rest & 127) | 128;
    rest >>>= 7;
  }
  target[next++] = rest;
  return next;
}
