/**
 * Raw descriptors of database files, and the rule that makes them harmless.
 *
 * SQLite's locks are POSIX locks: they belong to the process, and closing *any* descriptor of a file drops
 * all of them. So a raw descriptor of a database or its -shm never closes while a connection of ours to that
 * database is open: `closeDescriptor` waits for the last connection to close. Opening is always harmless, and
 * nobody locks a -wal.
 *
 * Invariants:
 * 1. Every connection is counted from before it opens until after it has closed.
 * 2. Every raw descriptor of a database or -shm is closed through `closeDescriptor` alone.
 * A process with SQLite connections that are not counted here would lose their locks. The library (index.ts)
 * therefore exports nothing that opens a live database.
 */
import { type BigIntStats, closeSync, fstatSync, readSync, type Stats, statSync } from "node:fs";
import { hasCode, systemCode, WalrustError } from "../../errors.ts";
import {
  DATABASE_HEADER_SIZE,
  type DatabaseHeader,
  decodeDatabaseHeader,
} from "../../format/sqlite-header.ts";
import { decimalText } from "./file-version.ts";
import { answerText, openRegular, openRegularOrNull, permissionHintOrNull } from "./regular-file.ts";

/** Identifies a file independently of its path, as long as the file exists. */
export interface FileIdentity {
  readonly device: bigint;
  /** Decimal. */
  readonly inode: string;
}

interface Usage {
  connectionCount: number;
  waiting: number[];
}

const usageByDatabase = new Map<string, Usage>();
const headerBytes = new Uint8Array(DATABASE_HEADER_SIZE);

/** The identity of the file at `path`, or null when there is none. */
export function fileIdentityOrNull(path: string): FileIdentity | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) return null;
  const { dev, ino } = stats;
  if (Number.isSafeInteger(dev) && Number.isSafeInteger(ino)) {
    // A double holds these numbers, and makes a tenth of the garbage of bigint stats.
    return identityOf({ dev: BigInt(dev), ino: BigInt(ino) });
  }
  const exact = statSync(path, { bigint: true, throwIfNoEntry: false });
  return exact === undefined ? null : identityOf(exact);
}

/** The identity of an open file. */
export function descriptorIdentity(fd: number): FileIdentity {
  return identityOf(fstatSync(fd, { bigint: true }));
}

/** The last device: hundreds of identities share one number. */
let lastDevice = 0n;

/** The identity of a file with these stats. */
export function identityOf({ dev, ino }: Pick<BigIntStats, "dev" | "ino">): FileIdentity {
  if (dev !== lastDevice) lastDevice = dev;
  return { device: lastDevice, inode: decimalText(ino) };
}

/** Whether two identities name the same file; a missing file is never the same. */
export function isSameFile(a: FileIdentity | null, b: FileIdentity | null): boolean {
  return a !== null && b !== null && a.inode === b.inode && a.device === b.device;
}

/** Whether an open file with these attributes is the identified one. */
export function isOpenFile(
  fd: number,
  { dev, ino }: Pick<Stats, "dev" | "ino">,
  file: FileIdentity,
): boolean {
  // A double holds the numbers of most file systems.
  if (Number.isSafeInteger(dev) && Number.isSafeInteger(ino))
    return ino === Number(file.inode) && dev === Number(file.device);
  return isSameFile(descriptorIdentity(fd), file);
}

/**
 * Opens a database or -shm for reading, writing and locking, close-on-exec. It must be writable: on overlayfs
 * a read-only descriptor would stay on the lower layer.
 * @throws WalrustError "database" when it cannot be opened.
 */
export function openDescriptor(path: string): number {
  try {
    return openRegular(path, true);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    const code = systemCode(error) ?? "unknown error";
    const isLimit = code === "EMFILE" || code === "ENFILE";
    const needs =
      "walrust needs to read and write the database and its -shm file, like every SQLite connection";
    throw new WalrustError("database", `Cannot open ${path}: ${answerText(error)}`, {
      hint: isLimit
        ? "Let the process open more files (LimitNOFILE=, ulimit -n): two for each database, and some spare"
        : (permissionHintOrNull(path, error) ?? needs),
      context: { path },
      cause: error,
    });
  }
}

/**
 * Closes a raw descriptor of this database or its -shm when no connection of ours to the database is open.
 */
export function closeDescriptor(database: FileIdentity, fd: number): void {
  const usage = usageByDatabase.get(keyOf(database));
  if (usage === undefined) closeSync(fd);
  else usage.waiting.push(fd);
}

/** The number of open connections of ours to this database. */
export function connectionCount(database: FileIdentity): number {
  return usageByDatabase.get(keyOf(database))?.connectionCount ?? 0;
}

/** Counts a connection. Call before it opens. */
export function retainConnection(database: FileIdentity): void {
  const key = keyOf(database);
  const usage = usageByDatabase.get(key);
  if (usage === undefined) usageByDatabase.set(key, { connectionCount: 1, waiting: [] });
  else usage.connectionCount++;
}

/** Discounts a connection. Call after it has closed: the last one closes the waiting descriptors. */
export function releaseConnection(database: FileIdentity): void {
  const key = keyOf(database);
  const usage = usageByDatabase.get(key);
  if (usage === undefined || --usage.connectionCount > 0) return;
  usageByDatabase.delete(key);
  for (const fd of usage.waiting) closeSync(fd);
}

/** The files of a database that stay open beside a connection. */
export interface HeldFiles {
  readonly databaseFd: number;
  readonly journalFd: number | null;
  /** Closes the files. */
  readonly release: () => void;
}

/**
 * Opens all existing files of a database before SQLite does, so that none of them blocks SQLite. Count the
 * connection first: then none of these descriptors closes beside it.
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
 * Refuses a -wal, -shm or -journal that has a second name and another owner than the database. The owner of
 * the folder may have linked another user's file there, and root would write into it.
 */
function requireOwnCompanion(path: string, fd: number, databaseFd: number): void {
  const { nlink, uid } = fstatSync(fd);
  const owner = fstatSync(databaseFd).uid;
  if (nlink < 2 || uid === owner) return;
  const found = `it is one of ${nlink} names of a file of user ${uid}, and the database is user ${owner}'s`;
  throw new WalrustError("database", `Cannot use ${path}: ${found}`, {
    hint: "Remove the hard link: the file belongs to another database",
    context: { path },
  });
}

/** Null for a file that is missing or that walrust may not open: SQLite reports the latter itself. */
function openHeldOrNull(path: string): number | null {
  try {
    return openRegularOrNull(path, true);
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    return null;
  }
}

/**
 * Reads the header of the database at `path`, without SQLite and without an effect on our locks.
 * @throws WalrustError "database" when there is no file, or it is no SQLite database.
 */
export function readDatabaseHeader(path: string): DatabaseHeader {
  const stats = statSync(path, { bigint: true, throwIfNoEntry: false });
  if (stats === undefined || !stats.isFile()) {
    const isFolder = stats?.isDirectory() === true;
    const other = isFolder ? "it is a folder" : "it is not a regular file";
    const found = stats === undefined ? "there is nothing" : other;
    throw new WalrustError("database", `Cannot read ${path}: ${found}, expected a SQLite database`, {
      hint: isFolder
        ? `Name a database file in it, or all of them with a glob: '${path}/*.db'`
        : "Check the path; a database must exist before it can be replicated",
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
