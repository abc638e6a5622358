/**
 * Raw descriptors on database files, and the rule that keeps them from doing harm.
 *
 * SQLite's locks are POSIX locks: they belong to the process, and closing *any* descriptor of a file drops
 * all of them. So a raw descriptor on a database or its -shm is never closed while a connection of ours to
 * that database is open; it waits here until the last one is closed. Opening is always harmless, and -wal is
 * never locked.
 *
 * Invariants: every connection is counted from before it opens until after it has closed; every raw
 * descriptor on a database or -shm is closed through `closeDescriptor` alone. A host process that has SQLite
 * connections which are not counted here would lose their locks. The library (index.ts) therefore exports
 * nothing that opens a live database.
 */
import { closeSync, fstatSync, readSync, statSync } from "node:fs";
import { hasCode, systemCode, WalrustError } from "../../errors.ts";
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  decodeDatabaseHeader,
} from "../../format/sqlite-header.ts";
import { openRegular, openRegularOrNull } from "./regular-file.ts";

/** What names a file beyond its path: equal identities are the same file. */
export interface FileIdentity {
  readonly device: bigint;
  readonly inode: bigint;
}

interface Usage {
  connectionCount: number;
  waiting: number[];
}

const usageByDatabase = new Map<string, Usage>();
const headerBytes = new Uint8Array(DATABASE_HEADER_SIZE);

/** The identity of the file at `path`, or null when there is none. */
export function fileIdentityOrNull(path: string): FileIdentity | null {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  return stats === undefined ? null : { device: stats.dev, inode: stats.ino };
}

/** The identity of an open file. */
export function descriptorIdentity(fd: number): FileIdentity {
  const stats = fstatSync(fd, { bigint: true });
  return { device: stats.dev, inode: stats.ino };
}

/** Whether two identities name the same file; a missing file is never the same. */
export function isSameFile(a: FileIdentity | null, b: FileIdentity | null): boolean {
  return a !== null && b !== null && a.inode === b.inode && a.device === b.device;
}

/**
 * Opens a database or -shm for reading, writing and locking, close-on-exec (overlayfs needs it writable: a
 * read-only descriptor would stay on the lower layer).
 * @throws WalrustError "database" when it cannot be opened.
 */
export function openDescriptor(path: string): number {
  try {
    return openRegular(path, true);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    const code = systemCode(error) ?? "unknown error";
    const isLimit = code === "EMFILE" || code === "ENFILE";
    throw new WalrustError("database", `Cannot open ${path}: ${code}`, {
      hint: isLimit
        ? "Let the process open more files (LimitNOFILE=, ulimit -n): two for each database, and some more."
        : "walrust needs to read and write the database and its -shm file, like every SQLite connection.",
      context: { path },
      cause: error,
    });
  }
}

/**
 * Closes a raw descriptor of this database (or its -shm): now, or when our last connection to it has closed.
 */
export function closeDescriptor(database: FileIdentity, fd: number): void {
  const usage = usageByDatabase.get(keyOf(database));
  if (usage === undefined) closeSync(fd);
  else usage.waiting.push(fd);
}

/** How many connections of ours to this database are open. */
export function connectionCount(database: FileIdentity): number {
  return usageByDatabase.get(keyOf(database))?.connectionCount ?? 0;
}

/** Counts a connection that is about to be opened. */
export function retainConnection(database: FileIdentity): void {
  const key = keyOf(database);
  const usage = usageByDatabase.get(key);
  if (usage === undefined) usageByDatabase.set(key, { connectionCount: 1, waiting: [] });
  else usage.connectionCount++;
}

/** Counts a connection that has been closed, and closes the descriptors that waited for the last one. */
export function releaseConnection(database: FileIdentity): void {
  const key = keyOf(database);
  const usage = usageByDatabase.get(key);
  if (usage === undefined || --usage.connectionCount > 0) return;
  usageByDatabase.delete(key);
  for (const fd of usage.waiting) closeSync(fd);
}

/** The files of a database that are kept open for a connection. */
export interface HeldFiles {
  readonly databaseFd: number;
  readonly journalFd: number | null;
  /** Closes them. */
  readonly release: () => void;
}

/**
 * Opens all files of a database that are there, for as long as SQLite opens them: none of them blocks it
 * then. Call with the connection counted already, so that none of these descriptors closes beside it.
 * @throws WalrustError "database" when one of them is no regular file, "database-busy" for a lease
 */
export function holdFiles(path: string, database: FileIdentity): HeldFiles {
  const locked: number[] = [];
  const others: number[] = [];
  let journalFd: number | null = null;
  const release = (): void => {
    for (const fd of locked.splice(0)) closeDescriptor(database, fd);
    for (const fd of others.splice(0)) closeSync(fd);
  };
  try {
    locked.push(openDescriptor(path));
    for (const [suffix, list] of [
      ["-shm", locked],
      ["-wal", others],
      ["-journal", others],
    ] as const) {
      const fd = openHeldOrNull(`${path}${suffix}`);
      if (fd === null) continue;
      list.push(fd);
      if (suffix === "-journal") journalFd = fd;
      requireOwnCompanion(`${path}${suffix}`, fd, locked[0]!);
    }
    return { databaseFd: locked[0]!, journalFd, release };
  } catch (error) {
    release();
    throw error;
  }
}

/**
 * A -wal, -shm or -journal that has another name, and another owner than its database, is somebody else's: by
 * a hard link in the folder of one, root would write into the files of another.
 */
function requireOwnCompanion(path: string, fd: number, databaseFd: number): void {
  const { nlink, uid } = fstatSync(fd);
  const owner = fstatSync(databaseFd).uid;
  if (nlink < 2 || uid === owner) return;
  const found = `it is one of ${nlink} names of a file of user ${uid}, and the database is user ${owner}'s`;
  throw new WalrustError("database", `Cannot use ${path}: ${found}`, {
    hint: "Remove that hard link: the file belongs to another database",
    context: { path },
  });
}

/** Null for a file that is not there, or that we may not open: SQLite tells that in its own words. */
function openHeldOrNull(path: string): number | null {
  try {
    return openRegularOrNull(path, true);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    return null;
  }
}

/**
 * Reads the header of the database at `path`, without SQLite and without touching any lock of ours.
 * @throws WalrustError "database" when there is no file, or it is no SQLite database.
 */
export function readDatabaseHeader(path: string): DatabaseHeader {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined || !stats.isFile()) {
    const found = stats === undefined ? "there is nothing" : "it is not a regular file";
    throw new WalrustError("database", `Cannot read ${path}: ${found}, expected a SQLite database`, {
      hint: "Check the path; a database must exist before it can be replicated.",
      context: { path },
    });
  }
  const fd = openDescriptor(path);
  try {
    return readHeaderOf(fd);
  } catch (error) {
    if (!hasCode(error, "database")) throw error;
    throw new WalrustError("database", `Cannot use ${path}: it is not a SQLite database (${error.message})`, {
      context: { path },
      cause: error,
    });
  } finally {
    closeDescriptor(descriptorIdentity(fd), fd);
  }
}

/**
 * Reads the header of an open database file. @throws WalrustError "database" when it is no SQLite database.
 */
export function readHeaderOf(fd: number): DatabaseHeader {
  const sizeBytes = readSync(fd, headerBytes, 0, DATABASE_HEADER_SIZE, 0);
  return decodeDatabaseHeader(headerBytes.subarray(0, sizeBytes));
}

function keyOf(identity: FileIdentity): string {
  return `${identity.device}:${identity.inode}`;
}
