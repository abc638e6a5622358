/**
 * The gate before every connection: gathers what wal-ownership.ts judges by, and refuses a database whose
 * -wal is not its own. Reads only; opens no connection and takes no lock.
 *
 * An approval holds for the files that were judged. Between it and SQLite's first read (which opens -wal and
 * -shm by name) other files may be moved into place: `assertStillJudged` compares once more after that read.
 * Until then nothing was written into the database file, and as long as the SHARED range is held by a
 * descriptor of ours, closing the connection writes nothing either.
 */
import { existsSync, fstatSync, readdirSync, statSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import {
  closeDescriptor,
  connectionCount,
  descriptorIdentity,
  type FileIdentity,
  fileIdentityOrNull,
  isSameFile,
  openDescriptor,
  readHeaderOf,
} from "../files/descriptors.ts";
import { type FileVersion, fileVersion, isSameIdentity } from "../files/file-version.ts";
import { DEAD_MAN_BYTE, SHARED_LENGTH, SHARED_START } from "../files/lock-bytes.ts";
import { isLockedByOther, lockHolderOrNull } from "../files/ofd-lock.ts";
import { hasFrameInFile, readWalFileOrNull, type WalFile } from "./wal-claims.ts";
import { type Content, judgeWal, type KnownFiles, type WalFacts } from "./wal-ownership.ts";

/** What is known of a database from before. */
export interface WalEvidence {
  readonly known: KnownFiles | null;
  /** A comparison of the file with the page sums, and the files it was made of. */
  readonly compared: ComparedContent | null;
}

/** The result of a comparison holds as long as both files are as they were. */
export interface ComparedContent {
  readonly content: Content;
  readonly versions: string;
}

/** Nothing is known: the first time. */
export const NO_EVIDENCE: WalEvidence = { known: null, compared: null };

/** The files that were judged. */
export interface JudgedFiles {
  readonly path: string;
  readonly wal: WalFile | null;
}

/**
 * Judges the files at `path` by what can be seen now.
 * @param databaseFd an open descriptor of the database file; locks held through it are not seen
 * @throws WalrustError code "foreign-wal" when a connection would apply the WAL of another file
 */
export function requireOwnWal(
  path: string,
  databaseFd: number,
  evidence: WalEvidence = NO_EVIDENCE,
): JudgedFiles {
  const facts = readWalFacts(path, databaseFd, evidence);
  const verdict = judgeWal(facts);
  if (verdict.kind !== "own") throw foreignWalError(path, verdict.reason, verdict.kind === "doubtful");
  scans.delete(path);
  return { path, wal: facts.wal };
}

/**
 * Judges the -wal of a database that is only read, as if nobody had it open: its users may use another one.
 * @throws WalrustError code "foreign-wal" when its pages may be those of another file
 */
export function requireWalOfFile(path: string, databaseFd: number, evidence: WalEvidence): void {
  const facts = readWalFacts(path, databaseFd, evidence);
  const verdict = judgeWal({ ...facts, isDatabaseOpen: false, isShmOpen: false });
  if (verdict.kind !== "own") throw foreignWalError(path, verdict.reason, verdict.kind === "doubtful");
}

/** As `requireOwnWal` for a path alone, before a connection that no pin protects. */
export function requireOwnWalAt(path: string): JudgedFiles {
  const fd = openDescriptor(path);
  try {
    return requireOwnWal(path, fd);
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

/** @throws WalrustError "database-busy" when the -wal at the path is not the one that was judged */
export function assertStillJudged({ path, wal }: JudgedFiles): void {
  if (wal === null) return;
  const stats = statSync(`${path}-wal`, { bigint: true, throwIfNoEntry: false });
  if (stats !== undefined && isSameIdentity(fileVersion(stats), wal.version)) return;
  throw new WalrustError("database-busy", `Cannot pin ${path}: its -wal was replaced while it was opened`, {
    retryable: true,
    context: { path },
  });
}

/** Says which files stand in the way, and what a person can do about it. */
export function foreignWalError(path: string, reason: string, isDoubtful = false): WalrustError {
  const wal = `${path}-wal`;
  const shm = `${path}-shm`;
  const files = existsSync(shm) ? `${wal} and ${shm}` : wal;
  const move = `stop the application and move ${files} away`;
  const stay = "walrust leaves all files alone and continues by itself afterwards";
  const hint = isDoubtful
    ? `If the database was put there without them, ${move}. If they belong to it, open it once with the ` +
      `application; ${stay}`
    : `Do not open the database: SQLite would write the old pages into it. First ${move} (keep them: what ` +
      `an application has committed since is in them); ${stay}`;
  const doubt = isDoubtful ? "may not belong" : "do not belong";
  return new WalrustError("foreign-wal", `Cannot open ${path}: ${files} ${doubt} to it: ${reason}`, {
    hint,
    retryable: true,
    context: { path, wal },
  });
}

/** Gathers the facts. The -shm is asked before and after the database: connections open and close both. */
export function readWalFacts(path: string, databaseFd: number, { known, compared }: WalEvidence): WalFacts {
  const database = fileVersion(fstatSync(databaseFd, { bigint: true }));
  const header = readHeaderOf(databaseFd);
  // A connection of this process holds the locks that are asked for here, and was judged before.
  const isOurs = connectionCount(descriptorIdentity(databaseFd)) > 0;
  const wasShmHeld = isOurs || shmHolderOrNull(path, databaseFd) !== null;
  const isLocked = isOurs || isLockedByOther(databaseFd, SHARED_START, SHARED_LENGTH, "exclusive");
  const holder = wasShmHeld && !isOurs ? shmHolderOrNull(path, databaseFd) : null;
  const isShmOpen = isOurs || holder !== null;
  const isDatabaseOpen = isLocked || (holder !== null && hasOpen(holder, database, databaseFd, known));
  const isInUse = isDatabaseOpen && isShmOpen;
  const versions = versionsOf(path, databaseFd);
  const content = compared?.versions === versions ? compared.content : "unknown";
  const { wal, isFrameInFile } = isInUse
    ? { wal: readWalFileOrNull(`${path}-wal`, true), isFrameInFile: null }
    : scanOnce(path, databaseFd, versions, header.pageSizeBytes);
  return { database, header, wal, isDatabaseOpen, isShmOpen, known, content, isFrameInFile };
}

/** What a scan of a WAL found. */
interface Scan {
  readonly wal: WalFile | null;
  readonly isFrameInFile: boolean | null;
}

/** The last scans of databases that nobody has open, by path. */
const scans = new Map<string, Scan & { readonly versions: string; readonly times: number }>();
const SCANS_MAX = 64;
/** Two scans belong to one attempt; the third comes seconds later, when a time stands for one content. */
const SCAN_TIMES_MAX = 3;

/** Scans the WAL. One that is refused is judged every few seconds, and read again when a file changed. */
function scanOnce(path: string, databaseFd: number, versions: string, pageSizeBytes: number): Scan {
  const last = scans.get(path);
  if (last?.versions === versions && last.times >= SCAN_TIMES_MAX) return last;
  const wal = readWalFileOrNull(`${path}-wal`);
  const isComparable = wal?.claims?.pageSizeBytes === pageSizeBytes;
  const isFrameInFile = isComparable ? hasFrameInFile(`${path}-wal`, databaseFd) : null;
  const times = last?.versions === versions ? last.times + 1 : 1;
  scans.delete(path);
  scans.set(path, { wal, isFrameInFile, versions, times });
  const [oldest] = scans.keys();
  if (scans.size > SCANS_MAX && oldest !== undefined) scans.delete(oldest);
  return { wal, isFrameInFile };
}

/** Everything that changes when the database file or its -wal is written or replaced, as one text. */
export function versionsOf(path: string, databaseFd: number): string {
  const database = fstatSync(databaseFd, { bigint: true });
  const wal = statSync(`${path}-wal`, { bigint: true, throwIfNoEntry: false });
  const parts = [database, wal].map((stats) =>
    stats === undefined ? null : { ...fileVersion(stats), sizeBytes: String(stats.size) },
  );
  return JSON.stringify(parts);
}

/**
 * Whether a process that has -shm open but no lock on the database file has that open all the same. One which
 * copies its database file within itself loses its lock with the close, and works on. Where the process
 * cannot be asked, only the memory of another file speaks against it.
 */
function hasOpen(pid: number, database: FileVersion, databaseFd: number, known: KnownFiles | null): boolean {
  const answer = pid > 0 ? hasDescriptorOrNull(pid, descriptorIdentity(databaseFd)) : null;
  return answer ?? (known === null || isSameIdentity(known.database, database));
}

/** Whether a process has a file open, or null when it may not be asked. */
function hasDescriptorOrNull(pid: number, file: FileIdentity): boolean | null {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => isSameFile(fileIdentityOrNull(`${folder}/${fd}`), file));
  } catch (error) {
    // Another user's process, one of another namespace, or one that has ended.
    if (systemCode(error) !== undefined) return null;
    throw error;
  }
}

/** The process that has -shm open, as `lockHolderOrNull` tells it. */
function shmHolderOrNull(path: string, databaseFd: number): number | null {
  const shmPath = `${path}-shm`;
  const fd = existsSync(shmPath) ? openOrNull(shmPath) : null;
  if (fd === null) return null;
  try {
    return lockHolderOrNull(fd, DEAD_MAN_BYTE, 1, "exclusive");
  } finally {
    closeDescriptor(descriptorIdentity(databaseFd), fd);
  }
}

/** SQLite cannot open a -shm either that we cannot, and tells why. */
function openOrNull(path: string): number | null {
  try {
    return openDescriptor(path);
  } catch (error) {
    if (error instanceof WalrustError) return null;
    throw error;
  }
}
