/**
 * The limit on captured files over all databases of a process (`--cache-max-size`): pure decisions.
 *
 * Relief comes in this order, until the limit is kept:
 *  1. Uploaded files that are kept as copies are removed, the oldest first.
 *  2. The pending increments of each database are merged into one.
 *  3. Databases that hold more than their share stop capturing and release their pins, so that the WALs of
 *     their applications do not grow without bound. When there is room again, each of them continues with a
 *     difference. No committed transaction is lost, only the restorable points in between.
 */

/** Captures continue when the spool is below this share of its limit. */
const RESUME_SHARE = 0.8;

/** Past this many times the limit every database stops capturing, small ones too. */
const HARD_FACTOR = 2;

/** Kept files are cut to this share of the limit, so that the next upload does not reach the limit again. */
const KEPT_SHARE = 0.8;

/** The captured files of one database, or of several together, in bytes. */
export interface SpoolUse {
  /** Files that wait for their upload. */
  readonly pendingBytes: number;
  /** Uploaded files that are kept as copies. */
  readonly sentBytes: number;
}

/** The steps that bring a spool back below its limit. */
export interface SpoolRelief {
  /** Bytes of uploaded files that each database may keep; null keeps them all. */
  readonly sentBytesMax: number | null;
  /** Whether pending increments are merged. */
  readonly isMergeDue: boolean;
}

/** Adds up the captured files of several databases. */
export function totalUse(uses: readonly SpoolUse[]): SpoolUse {
  let pendingBytes = 0;
  let sentBytes = 0;
  for (const use of uses) {
    pendingBytes += use.pendingBytes;
    sentBytes += use.sentBytes;
  }
  return { pendingBytes, sentBytes };
}

/** Plans the steps that make room, given the use of each database. */
export function planRelief(uses: readonly SpoolUse[], bytesMax: number): SpoolRelief {
  const { pendingBytes, sentBytes } = totalUse(uses);
  if (pendingBytes + sentBytes <= bytesMax) return { sentBytesMax: null, isMergeDue: false };
  const keepingCount = uses.filter((use) => use.sentBytes > 0).length;
  const sentTotalMax = Math.max(0, bytesMax * KEPT_SHARE - pendingBytes);
  return {
    sentBytesMax: Math.floor(sentTotalMax / Math.max(1, keepingCount)),
    isMergeDue: pendingBytes > bytesMax,
  };
}

/**
 * Whether captures are to stop, after the relief.
 * @param wasFull whether captures are stopped already: they continue only well below the limit
 */
export function isSpoolFull(
  { pendingBytes, sentBytes }: SpoolUse,
  bytesMax: number,
  wasFull: boolean,
): boolean {
  return pendingBytes + sentBytes > (wasFull ? bytesMax * RESUME_SHARE : bytesMax);
}

/**
 * Selects the databases that stop capturing while the spool is full: those whose pending files exceed an
 * equal share of the limit, so that a large or busy database does not stop the others. Past twice the limit
 * all databases stop.
 */
export function selectOverShare<T>(
  databases: readonly T[],
  useOf: (database: T) => SpoolUse,
  bytesMax: number,
): ReadonlySet<T> {
  const { pendingBytes, sentBytes } = totalUse(databases.map(useOf));
  if (pendingBytes + sentBytes > HARD_FACTOR * bytesMax) return new Set(databases);
  const shareBytes = (bytesMax * RESUME_SHARE) / Math.max(1, databases.length);
  return new Set(databases.filter((database) => useOf(database).pendingBytes > shareBytes));
}
