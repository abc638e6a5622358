/**
 * The rules for opening a file of ours. Every open of state, spool, page sums and marks goes through here.
 *
 * A file counts as ours if and only if
 *  1. the last name of its path is no symbolic link (O_NOFOLLOW),
 *  2. it is a regular file; a FIFO, device, socket or folder is closed again at once,
 *  3. its owner is our effective user, and
 *  4. its size is at most what the caller expects.
 * Opening never blocks: O_NONBLOCK returns at once for a FIFO without a writer, and for a file under a lease.
 * Opening also removes the rights of other users, because earlier versions left the mode to the umask. A new
 * file gets an unpredictable name, O_EXCL, and mode 0600 from the start. Modes are set on the descriptor,
 * never by path. folder-trust.ts checks the folder around the file.
 */
import {
  close,
  closeSync,
  constants,
  fchmodSync,
  fstatSync,
  ftruncate,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  type Stats,
  unlinkSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { isLastAccess } from "../database/files/sole-descriptor.ts";
import { randomTag } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";

const { O_RDONLY, O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_DIRECTORY } = constants;
const SAFELY = O_NOFOLLOW | O_NONBLOCK;

/** Mode of each file of ours; folders are 0700. */
const FILE_MODE = 0o600;
const OTHERS = 0o077;
/** A file of this size is removed in some ms. */
const FREED_LATER_MIN = 16 << 20;
const FREED_AT_ONCE = 64 << 20;

/** Asked once: no part of walrust changes its user. */
let uid: number | null = null;
let gid: number | null = null;

/** Our effective user id; 0 where the system has none. */
export function ownUid(): number {
  uid ??= process.geteuid?.() ?? 0;
  return uid;
}

/** Our effective group id; 0 where the system has none. */
export function ownGid(): number {
  gid ??= process.getegid?.() ?? 0;
  return gid;
}

/**
 * Opens a file of ours for reading; null when the file is missing.
 * @throws WalrustError code "database": retryable when the system refuses, else the file is not ours
 */
export function openOwnOrNull(path: string): number | null {
  return openChecked(path, O_RDONLY)?.fd ?? null;
}

/** Opens a file of ours for reading. @throws WalrustError code "database", also when the file is missing */
export function openOwn(path: string): number {
  return openChecked(path, O_RDONLY)?.fd ?? missing(path);
}

/** Opens a file of ours for reading and writing in place. @throws WalrustError code "database" */
export function openOwnForUpdate(path: string): number {
  return openChecked(path, O_RDWR)?.fd ?? missing(path);
}

/** An open file of ours, and its attributes when it was opened. */
export interface OwnFile {
  readonly fd: number;
  readonly stats: Stats;
}

/** As `openOwnOrNull`, with the attributes. */
export function openOwnStatsOrNull(path: string): OwnFile | null {
  return openChecked(path, O_RDONLY);
}

/** As `openOwnForUpdate`, with the attributes; null when the file is missing. */
export function openOwnFileOrNull(path: string): OwnFile | null {
  return openChecked(path, O_RDWR);
}

/**
 * Reads a whole file of ours; null when the file is missing.
 * @throws WalrustError code "database" when the file is not ours, or has more than `sizeMax` bytes
 */
export function readOwnOrNull(path: string, sizeMax: number): string | null {
  const bytes = readOwnBytesOrNull(path, sizeMax);
  return bytes === null ? null : new TextDecoder().decode(bytes);
}

/** As `readOwnOrNull`, for a file that is not all text. */
export function readOwnBytesOrNull(path: string, sizeMax: number): Uint8Array | null {
  const file = openChecked(path, O_RDONLY);
  if (file === null) return null;
  try {
    const { size } = file.stats;
    if (size > sizeMax) throw notOurs(path, `it has ${size} bytes, expected at most ${sizeMax}`);
    return readBytes(file.fd, size);
  } finally {
    closeSync(file.fd);
  }
}

/** Reads up to `sizeBytes` bytes from the begin of an open file. */
export function readBytes(fd: number, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  let read = 0;
  while (read < sizeBytes) {
    const count = readSync(fd, bytes, read, sizeBytes - read, read);
    if (count === 0) break;
    read += count;
  }
  return bytes.subarray(0, read);
}

/** A new file under a temporary name. */
export interface TempFile {
  readonly fd: number;
  readonly path: string;
}

/**
 * Creates a temporary file beside `path`. The caller closes the file, and renames or removes it.
 * @throws the system's error
 */
export function createTemp(path: string): TempFile {
  const tempPath = `${path}.${randomTag()}.tmp`;
  const fd = openSync(tempPath, O_RDWR | O_CREAT | O_EXCL | SAFELY, FILE_MODE);
  return { fd, path: tempPath };
}

/**
 * Creates a file under its own name, in a folder of ours, for writing; null when the name is taken. For a
 * file whose content shows by itself whether the file is complete.
 * @throws the system's error
 */
export function createOwnOrNull(path: string): number | null {
  try {
    return openSync(path, O_RDWR | O_CREAT | O_EXCL | SAFELY, FILE_MODE);
  } catch (error) {
    if (systemCode(error) === "EEXIST") return null;
    throw error;
  }
}

/** Replaces the file at `path` as a whole, without fsync. @throws the system's error, leaving no new file */
export function replaceOwn(path: string, content: string | Uint8Array): void {
  const temp = createTemp(path);
  try {
    writeWhole(temp.fd, typeof content === "string" ? new TextEncoder().encode(content) : content);
  } catch (error) {
    closeSync(temp.fd);
    rmSync(temp.path, { force: true });
    throw error;
  }
  closeSync(temp.fd);
  try {
    renameSync(temp.path, path);
  } catch (error) {
    rmSync(temp.path, { force: true });
    throw error;
  }
}

/**
 * Writes all of `bytes`: a nearly full disk accepts only a part at a time.
 * @param position offset in the file, or null for the current one
 * @throws the system's error
 */
export function writeWhole(fd: number, bytes: Uint8Array, position: number | null = null): void {
  for (let written = 0; written < bytes.length; ) {
    const at = position === null ? null : position + written;
    written += writeSync(fd, bytes, written, bytes.length - written, at);
  }
}

/**
 * Removes a file of ours, if it is there. The blocks of a large file are freed on a pool thread: freeing
 * gigabytes takes the file system hundreds of ms. The name is gone when the call returns. Blocks go in steps,
 * because Bun has two pool threads, of which one waits for events. A file that has another name, or that a
 * restore or a merge reads, keeps its content.
 */
export function removeOwn(path: string, sizeBytes: number): void {
  if (sizeBytes < FREED_LATER_MIN) return rmSync(path, { force: true });
  let fd: number;
  try {
    fd = openSync(path, O_RDWR | SAFELY);
  } catch {
    return rmSync(path, { force: true });
  }
  try {
    rmSync(path, { force: true });
  } catch (error) {
    closeSync(fd);
    throw error;
  }
  freeInSteps(fd, isLastAccess(fd) ? sizeBytes : 0);
}

/** Cuts a file without a name, step by step, and closes it. Closing frees the rest after a failure. */
function freeInSteps(fd: number, sizeBytes: number): void {
  const nextBytes = sizeBytes - FREED_AT_ONCE;
  if (nextBytes <= 0) return close(fd, () => {});
  ftruncate(fd, nextBytes, (error) => freeInSteps(fd, error ? 0 : nextBytes));
}

/** Removes the temporary files that a killed process left in a folder of ours. */
export function sweepTemps(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.endsWith(".tmp")) continue;
    try {
      unlinkSync(join(folder, name));
    } catch (error) {
      // ENOENT: already removed. EISDIR, EPERM: a folder, which no process of ours makes under such a name.
      if (!["ENOENT", "EISDIR", "EPERM"].includes(systemCode(error) ?? "")) throw error;
    }
  }
}

/** Sets the mode of a folder of ours to 0700 if others have rights on it. Follows no link. */
export function closeFolderToOthers(folder: string): void {
  const fd = openSync(folder, O_RDONLY | O_DIRECTORY | SAFELY);
  try {
    if ((fstatSync(fd).mode & 0o077) !== 0) fchmodSync(fd, 0o700);
  } finally {
    closeSync(fd);
  }
}

/** Why an open file is not ours, or null. */
export function foreignFileReasonOrNull(
  stats: Pick<Stats, "isFile" | "isFIFO" | "isDirectory" | "uid">,
  uid: number,
): string | null {
  if (!stats.isFile()) {
    const kind = stats.isFIFO() ? "a FIFO" : stats.isDirectory() ? "a folder" : "no regular file";
    return `it is ${kind}, expected a regular file`;
  }
  return stats.uid === uid ? null : `user ${stats.uid} owns it, expected user ${uid}`;
}

function openChecked(path: string, flags: number): OwnFile | null {
  let fd: number;
  try {
    fd = openSync(path, flags | SAFELY);
  } catch (error) {
    const code = systemCode(error);
    if (code === "ENOENT") return null;
    if (code === "EISDIR") throw notOurs(path, "it is a folder, expected a regular file", error);
    if (code === "ENXIO") throw notOurs(path, "it is a socket, expected a regular file", error);
    if (code === "ELOOP") throw notOurs(path, "it is a symbolic link, expected a regular file", error);
    // EAGAIN, among others: another process holds a lease on the file.
    throw new WalrustError("database", `Cannot open ${path}: ${code ?? String(error)}`, {
      context: { path },
      retryable: true,
      cause: error,
    });
  }
  const stats = fstatSync(fd);
  const reason = foreignFileReasonOrNull(stats, ownUid());
  if (reason !== null) {
    closeSync(fd);
    throw notOurs(path, reason);
  }
  if ((stats.mode & OTHERS) !== 0) fchmodSync(fd, FILE_MODE);
  return { fd, stats };
}

function missing(path: string): never {
  throw new WalrustError("database", `Cannot open ${path}: there is no such file`, {
    context: { path },
    retryable: true,
  });
}

function notOurs(path: string, found: string, cause?: unknown): WalrustError {
  return new WalrustError("database", `Cannot use ${path}: ${found}`, {
    hint: "Remove the file if walrust did not make it; walrust then continues from the bucket",
    context: { path },
    cause,
  });
}
