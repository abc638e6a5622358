/**
 * Byte-range locks of an open file description: `fcntl(F_OFD_SETLK)` through `bun:ffi`.
 *
 * They conflict with the POSIX locks of every SQLite connection, including those of our own process. Unlike
 * POSIX locks they survive when another descriptor of the file closes. They end when their own descriptor
 * closes, so a SIGKILL of this process leaves no lock behind. No call blocks.
 *
 * `struct flock` on 64-bit Linux (x64 and arm64 alike), little-endian, 32 bytes:
 *   0  2  l_type    F_RDLCK 0, F_WRLCK 1, F_UNLCK 2
 *   2  2  l_whence  SEEK_SET 0
 *   8  8  l_start   byte offset
 *  16  8  l_len     bytes
 *  24  4  l_pid     must be 0 for OFD commands; F_OFD_GETLK returns the holder, -1 for another OFD lock
 */
import { FFIType, type Pointer, ptr, read } from "bun:ffi";
import { libcFunctionsOrNull } from "../../env.ts";
import { WalrustError } from "../../errors.ts";

/** A shared lock is compatible with other shared locks, an exclusive lock with none. */
export type LockMode = "shared" | "exclusive";

const F_OFD_GETLK = 36;
const F_OFD_SETLK = 37;
const F_RDLCK = 0;
const F_WRLCK = 1;
const F_UNLCK = 2;

const EINTR = 4;
const EAGAIN = 11;
const EACCES = 13;
const ENOLCK = 37;
const EINTR_RETRIES_MAX = 1000;
/**
 * The runtime may change errno between `fcntl` and the second foreign call that reads it. So an unexpected
 * value is retried.
 */
const ODD_ERRNO_RETRIES_MAX = 3;

const TYPE_OFFSET = 0;
const START_OFFSET = 8;
const LENGTH_OFFSET = 16;
const PID_OFFSET = 24;
const FLOCK_SIZE = 32;

interface Libc {
  fcntl(fd: number, command: number, flock: Pointer): number;
  errnoLocation(): Pointer | bigint | null;
}

const flock = new DataView(new ArrayBuffer(FLOCK_SIZE));
let libc: Libc | null | undefined;

function libcOrNull(): Libc | null {
  if (libc === undefined) libc = loadLibcOrNull();
  return libc;
}

function loadLibcOrNull(): Libc | null {
  if (process.platform !== "linux" || (process.arch !== "x64" && process.arch !== "arm64")) return null;
  const functions = libcFunctionsOrNull({
    fcntl: { args: [FFIType.i32, FFIType.i32, FFIType.ptr], returns: FFIType.i32 },
    __errno_location: { args: [], returns: FFIType.ptr },
  });
  return functions && { fcntl: functions.fcntl, errnoLocation: functions.__errno_location };
}

/** Whether this platform has OFD locks and a libc to reach them through. */
export function ofdLocksSupported(): boolean {
  return libcOrNull() !== null;
}

/** Takes a shared lock on `length` bytes from `start`; false when another holder has an exclusive lock. */
export function lockShared(fd: number, start: number, length: number): boolean {
  return setLock(fd, F_RDLCK, start, length);
}

/** Takes an exclusive lock through a writable descriptor; false when another holder has any lock there. */
export function lockExclusive(fd: number, start: number, length: number): boolean {
  return setLock(fd, F_WRLCK, start, length);
}

/** Drops all locks of this descriptor on `length` bytes from `start`. */
export function unlock(fd: number, start: number, length: number): void {
  setLock(fd, F_UNLCK, start, length);
}

/**
 * Whether the system would refuse a lock of this mode: with "shared", whether another holder has an exclusive
 * lock; with "exclusive", whether another holder has any lock.
 */
export function isLockedByOther(fd: number, start: number, length: number, mode: LockMode): boolean {
  return lockHolderOrNull(fd, start, length, mode) !== null;
}

/**
 * The process id of one holder of a lock that conflicts with this mode, or null when there is none. It is -1
 * for an OFD lock and 0 for a process of another pid namespace, so it distinguishes holders without naming
 * them.
 */
export function lockHolderOrNull(fd: number, start: number, length: number, mode: LockMode): number | null {
  const errno = callFcntl(fd, F_OFD_GETLK, mode === "shared" ? F_RDLCK : F_WRLCK, start, length);
  if (errno !== 0) throw lockError(fd, start, errno);
  return flock.getInt16(TYPE_OFFSET, true) === F_UNLCK ? null : flock.getInt32(PID_OFFSET, true);
}

function setLock(fd: number, type: number, start: number, length: number): boolean {
  const errno = callFcntl(fd, F_OFD_SETLK, type, start, length);
  if (errno === 0) return true;
  if (errno === EAGAIN || errno === EACCES) return false;
  throw lockError(fd, start, errno);
}

/** Writes a safe integer from 0. Each poll of a pin asks for a lock, and bigints would be garbage. */
function setInt64(offset: number, value: number): void {
  flock.setUint32(offset, value >>> 0, true);
  flock.setUint32(offset + 4, Math.floor(value / 0x1_0000_0000), true);
}

/** @returns 0, or the errno of the call */
function callFcntl(fd: number, command: number, type: number, start: number, length: number): number {
  const library = libcOrNull();
  if (library === null) {
    throw new WalrustError("database", "Cannot lock: this platform has no open-file-description locks", {
      hint: "walrust pins databases on Linux x64 and arm64 only",
    });
  }
  let errno = EINTR;
  let oddCount = 0;
  for (let attempt = 0; attempt < EINTR_RETRIES_MAX; attempt++) {
    flock.setInt16(TYPE_OFFSET, type, true);
    flock.setInt16(TYPE_OFFSET + 2, 0, true);
    setInt64(START_OFFSET, start);
    setInt64(LENGTH_OFFSET, length);
    setInt64(PID_OFFSET, 0);
    if (library.fcntl(fd, command, ptr(flock)) !== -1) return 0;
    const location = library.errnoLocation();
    errno = location === null ? -1 : read.i32(Number(location) as Pointer, 0);
    if (errno === EAGAIN || errno === EACCES) return errno;
    if (errno !== EINTR && ++oddCount > ODD_ERRNO_RETRIES_MAX) return errno;
  }
  return errno;
}

function lockError(fd: number, start: number, errno: number): WalrustError {
  return new WalrustError("database", `Cannot lock byte ${start} of descriptor ${fd}: errno ${errno}`, {
    context: { errno, start },
    ...(errno === ENOLCK ? { hint: "The file system or the kernel is out of locks (ENOLCK)" } : {}),
  });
}
