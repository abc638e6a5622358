/**
 * CRC-64/ISO, page checksums and the database checksum, straight from their definitions. The oracle is slow
 * and shares no code with src.
 */
const POLYNOMIAL = 0xd800000000000000n;
const FLAG = 1n << 63n;
const ALL_ONES = (1n << 64n) - 1n;
const TABLE = Array.from({ length: 256 }, (_, byte) => {
  let crc = BigInt(byte);
  for (let bit = 0; bit < 8; bit++) crc = (crc & 1n) === 1n ? (crc >> 1n) ^ POLYNOMIAL : crc >> 1n;
  return crc;
});

/** CRC-64/ISO of a page number (big-endian) and its content, with bit 63 set. */
export function pageChecksum(pgno: number, page: Uint8Array): bigint {
  const head = new Uint8Array(4);
  new DataView(head.buffer).setUint32(0, pgno);
  let crc = ALL_ONES;
  for (const bytes of [head, page]) {
    for (const byte of bytes) crc = (crc >> 8n) ^ TABLE[Number(crc & 0xffn) ^ byte]!;
  }
  return (crc ^ ALL_ONES) | FLAG;
}

/**
 * The checksum of a whole database file: the XOR of its page checksums without the lock page, with bit 63
 * set.
 */
export function databaseChecksum(file: Uint8Array, pageSizeBytes: number): bigint {
  const lockPgno = 2 ** 30 / pageSizeBytes + 1;
  let checksum = 0n;
  for (let pgno = 1; pgno * pageSizeBytes <= file.length; pgno++) {
    if (pgno === lockPgno) continue;
    checksum ^= pageChecksum(pgno, file.subarray((pgno - 1) * pageSizeBytes, pgno * pageSizeBytes));
  }
  return checksum | FLAG;
}
