/**
 * Checks whether a database can be as large as its WAL claims. Anybody who can write to the folder can write
 * any size into a commit frame. So walrust spends work and disk only up to the size that the files can hold.
 *
 * SQLite writes each new page of a growing database into the WAL. SQLite itself checks the sum before a
 * checkpoint (`walCheckpoint`: "If the size of the final database is larger than the current database plus
 * the amount of data in the wal file, plus the maximum size of the pending-byte page (65536 bytes), then must
 * be corruption somewhere"). The bound here is the same.
 */

const PENDING_PAGE_SIZE_MAX = 65_536;

/**
 * The reason why the files cannot hold the claimed size, or null.
 * @param commit size of the database in pages, from the WAL or the wal-index
 * @param frameCount number of checked frames of the WAL
 */
export function sizeClaimProblemOrNull(
  commit: number,
  pageSizeBytes: number,
  fileSizeBytes: number,
  frameCount: number,
): string | null {
  const heldBytes = fileSizeBytes + frameCount * pageSizeBytes;
  if (commit * pageSizeBytes <= heldBytes + PENDING_PAGE_SIZE_MAX) return null;
  const pageCount = Math.ceil(heldBytes / pageSizeBytes);
  return `its WAL claims ${commit} pages, and file and WAL together hold ${pageCount}`;
}
