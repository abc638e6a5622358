/**
 * Opens the files of a database without blocking, and without following a link. The folder may belong to
 * another user, who can put anything there at any moment. No open may block the process, which watches
 * hundreds of other databases.
 *
 * - O_NONBLOCK: a FIFO without a writer, a device and a file under a lease (fcntl F_SETLEASE) answer at once.
 * - O_NOFOLLOW: paths are resolved before; SQLite follows no link to a -wal, -shm or -journal either.
 * - Only a regular file is accepted.
 * SQLite's own opens do block, on a FIFO as -journal and on leases. So walrust opens all files of a database
 * by these rules first, and keeps them open while SQLite opens them: the kernel grants no lease on a file
 * that is open for writing.
 */
import { accessSync, closeSync, constants, fstatSync, openSync, readlinkSync, type Stats } from "node:fs";
import { dirname } from "node:path";
import { systemCode, WalrustError } from "../../errors.ts";

const { O_RDONLY, O_RDWR, O_NOFOLLOW, O_NONBLOCK } = constants;
const O_CLOEXEC = 0o2000000;

/** The ways out for a user who may not use a file. */
const WAYS = "run walrust as the user of the application, or give this user access (chgrp, setfacl)";

/** An open regular file, and its attributes when it was opened. */
export interface RegularFile {
  readonly fd: number;
  readonly stats: Stats;
}

/**
 * Opens a regular file for reading, and for writing with `isWriting`.
 * @throws WalrustError code "database" when it is no regular file; "database-busy", retryable, when another
 * process holds a lease on it; or the system's error
 */
export function openRegular(path: string, isWriting: boolean): number {
  return openRegularFile(path, isWriting).fd;
}

/** As `openRegular`, with the attributes. */
export function openRegularFile(path: string, isWriting: boolean): RegularFile {
  let fd: number;
  try {
    fd = openSync(path, (isWriting ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  } catch (error) {
    throw openError(path, error);
  }
  const stats = fstatSync(fd);
  if (stats.isFile()) return { fd, stats };
  closeSync(fd);
  throw notRegular(path, stats.isFIFO() ? "it is a FIFO" : "it is a folder or device");
}

/** As `openRegular`; null when the file is missing. */
export function openRegularOrNull(path: string, isWriting: boolean): number | null {
  try {
    return openRegular(path, isWriting);
  } catch (error) {
    if (systemCode(error) === "ENOENT") return null;
    throw error;
  }
}

/**
 * Whether an open file was at this path, without a link on the way, when it was opened. Another user may have
 * replaced a folder of the path by a link. True on a system without /proc.
 */
export function isOpenAt(fd: number, path: string): boolean {
  let opened: string;
  try {
    opened = readlinkSync(`/proc/self/fd/${fd}`);
  } catch {
    return true;
  }
  return opened === path;
}

/** The system's answer to an open, in words where the code alone is often not understood. */
export function answerText(error: unknown): string {
  const code = systemCode(error) ?? "unknown error";
  return isRefusal(code) ? `permission denied (${code})` : code;
}

/** The remedy for a file that this user may not open, or null for any other failure. */
export function permissionHintOrNull(path: string, error: unknown): string | null {
  if (!isRefusal(systemCode(error) ?? "")) return null;
  const closed = closedFolderOrNull(path);
  const what = closed === null ? `read and write ${path}` : `enter the folder ${closed}`;
  return `This user (uid ${process.geteuid?.() ?? 0}) may not ${what}: ${WAYS}`;
}

/** The remedy for a folder in which this user may not make the -wal and -shm of a database, or null. */
export function folderHintOrNull(path: string): string | null {
  const folder = dirname(path);
  try {
    accessSync(folder, constants.W_OK | constants.X_OK);
    return null;
  } catch (error) {
    const system = systemCode(error);
    if (system === "EROFS") return `${folder} is on a file system that is mounted read-only`;
    const user = `This user (uid ${process.geteuid?.() ?? 0})`;
    return `${user} may not write to ${folder}, where SQLite makes the -wal and -shm: ${WAYS}`;
  }
}

function isRefusal(code: string): boolean {
  return code === "EACCES" || code === "EPERM";
}

/** The first folder on the way to a file that this user may not enter, or null. */
function closedFolderOrNull(path: string): string | null {
  const folder = dirname(path);
  const closed = folder === path ? null : closedFolderOrNull(folder);
  if (closed !== null || folder === path) return closed;
  try {
    accessSync(folder, constants.X_OK);
    return null;
  } catch {
    return folder;
  }
}

function openError(path: string, error: unknown): unknown {
  const code = systemCode(error);
  if (code === "ELOOP") return notRegular(path, "it is a symbolic link", error);
  if (code === "ENXIO") return notRegular(path, "it is a socket or has no device", error);
  if (code === "EISDIR") return notRegular(path, "it is a folder", error);
  if (code !== "EAGAIN") return error;
  return new WalrustError("database-busy", `Cannot open ${path} now: another process holds a lease on it`, {
    hint: "End the program that took the lease (fcntl F_SETLEASE); /proc/locks shows its process",
    context: { path },
    retryable: true,
    cause: error,
  });
}

function notRegular(path: string, found: string, cause?: unknown): WalrustError {
  return new WalrustError("database", `Cannot use ${path}: ${found}, expected a regular file`, {
    hint: "Remove it from the place of the database's file",
    context: { path },
    cause,
  });
}
