/**
 * Finds out who else has a database open, and whether they share its wal-index with us.
 *
 * A connection in WAL mode holds the SHARED range of the database file and, for as long, the dead-man switch
 * of the -shm that it maps. A process that holds the first without the second maps another wal-index: its
 * -shm was deleted under it, or it opened the database under another name (a hard link, a bind mount of the
 * file alone), where it has another -wal, too. Its locks say nothing to us and ours nothing to it, and what
 * it commits never shows in our wal-index.
 *
 * A connection that holds the database exclusively (locking_mode=EXCLUSIVE, or a last close) needs no
 * wal-index and does not count.
 *
 * The locks are asked for, never taken. Between its two locks a connection that is just opening looks the
 * same for less than a millisecond, so the answer counts only when it stays.
 */
import { readFileSync } from "node:fs";
import type { Env } from "../../env.ts";
import { closeDescriptor, descriptorIdentity, type FileIdentity, openDescriptor } from "./descriptors.ts";
import { DEAD_MAN_BYTE, SHARED_LENGTH, SHARED_START } from "./lock-bytes.ts";
import { isLockedByOther, ofdLocksSupported } from "./ofd-lock.ts";

/** Who else is at a database. */
export interface OtherConnections {
  /** Somebody has the database file open. */
  readonly isInUse: boolean;
  /** Somebody maps the -shm beside it. */
  readonly isWalIndexShared: boolean;
  /** Somebody has the database open and does not map that -shm. */
  readonly isWalIndexForeign: boolean;
}

const NOBODY: OtherConnections = { isInUse: false, isWalIndexShared: false, isWalIndexForeign: false };
const CONFIRMATIONS = 3;
const CONFIRM_MS = 2;

/** How long a foreign wal-index has to stay one: the pauses between looks, in ms. */
export type ConfirmationWaits = readonly number[];
const QUICK: ConfirmationWaits = [2, 2];
/** Before a pin is given up for it: on a busy machine a process may stand between its two locks for long. */
export const PATIENT: ConfirmationWaits = [2, 2, 4, 8, 16, 32, 64];

/** As they are at this moment, through two open descriptors. @param shmFd null when there is no -shm */
export function otherConnectionsOf(databaseFd: number, shmFd: number | null): OtherConnections {
  if (!ofdLocksSupported()) return NOBODY;
  const isInUse = isLockedByOther(databaseFd, SHARED_START, SHARED_LENGTH, "exclusive");
  if (!isInUse) return NOBODY;
  const isWalIndexShared = shmFd !== null && isLockedByOther(shmFd, DEAD_MAN_BYTE, 1, "exclusive");
  const isExclusive = isLockedByOther(databaseFd, SHARED_START, SHARED_LENGTH, "shared");
  return { isInUse, isWalIndexShared, isWalIndexForeign: !isWalIndexShared && !isExclusive };
}

/** As `otherConnectionsOf`, where a foreign wal-index counts only if it stays one for some milliseconds. */
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
 * As `settledConnectionsOf`, before anything of ours is open at `path`; and where some processes share the
 * wal-index and others do not, the kernel's table of locks tells.
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
    const shmFd = openOrNull(`${path}-shm`);
    try {
      const users = settledConnectionsOf(databaseFd, shmFd, env, patience);
      if (!users.isWalIndexShared || shmFd === null) return users;
      const shm = descriptorIdentity(shmFd);
      return { ...users, isWalIndexForeign: hasProcessWithoutShm(database, shm, env) };
    } finally {
      if (shmFd !== null) closeDescriptor(database, shmFd);
    }
  } finally {
    closeDescriptor(database, databaseFd);
  }
}

function openOrNull(path: string): number | null {
  try {
    return openDescriptor(path);
  } catch {
    // There is none, or it went just now; one that may not be opened is no wal-index for us either.
    return null;
  }
}

/** Whether a process stays at the database that is not at the -shm. */
function hasProcessWithoutShm(database: FileIdentity, shm: FileIdentity, env: Env): boolean {
  for (let time = 0; time < CONFIRMATIONS; time++) {
    if (time > 0) env.sleepSync(CONFIRM_MS);
    const elsewhere = processesWithoutShm(locksTable(), database, shm);
    if (elsewhere.length === 0) return false;
  }
  return true;
}

/**
 * The processes that hold a POSIX lock in the SHARED range of a database and none on the dead-man switch of a
 * -shm.
 * @param table the content of /proc/locks; processes of other pid namespaces are not in it
 */
export function processesWithoutShm(table: string, database: FileIdentity, shm: FileIdentity): number[] {
  const atDatabase = new Set<number>();
  const atIndex = new Set<number>();
  for (const line of table.split("\n")) {
    const lock = parseLockOrNull(line);
    if (lock === null || lock.pid <= 0) continue;
    const { pid, start, end } = lock;
    const isShared = lock.isRead && start < SHARED_START + SHARED_LENGTH && end >= SHARED_START;
    if (lock.file === keyOf(database) && isShared) atDatabase.add(pid);
    if (lock.file === keyOf(shm) && start <= DEAD_MAN_BYTE && end >= DEAD_MAN_BYTE) atIndex.add(pid);
  }
  return [...atDatabase].filter((pid) => pid !== process.pid && !atIndex.has(pid));
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

/** A file as /proc/locks names it. */
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
    // Without the table only those are noticed who are alone at the database.
    return "";
  }
}
