/**
 * Whether a database can be as large as its WAL says. The size stands in a commit frame, and whoever can
 * write to the folder can write any number there: work and disk are spent on it only up to what the files can
 * hold.
 *
 * SQLite writes each page that a database grew by into the WAL, and checks the sum itself before a checkpoint
 * (`walCheckpoint`: "If the size of the final database is larger than the current database plus the amount of
 * data in the wal file, plus the maximum size of the pending-byte page (65536 bytes), then must be corruption
 * somewhere"). The same bound holds here.
 */

const PENDING_PAGE_SIZE_MAX = 65_536;

/**
 * Why the size is more than the files can hold, or null.
 * @param commit size of the database in pages, as the WAL or the wal-index says
 * @param frameCount frames of the WAL that were checked
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
