/**
 * PURE: decides whether a -wal file belongs to the database file beside it.
 *
 * SQLite finds a WAL by its name alone. Another database file may be moved (`mv`, `rsync`, `VACUUM INTO` and
 * `mv`, a restore by another tool) or written (`cp`) to a path where the WAL of its predecessor lies. The
 * first read then sees the predecessor's pages, and the last connection to close writes them into the new
 * file. So walrust opens no connection before it has judged the WAL to be the file's own.
 *
 * The evidence, strongest first:
 * 1. A process that has -shm open but not the database file works on another database file.
 * 2. The WAL has the generation (salts) of the last capture. The page sums then show whether the file is
 *    still the one that the WAL was written for. Without page sums, the identity of both files decides.
 * 3. A process that has both files open has made this WAL the file's own. walrust can do no further harm.
 * 4. The claims of the frames: page size, database size, change counter (see `contradictionOrNull`).
 * 5. The order of times: the last write of the WAL is older than the database file, or than its last rename;
 *    or older than the last write to the file, which holds no page of the WAL from a checkpoint.
 * Evidence of kinds 1, 2 and 4 makes a WAL foreign. Kind 5, and a change counter that SQLite would not have
 * written, make it doubtful: files that were copied together can look the same. walrust refuses both, with
 * different advice, until the application opens the database or the WAL is gone.
 */
import type { DatabaseHeader } from "../../format/sqlite-header.ts";
import { type FileVersion, isSameIdentity, type StoredIdentity } from "../files/file-version.ts";
import type { WalClaims, WalFile } from "./wal-claims.ts";

/** The files of a database when walrust last worked on them. */
export interface KnownFiles {
  readonly database: StoredIdentity;
  readonly wal: StoredIdentity | null;
  /** The salts of the WAL at that time; null when it had none or they are unknown. */
  readonly salts: { readonly salt1: number; readonly salt2: number } | null;
}

/**
 * The pages of the file compared with the page sums. "same": all pages outside the WAL are unchanged.
 * "current": moreover, the file holds all pages of the WAL, and a checkpoint would change nothing.
 */
export type Content = "same" | "current" | "other" | "unknown";

/** A database and its WAL at one moment. */
export interface WalFacts {
  readonly database: FileVersion;
  readonly header: Pick<DatabaseHeader, "pageSizeBytes" | "isWal" | "changeCounter" | "pageCount"> & {
    readonly isPageCountValid: boolean;
  };
  /** Null when there is no -wal file. */
  readonly wal: WalFile | null;
  /**
   * Another process has the database file open: it holds a lock on the file, or has it open beside the -shm.
   */
  readonly isDatabaseOpen: boolean;
  /** Another process has the -shm file open. */
  readonly isShmOpen: boolean;
  readonly known: KnownFiles | null;
  readonly content: Content;
  /** Whether the file holds the page of any frame of the WAL; null when that was not checked. */
  readonly isFrameInFile: boolean | null;
  /** A replica wrote the WAL: one commit of a replica may hold many commits of its source. */
  readonly isReplica: boolean;
}

/** "own": a connection may be opened. The other verdicts carry a reason. */
export type WalVerdict =
  | { readonly kind: "own" }
  | { readonly kind: "foreign" | "doubtful"; readonly reason: string };

const OWN: WalVerdict = { kind: "own" };
/** Each restart of a WAL adds one to the first salt. At most this many restarts link two generations. */
const RESTARTS_MAX = 1 << 24;

/** Judges a WAL. */
export function judgeWal(facts: WalFacts): WalVerdict {
  const { isDatabaseOpen, isShmOpen } = facts;
  if (isShmOpen && !isDatabaseOpen) {
    return foreign("an application uses them with a database file that is no longer at this path");
  }
  const claims = facts.wal?.claims ?? null;
  if (claims === null) return OWN;
  return (
    judgeByKnownFiles(facts, claims) ??
    judgeByUse(facts) ??
    judgeByClaims(facts, claims) ??
    judgeByTimes(facts)
  );
}

/** Judges by the files that are known from before. @returns null when they decide nothing */
function judgeByKnownFiles(facts: WalFacts, claims: WalClaims): WalVerdict | null {
  const { known, wal, database } = facts;
  if (known === null || wal === null) return null;
  const isSameDatabase = isSameIdentity(known.database, database);
  const isSameWal = known.wal !== null && isSameIdentity(known.wal, wal.version);
  const isInUse = facts.isDatabaseOpen && facts.isShmOpen;
  const isKnownGeneration = known.salts !== null && isSameGeneration(known.salts, claims);
  if (isSameDatabase) {
    if (isInUse) return OWN;
    return isKnownGeneration ? judgeInPlace(facts, wal) : null;
  }
  if (isKnownGeneration) return judgeMoved(facts, isSameWal);
  const isLater = known.salts !== null && isLaterGeneration(known.salts, claims);
  return isSameWal && isLater && !isInUse ? foreign(MOVED) : null;
}

/** The known file and the known generation. The file may still have another content (`cp`). */
function judgeInPlace({ content, database }: WalFacts, { version }: WalFile): WalVerdict | null {
  if (content === "unknown") return null;
  if (content === "other") return foreign("they hold commits made on another version of the database file");
  // A checkpoint after the last commit copies all of it, unless a reader or a crash interrupts it.
  const isWrittenLater = isBefore(version.modifiedNs, database.modifiedNs);
  if (content === "current" || !isWrittenLater) return OWN;
  return doubtful("the database file was written after their last commit, and does not hold all commits");
}

/** Another file, and the known generation. */
function judgeMoved({ content }: WalFacts, isSameWal: boolean): WalVerdict | null {
  if (content === "current") return OWN;
  if (content === "other") return foreign("they hold commits made on another version of the database file");
  // A WAL that was copied together with its database is another file as well.
  if (!isSameWal) return content === "same" ? OWN : null;
  return content === "same" ? doubtful(MOVED) : foreign(MOVED);
}

const MOVED = "they were written for the database file that was at this path before";

function isSameGeneration(known: { salt1: number; salt2: number }, now: WalClaims): boolean {
  return known.salt1 === now.salt1 && known.salt2 === now.salt2;
}

/** Whether restarts of the WAL can lead from the known generation to `now`. */
function isLaterGeneration(known: { salt1: number }, now: WalClaims): boolean {
  const restarts = (now.salt1 - known.salt1) >>> 0;
  return restarts >= 1 && restarts <= RESTARTS_MAX;
}

/** Judges by the processes that have the files open. @returns null when there is none */
function judgeByUse({ isDatabaseOpen, isShmOpen }: WalFacts): WalVerdict | null {
  if (!isDatabaseOpen) return null;
  if (isShmOpen) return OWN;
  return doubtful("an application has the database open, but not with them");
}

/** Judges by the claims of the frames. @returns null when the frames may belong to this database */
function judgeByClaims({ header, isReplica }: WalFacts, claims: WalClaims): WalVerdict | null {
  if (claims.pageSizeBytes !== header.pageSizeBytes) {
    return foreign(
      `their pages have ${claims.pageSizeBytes} bytes, those of the database ${header.pageSizeBytes}`,
    );
  }
  if (!header.isWal) return foreign("the database file is not in WAL mode");
  if (!header.isPageCountValid || !claims.isWhole) return null;
  return contradictionOrNull(header, claims, isReplica);
}

/**
 * Page 1 states the size of the database and a change counter. Every commit that changes the size writes page
 * 1. So page 1 of the file is either older than the WAL, or a checkpoint copied it from the WAL:
 * - If the WAL holds no page 1, each of its commits leaves the size at the value in the file's page 1.
 * - Otherwise the file's counter is at most the last counter in the WAL. It is less than the first by at most
 *   one, because a writer increments the counter by one or keeps it. The commits of a replica skip counters.
 */
function contradictionOrNull(
  header: WalFacts["header"],
  claims: WalClaims,
  isReplica: boolean,
): WalVerdict | null {
  const { earlyCommits, firstPage } = claims;
  const { pageCount, changeCounter } = header;
  if (firstPage === null) {
    if (earlyCommits === null) return null;
    const { min, max } = earlyCommits;
    if (min === pageCount && max === pageCount) return null;
    const size = min === pageCount ? max : min;
    return foreign(`they belong to a database of ${size} pages, and this one has ${pageCount}`);
  }
  const { firstCounter, lastCounter } = firstPage;
  // Counters wrap around: half of the range is older, half is newer.
  const isNewer = ((changeCounter - lastCounter) | 0) > 0;
  if (isNewer) {
    return foreign(
      `the database file is newer (change ${changeCounter}) than they are (change ${lastCounter})`,
    );
  }
  const missing = (firstCounter - changeCounter) | 0;
  if (missing <= 1 || isReplica) return null;
  return doubtful(`they begin at change ${firstCounter}, the database file is at change ${changeCounter}`);
}

/** Judges by the order of times. A copy that keeps its times gives no evidence. */
function judgeByTimes({ database, wal, known, isFrameInFile }: WalFacts): WalVerdict {
  if (wal === null) return OWN;
  const { version } = wal;
  // The times of a WAL that was copied, renamed or given another mode have no order with the database file.
  const isInPlace = version.changedNs === version.modifiedNs && !isBefore(version.modifiedNs, version.bornNs);
  if (!isInPlace) return OWN;
  // Two changes in one tick of the clock have equal times: only a later time is evidence.
  const isWrittenLater = isBefore(version.modifiedNs, database.modifiedNs);
  if (isWrittenLater && isFrameInFile === false) {
    return doubtful("the database file was written after their last write, and not by a checkpoint");
  }
  if (known !== null && isSameIdentity(known.database, database)) return OWN;
  if (isBefore(version.modifiedNs, database.bornNs)) {
    return doubtful("their last write is older than the database file");
  }
  const isMoved = isBefore(database.modifiedNs, database.changedNs);
  if (isMoved && !isBefore(database.changedNs, version.modifiedNs)) {
    return doubtful("the database file was renamed, linked or changed after their last write");
  }
  return OWN;
}

function isBefore(a: string, b: string): boolean {
  return BigInt(a) < BigInt(b);
}

function foreign(reason: string): WalVerdict {
  return { kind: "foreign", reason };
}

function doubtful(reason: string): WalVerdict {
  return { kind: "doubtful", reason };
}
