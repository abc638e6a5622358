/**
 * Whether a -wal file belongs to the database file beside it: a pure decision from what was seen of both.
 *
 * SQLite finds a WAL by its name alone. A database file that is moved into place (`mv`, `rsync`, `VACUUM
 * INTO` and `mv`, a restore by another tool) or written over (`cp`) beside the WAL of its predecessor gets
 * the predecessor's pages at the first read, and they are written into it when the last connection closes. So
 * walrust opens no connection before a WAL is judged to be the file's own.
 *
 * The evidence, strongest first:
 * 1. A process that has -shm open but not the database file works on another database file.
 * 2. The generation (salts) that we captured from: the page sums say whether the file below it is still the
 *    one it was written for. Without them the identity of both files says so.
 * 3. A process that has both open has made this WAL the file's own; nothing is left for us to spoil.
 * 4. The claims of the frames: page size, database size, change counter (see `contradictionOrNull`).
 * 5. The order of times: a WAL whose last write is older than the database file, or than its last rename; or
 *    than its last write, though no checkpoint has written a page of the WAL there.
 * Evidence of kinds 1, 2 and 4 makes a WAL foreign. Kind 5, and a change counter that SQLite would not have
 * written, only make it doubtful: files that were copied together can look so. Both are refused, with
 * different advice, until the application opens the database or the WAL is gone.
 */
import type { DatabaseHeader } from "../../format/sqlite-header.ts";
import { type FileVersion, isSameIdentity, type StoredIdentity } from "../files/file-version.ts";
import type { WalClaims, WalFile } from "./wal-claims.ts";

/** The files of a database as they were when we last worked on them. */
export interface KnownFiles {
  readonly database: StoredIdentity;
  readonly wal: StoredIdentity | null;
  /** The salts of the WAL then; null when it had none or they are not known. */
  readonly salts: { readonly salt1: number; readonly salt2: number } | null;
}

/**
 * The pages of the file against those that we remember. "same": those that its WAL does not hold are what
 * they were. "current": moreover, the file holds all that the WAL holds, and a checkpoint changes nothing.
 */
export type Content = "same" | "current" | "other" | "unknown";

/** What is seen of a database and its WAL at one moment. */
export interface WalFacts {
  readonly database: FileVersion;
  readonly header: Pick<DatabaseHeader, "pageSizeBytes" | "isWal" | "changeCounter" | "pageCount"> & {
    readonly isPageCountValid: boolean;
  };
  /** Null when there is no -wal file. */
  readonly wal: WalFile | null;
  /** Somebody else has the database file open; of those who have the -shm, not another file instead. */
  readonly isDatabaseOpen: boolean;
  /** Somebody else has the -shm file open. */
  readonly isShmOpen: boolean;
  readonly known: KnownFiles | null;
  readonly content: Content;
  /** Whether the file holds the page of any committed frame; null when that was not looked at. */
  readonly isFrameInFile: boolean | null;
}

/** "own": a connection may be opened. Everything else carries its reason. */
export type WalVerdict =
  | { readonly kind: "own" }
  | { readonly kind: "foreign" | "doubtful"; readonly reason: string };

const OWN: WalVerdict = { kind: "own" };
/** Each restart of a WAL adds one to the first salt: this many may come in between two looks. */
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
    judgeByMemory(facts, claims) ?? judgeByUse(facts) ?? judgeByClaims(facts, claims) ?? judgeByTimes(facts)
  );
}

/** What we know of the WAL from before. @returns null when that decides nothing */
function judgeByMemory(facts: WalFacts, claims: WalClaims): WalVerdict | null {
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

/** The file that we know, and the generation that we know, but perhaps with another content (`cp`). */
function judgeInPlace({ content, database }: WalFacts, { version }: WalFile): WalVerdict | null {
  if (content === "unknown") return null;
  if (content === "other") return foreign("they hold commits made on another version of the database file");
  // A checkpoint after the last commit leaves nothing to copy, unless a reader or a crash cut it short.
  const isWrittenLater = isBefore(version.modifiedNs, database.modifiedNs);
  if (content === "current" || !isWrittenLater) return OWN;
  return doubtful("the database file was written after their last commit, and does not hold all commits");
}

/** Another file, and the generation that we know. */
function judgeMoved({ content }: WalFacts, isSameWal: boolean): WalVerdict | null {
  if (content === "current") return OWN;
  if (content === "other") return foreign("they hold commits made on another version of the database file");
  // A WAL that was copied together with its database is another file, too.
  if (!isSameWal) return content === "same" ? OWN : null;
  return content === "same" ? doubtful(MOVED) : foreign(MOVED);
}

const MOVED = "they were written for the database file that was at this path before";

function isSameGeneration(known: { salt1: number; salt2: number }, now: WalClaims): boolean {
  return known.salt1 === now.salt1 && known.salt2 === now.salt2;
}

/** Whether `now` may have come from the known generation by restarts of the WAL. */
function isLaterGeneration(known: { salt1: number }, now: WalClaims): boolean {
  const restarts = (now.salt1 - known.salt1) >>> 0;
  return restarts >= 1 && restarts <= RESTARTS_MAX;
}

/** Who works on the files now. @returns null when nobody has them open */
function judgeByUse({ isDatabaseOpen, isShmOpen }: WalFacts): WalVerdict | null {
  if (!isDatabaseOpen) return null;
  if (isShmOpen) return OWN;
  return doubtful("an application has the database open, but not with them");
}

/** The claims of the frames. @returns null when they may be of this database */
function judgeByClaims({ header }: WalFacts, claims: WalClaims): WalVerdict | null {
  if (claims.pageSizeBytes !== header.pageSizeBytes) {
    return foreign(
      `their pages have ${claims.pageSizeBytes} bytes, those of the database ${header.pageSizeBytes}`,
    );
  }
  if (!header.isWal) return foreign("the database file is not in WAL mode");
  if (!header.isPageCountValid || !claims.isWhole) return null;
  return contradictionOrNull(header, claims);
}

/**
 * Page 1 states the size of the database and a change counter, and every commit that changes the size writes
 * page 1. So page 1 of the file is either older than the WAL, or one of the WAL's own that a checkpoint
 * wrote there:
 * - without a page 1 in the WAL, every commit in it leaves the size at what the file's page 1 states;
 * - with one, the file's counter is at most the last in the WAL, and if it is less than the first, then by
 *   one: a writer adds one to the counter it finds, or leaves it.
 */
function contradictionOrNull(header: WalFacts["header"], claims: WalClaims): WalVerdict | null {
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
  // Counters wrap around: half of their range lies before, half after.
  const isNewer = ((changeCounter - lastCounter) | 0) > 0;
  if (isNewer) {
    return foreign(
      `the database file is newer (change ${changeCounter}) than they are (change ${lastCounter})`,
    );
  }
  const missing = (firstCounter - changeCounter) | 0;
  if (missing <= 1) return null;
  return doubtful(`they begin at change ${firstCounter}, the database file is at change ${changeCounter}`);
}

/** The order of times; a copy that keeps times says nothing. */
function judgeByTimes({ database, wal, known, isFrameInFile }: WalFacts): WalVerdict {
  if (wal === null) return OWN;
  const { version } = wal;
  // A WAL that was copied here, or renamed or given another mode itself, has no order with the database file.
  const isInPlace = version.changedNs === version.modifiedNs && !isBefore(version.modifiedNs, version.bornNs);
  if (!isInPlace) return OWN;
  // Two changes in one tick of the clock have one time: only a later time says something.
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
