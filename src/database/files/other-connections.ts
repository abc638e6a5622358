/**
 * Finds the other connections to a database, and whether they share its wal-index with us.
 *
 * A connection in WAL mode holds the SHARED range of the database file and, for as long, the dead-man switch
 * of the -shm that it maps. A process that holds only the first maps another wal-index. Either its -shm was
 * deleted, or it opened the database under another name (a hard link, a bind mount of the file alone) with
 * another -wal. Our locks and its locks do not conflict, and its commits never appear in our wal-index.
 *
 * A connection that holds the database exclusively (locking_mode=EXCLUSIVE, or a last close) needs no
 * wal-index and does not count.
 *
 * Locks are queried, never taken. A connection that is opening looks the same for less than a millisecond
 * between its two locks. So a foreign wal-index counts only if several queries find it.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import type { Env } from "../../env.ts";
import { systemCode, type WalrustError } from "../../errors.ts";
import {
  closeDescriptor,
  descriptorIdentity,
  type FileIdentity,
  fileIdentityOrNull,
  isSameFile,
  openDescriptor,
} from "./descriptors.ts";
import { DEAD_MAN_BYTE, SHARED_LENGTH, SHARED_START } from "./lock-bytes.ts";
import { isLockedByOther, ofdLocksSupported } from "./ofd-lock.ts";

/** The other connections to a database. */
export interface OtherConnections {
  /** Another connection has the database file open. */
  readonly isInUse: boolean;
  /** Another connection maps the -shm beside the database. */
  readonly isWalIndexShared: boolean;
  /** Another connection has the database open and does not map that -shm. */
  readonly isWalIndexForeign: boolean;
}

/** An open -wal in /proc/PID/fd. Other files are not looked at: one on a network mount could block. */
const WAL_LINK = /-wal( \(deleted\))?$/;
const NOBODY: OtherConnections = { isInUse: false, isWalIndexShared: false, isWalIndexForeign: false };
/** Failures to open a -shm that last: there is none, walrust may not open it, or it is no regular file. */
const UNSHARED: ReadonlySet<string> = new Set([
  "ENOENT",
  "EACCES",
  "EPERM",
  "EROFS",
  "ELOOP",
  "ENXIO",
  "EISDIR",
]);

/** The pauses between the queries that must all find a foreign wal-index, in ms. */
export type ConfirmationWaits = readonly number[];
const QUICK: ConfirmationWaits = [2, 2];
/** Used before a pin is given up: on a busy machine a process may take long between its two locks. */
export const PATIENT: ConfirmationWaits = [2, 2, 4, 8, 16, 32, 64];

/** The connections at this moment, through two open descriptors. @param shmFd null without a -shm */
export function otherConnectionsOf(databaseFd: number, shmFd: number | null): OtherConnections {
  if (!ofdLocksSupported()) return NOBODY;
  const isInUse = isLockedByOther(databaseFd, SHARED_START, SHARED_LENGTH, "exclusive");
  if (!isInUse) return NOBODY;
  const isWalIndexShared = shmFd !== null && isLockedByOther(shmFd, DEAD_MAN_BYTE, 1, "exclusive");
  const isExclusive = isLockedByOther(databaseFd, SHARED_START, SHARED_LENGTH, "shared");
  return { isInUse, isWalIndexShared, isWalIndexForeign: !isWalIndexShared && !isExclusive };
}

/** As `otherConnectionsOf`, but a foreign wal-index counts only if all queries find it. */
export function settledConnectionsOf(
  databaseFd: number,
  shmFd: number | null,
  env: Env,
  patience: ConfirmationWaits = QUICK,
): OtherConnections {
  let users = otherConnectionsOf(databaseFd, shmFd);
  for (const pauseMs of patience) {
    if (!users.isWalIndexForeign) break;
    env.sleepSync(pauseMs);
    users = otherConnectionsOf(databaseFd, shmFd);
  }
  return users;
}

/**
 * As `settledConnectionsOf`, before walrust has any file at `path` open. If some processes share the
 * wal-index, /proc/locks shows whether others do not. Each query opens the -shm again: an application whose
 * last connection closes deletes its -shm, and its next connection makes a new one.
 * @throws WalrustError code "database" when a file cannot be opened
 */
export function findOtherConnections(
  path: string,
  env: Env,
  patience: ConfirmationWaits = QUICK,
): OtherConnections {
  if (!ofdLocksSupported()) return NOBODY;
  const databaseFd = openDescriptor(path);
  const database = descriptorIdentity(databaseFd);
  try {
    let users = queryAt(path, databaseFd, database);
    for (const pauseMs of patience) {
      if (!users.isWalIndexForeign) break;
      env.sleepSync(pauseMs);
      users = queryAt(path, databaseFd, database);
    }
    return users;
  } finally {
    closeDescriptor(database, databaseFd);
  }
}

/** One query, with the -shm that is at the path now. */
function queryAt(path: string, databaseFd: number, database: FileIdentity): OtherConnections {
  const shmFd = openShmOrNull(path);
  try {
    const users = otherConnectionsOf(databaseFd, shmFd);
    if (!users.isWalIndexShared || shmFd === null) return users;
    const strangers = processesWithoutShm(locksTable(), database, descriptorIdentity(shmFd));
    return { ...users, isWalIndexForeign: strangers.length > 0 };
  } finally {
    if (shmFd !== null) closeDescriptor(database, shmFd);
  }
}

/**
 * Opens the -shm of a database; null when it is missing, or when walrust may not open it and so cannot share
 * it.
 * @throws WalrustError code "database" or "database-busy" when something else fails: not having looked is no
 *   evidence
 */
export function openShmOrNull(path: string): number | null {
  try {
    return openDescriptor(`${path}-shm`);
  } catch (error) {
    const { cause } = error as WalrustError;
    if (cause === undefined || UNSHARED.has(systemCode(cause) ?? "")) return null;
    throw error;
  }
}

/**
 * The processes that hold a POSIX lock in the SHARED range of a database and none on the dead-man switch of a
 * -shm.
 * @param table the content of /proc/locks, which omits processes of other pid namespaces
 * @param shm null without a -shm
 */
export function processesWithoutShm(
  table: string,
  database: FileIdentity,
  shm: FileIdentity | null,
): number[] {
  const atDatabase = new Set<number>();
  const atIndex = new Set<number>();
  for (const line of table.split("\n")) {
    const lock = parseLockOrNull(line);
    if (lock === null || lock.pid <= 0) continue;
    const { pid, start, end } = lock;
    const isShared = lock.isRead && start < SHARED_START + SHARED_LENGTH && end >= SHARED_START;
    if (lock.file === keyOf(database) && isShared) atDatabase.add(pid);
    if (shm !== null && lock.file === keyOf(shm) && start <= DEAD_MAN_BYTE && end >= DEAD_MAN_BYTE)
      atIndex.add(pid);
  }
  return [...atDatabase].filter((pid) => pid !== process.pid && !atIndex.has(pid));
}

/** The processes with a connection to a database, of all users of the pid namespace, without this one. */
export function connectedProcesses(database: FileIdentity): number[] {
  return processesWithoutShm(locksTable(), database, null);
}

/**
 * Whether every process that uses the database without the -shm at its path has the -wal at its path open, so
 * that its commits can be read. False when that cannot be found out: a process of another pid namespace or of
 * another user shows none of its files.
 */
export function isWalOfStrangers(path: string): boolean {
  const database = fileIdentityOrNull(path);
  const wal = fileIdentityOrNull(`${path}-wal`);
  if (database === null || wal === null) return false;
  const strangers = processesWithoutShm(locksTable(), database, fileIdentityOrNull(`${path}-shm`));
  return strangers.length > 0 && strangers.every((pid) => hasWalOpen(pid, wal));
}

function hasWalOpen(pid: number, wal: FileIdentity): boolean {
  const folder = `/proc/${pid}/fd`;
  try {
    return readdirSync(folder).some((fd) => {
      const link = `${folder}/${fd}`;
      return WAL_LINK.test(readlinkOr(link)) && isSameFile(fileIdentityOrNull(link), wal);
    });
  } catch {
    return false;
  }
}

/** Where a link of /proc leads; empty when the process has closed the file. */
function readlinkOr(link: string): string {
  try {
    return readlinkSync(link);
  } catch {
    return "";
  }
}

/** A line such as `7: POSIX  ADVISORY  READ 812 fd:01:3932 1073741826 1073742335`. */
const LOCK = /^\d+: POSIX +\S+ +(\S+) +(-?\d+) ([0-9a-f]+:[0-9a-f]+:\d+) (\d+) (\d+|EOF)$/;

interface TableLock {
  readonly pid: number;
  readonly isRead: boolean;
  readonly file: string;
  readonly start: number;
  readonly end: number;
}

function parseLockOrNull(line: string): TableLock | null {
  const fields = LOCK.exec(line.trimEnd());
  if (fields === null) return null;
  const [, mode, pid, file = "", start, end] = fields;
  return {
    pid: Number(pid),
    isRead: mode === "READ",
    file,
    start: Number(start),
    end: end === "EOF" ? Number.POSITIVE_INFINITY : Number(end),
  };
}

/** The name of a file in /proc/locks. */
function keyOf({ device, inode }: FileIdentity): string {
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn);
  const hex = (value: bigint): string => (value & 0xffff_ffffn).toString(16).padStart(2, "0");
  return `${hex(major)}:${hex(minor)}:${inode}`;
}

function locksTable(): string {
  try {
    return readFileSync("/proc/locks", "latin1");
  } catch {
    // Without the table a foreign wal-index is found only if no connection shares ours.
    return "";
  }
}
