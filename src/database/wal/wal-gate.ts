/**
 * The gate before every connection: gathers the facts, lets wal-ownership.ts judge them, and refuses a
 * database whose -wal belongs to another file. It only reads; it opens no connection and takes no lock.
 *
 * An approval holds for the judged files only. SQLite opens -wal and -shm by name at its first read, and
 * another process may exchange them before. `assertStillJudged` therefore compares the files after that read.
 * Until then nothing has been written into the database file. Closing the connection writes nothing either,
 * as long as a descriptor of ours holds the SHARED range.
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

/** Facts about a database from an earlier run or pin. */
export interface WalEvidence {
  readonly known: KnownFiles | null;
  /** The last comparison of the file with its page sums. */
  readonly compared: ComparedContent | null;
  /** Whether a replica wrote the WAL; false by default. */
  readonly isReplica?: boolean;
}

/** The result of a comparison, valid until one of the two files changes. */
export interface ComparedContent {
  readonly content: Content;
  readonly versions: string;
}

/** No earlier facts: the first start. */
export const NO_EVIDENCE: WalEvidence = { known: null, compared: null };

/**
 * Evidence for a replica's own file. Its state file names the checksum of its content, which finds every WAL
 * that does not belong to the file.
 */
export const REPLICA_EVIDENCE: WalEvidence = { ...NO_EVIDENCE, isReplica: true };

/** The files that were judged. */
export interface JudgedFiles {
  readonly path: string;
  readonly wal: WalFile | null;
}

/**
 * Judges the files at `path` as they are now.
 * @param databaseFd an open descriptor of the database file; locks that it holds itself are ignored
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
 * Judges the -wal of a database that walrust only reads. Ignores the processes that have the database open,
 * because they may use another -wal.
 * @throws WalrustError code "foreign-wal" when the pages may belong to another file
 */
export function requireWalOfFile(path: string, databaseFd: number, evidence: WalEvidence): void {
  const facts = readWalFacts(path, databaseFd, evidence);
  const verdict = judgeWal({ ...facts, isDatabaseOpen: false, isShmOpen: false });
  if (verdict.kind !== "own") throw foreignWalError(path, verdict.reason, verdict.kind === "doubtful");
}

/** As `requireWalOfFile`, for a database that is not open. */
export function requireWalOfFileAt(path: string, evidence: WalEvidence): void {
  const fd = openDescriptor(path);
  try {
    requireWalOfFile(path, fd, evidence);
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

/** As `requireOwnWal`, for a connection that no pin protects. */
export function requireOwnWalAt(path: string, evidence: WalEvidence = NO_EVIDENCE): JudgedFiles {
  const fd = openDescriptor(path);
  try {
    return requireOwnWal(path, fd, evidence);
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

/** @throws WalrustError "database-busy" when the judged -wal is no longer at its path */
export function assertStillJudged({ path, wal }: JudgedFiles): void {
  if (wal === null) return;
  const stats = statSync(`${path}-wal`, { bigint: true, throwIfNoEntry: false });
  if (stats !== undefined && isSameIdentity(fileVersion(stats), wal.version)) return;
  throw new WalrustError("database-busy", `Cannot pin ${path}: its -wal was replaced while it was opened`, {
    retryable: true,
    context: { path },
  });
}

/** The error that names the foreign files, with advice for the operator. */
export function foreignWalError(path: string, reason: string, isDoubtful = false): WalrustError {
  const wal = `${path}-wal`;
  const shm = `${path}-shm`;
  const files = existsSync(shm) ? `${wal} and ${shm}` : wal;
  const move = `stop the application and move ${files} away`;
  const stay = "walrust changes no file and continues by itself afterwards";
  const hint = isDoubtful
    ? `If the database was put there without these files, ${move}. If they belong to it, open it once with ` +
      `the application; ${stay}`
    : `Do not open the database: SQLite would write the old pages into it. First ${move}, and keep ` +
      `them, because they may hold commits that no other file has; ${stay}`;
  const doubt = isDoubtful ? "may not belong" : "do not belong";
  return new WalrustError("foreign-wal", `Cannot open ${path}: ${files} ${doubt} to it: ${reason}`, {
    hint,
    retryable: true,
    context: { path, wal },
  });
}

/**
 * Gathers the facts. Asks for the lock of the -shm before and after that of the database, because connections
 * open and close both.
 */
export function readWalFacts(path: string, databaseFd: number, evidence: WalEvidence): WalFacts {
  const { known, compared, isReplica = false } = evidence;
  const database = fileVersion(fstatSync(databaseFd, { bigint: true }));
  const header = readHeaderOf(databaseFd);
  // A connection of this process passed the gate already, and holds the locks in question.
  const isOurs = connectionCount(descriptorIdentity(databaseFd)) > 0;
  const wasShmHeld = isOurs || shmHolderOrNull(path, databaseFd) !== null;
  const isLocked = isOurs || isLockedByOther(databaseFd, SHARED_START, SHARED_LENGTH, "exclusive");
  const holder = wasShmHeld && !isOurs ? shmHolderOrNull(path, databaseFd) : null;
  const isShmOpen = isOurs || holder !== null;
  const isDatabaseOpen =
    isLocked || (holder !== null && hasDatabaseOpen(holder, database, databaseFd, known));
  const isInUse = isDatabaseOpen && isShmOpen;
  const versions = versionsOf(path, databaseFd);
  const content = compared?.versions === versions ? compared.content : "unknown";
  const { wal, isFrameInFile } = isInUse
    ? { wal: readWalFileOrNull(`${path}-wal`, true), isFrameInFile: null }
    : scanOnce(path, databaseFd, versions, header.pageSizeBytes);
  return { database, header, wal, isDatabaseOpen, isShmOpen, known, content, isFrameInFile, isReplica };
}

/** The result of a scan of a WAL. */
interface Scan {
  readonly wal: WalFile | null;
  readonly isFrameInFile: boolean | null;
}

/** The last scans of databases that no process has open, by path. */
const scans = new Map<string, Scan & { readonly versions: string; readonly times: number }>();
const SCANS_MAX = 64;
/** One attempt scans twice. The third scan is seconds later, when equal file times prove equal content. */
const SCAN_TIMES_MAX = 3;

/** Scans the WAL. A refused WAL is judged every few seconds, but scanned again only when a file changed. */
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

/** Versions and sizes of database file and -wal as one text: it changes when one of them changes. */
export function versionsOf(path: string, databaseFd: number): string {
  const database = fstatSync(databaseFd, { bigint: true });
  const wal = statSync(`${path}-wal`, { bigint: true, throwIfNoEntry: false });
  const parts = [database, wal].map((stats) =>
    stats === undefined ? null : { ...fileVersion(stats), sizeBytes: String(stats.size) },
  );
  return JSON.stringify(parts);
}

/**
 * Whether a process with an open -shm has this database file open, though it holds no lock on it. A process
 * that copies its own database through a second descriptor loses its lock when it closes that descriptor. If
 * the process cannot be inspected, the answer is no only if another file is known.
 */
function hasDatabaseOpen(
  pid: number,
  database: FileVersion,
  databaseFd: number,
  known: KnownFiles | null,
): boolean {
  const isOpen = pid > 0 ? hasDescriptorOrNull(pid, descriptorIdentity(databaseFd)) : null;
  return isOpen ?? (known === null || isSameIdentity(known.database, database));
}

/** Whether a process has a file open, or null when it may not be inspected. */
function hasDescriptorOrNull(pid: number, file: FileIdentity): boolean | null {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => isSameFile(fileIdentityOrNull(`${folder}/${fd}`), file));
  } catch (error) {
    // The process belongs to another user or another namespace, or has ended.
    if (systemCode(error) !== undefined) return null;
    throw error;
  }
}

/** The process that has -shm open: its id as `lockHolderOrNull` returns it. */
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

/** Null when the -shm cannot be opened: SQLite cannot open it either, and reports the reason. */
function openOrNull(path: string): number | null {
  try {
    return openDescriptor(path);
  } catch (error) {
    if (error instanceof WalrustError) return null;
    throw error;
  }
}
