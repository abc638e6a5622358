/**
 * The first 100 bytes of a SQLite database file, and the fields in them that walrust reads. Big-endian.
 *
 *   offset  size  field
 *        0    16  "SQLite format 3\0"
 *       16     2  page size in bytes; 1 means 65536
 *       18     1  write version: 1 rollback journal, 2 WAL
 *       19     1  read version: the same
 *       20     1  bytes reserved at the end of each page
 *       21     3  64, 32, 32: payload fractions
 *       24     4  change counter
 *       28     4  database size in pages; right only if the counter at 92 equals the change counter
 *       92     4  change counter when the size was written
 *       96     4  version of the SQLite that wrote this, as 1000000 * major + 1000 * minor + patch
 *
 * A header is valid if and only if
 *   1. it begins with the magic,
 *   2. the page size is a power of two from 512 to 65536,
 *   3. the page size without the reserved bytes is at least 480,
 *   4. the payload fractions are 64, 32 and 32.
 * In WAL mode the header in the file may be outdated: a page 1 in the WAL is newer.
 * Source: SQLite 3.40, doc/fileformat2.html, section 1.3.
 */
import { WalrustError } from "../errors.ts";
import { isPageSize } from "./types.ts";

/** Number of bytes that decodeDatabaseHeader needs. */
export const DATABASE_HEADER_SIZE = 100;

const MAGIC = new TextEncoder().encode("SQLite format 3\0");
const USABLE_SIZE_MIN = 480;

/** The decoded header of a database file. */
export interface DatabaseHeader {
  readonly pageSizeBytes: number;
  /** 1 rollback journal, 2 WAL; other values come from newer formats. */
  readonly writeVersion: number;
  readonly readVersion: number;
  /** Whether the database is in WAL mode: both versions are 2. */
  readonly isWal: boolean;
  readonly reservedBytesPerPage: number;
  readonly changeCounter: number;
  /** Database size in pages, as stored. */
  readonly pageCount: number;
  /** Whether the page count belongs to the last change; otherwise only the size of the file counts. */
  readonly isPageCountValid: boolean;
  /** The version of the SQLite that last wrote this header, such as 3051003 for 3.51.3. */
  readonly libraryVersion: number;
}

/**
 * Decodes the first 100 bytes of a database file.
 * @throws WalrustError "database" when `bytes` does not begin a SQLite database.
 */
export function decodeDatabaseHeader(bytes: Uint8Array): DatabaseHeader {
  if (bytes.length < DATABASE_HEADER_SIZE) {
    throw refuse(bytes.length, `it ends, expected ${DATABASE_HEADER_SIZE} bytes`);
  }
  for (let index = 0; index < MAGIC.length; index++) {
    if (bytes[index] !== MAGIC[index]) throw refuse(index, `magic is wrong, expected "SQLite format 3"`);
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const storedPageSize = view.getUint16(16);
  const pageSizeBytes = storedPageSize === 1 ? 65536 : storedPageSize;
  if (!isPageSize(pageSizeBytes)) {
    throw refuse(16, `page size is ${storedPageSize}, expected a power of two from 512 to 65536 (as 1)`);
  }
  const reservedBytesPerPage = view.getUint8(20);
  if (pageSizeBytes - reservedBytesPerPage < USABLE_SIZE_MIN) {
    throw refuse(20, `${reservedBytesPerPage} reserved bytes leave less than ${USABLE_SIZE_MIN} a page`);
  }
  if (bytes[21] !== 64 || bytes[22] !== 32 || bytes[23] !== 32) {
    throw refuse(21, `payload fractions are ${bytes[21]}, ${bytes[22]}, ${bytes[23]}, expected 64, 32, 32`);
  }
  const writeVersion = view.getUint8(18);
  const readVersion = view.getUint8(19);
  const changeCounter = view.getUint32(24);
  const pageCount = view.getUint32(28);
  return {
    pageSizeBytes,
    writeVersion,
    readVersion,
    isWal: writeVersion === 2 && readVersion === 2,
    reservedBytesPerPage,
    changeCounter,
    pageCount,
    isPageCountValid: pageCount > 0 && view.getUint32(92) === changeCounter,
    libraryVersion: view.getUint32(96),
  };
}

function refuse(at: number, found: string): WalrustError {
  return new WalrustError("database", `Cannot decode SQLite header at byte ${at}: ${found}`, {
    hint: "The file is not a SQLite database, or it is encrypted or damaged.",
  });
}
