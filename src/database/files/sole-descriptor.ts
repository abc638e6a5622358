/**
 * Shows whether a descriptor is the last access to a file: whether the file has no name any more, and no
 * other descriptor of this or any other process is open.
 *
 * The kernel grants a write lease (`fcntl(F_SETLEASE, F_WRLCK)`) only if no other descriptor of the file is
 * open. Nobody can open a file without a name, so the answer stays true, and the lease ends at once. The
 * kernel would send the holder of a lease a signal that ends the process.
 */
import { FFIType } from "bun:ffi";
import { fstatSync } from "node:fs";
import { libcFunctionsOrNull } from "../../env.ts";

const F_SETLEASE = 1024;
const F_WRLCK = 1;
const F_UNLCK = 2;

type Fcntl = (fd: number, command: number, argument: number) => number;

let fcntl: Fcntl | null | undefined;

function fcntlOrNull(): Fcntl | null {
  if (fcntl === undefined) fcntl = loadFcntlOrNull();
  return fcntl;
}

function loadFcntlOrNull(): Fcntl | null {
  if (process.platform !== "linux") return null;
  // The argument is a `long`.
  const args = [FFIType.i32, FFIType.i32, FFIType.i64];
  return libcFunctionsOrNull({ fcntl: { args, returns: FFIType.i32 } })?.fcntl ?? null;
}

/**
 * Whether a writable descriptor of our own file is the last access to the file. False where the system or the
 * file system cannot tell.
 */
export function isLastAccess(fd: number): boolean {
  const call = fcntlOrNull();
  if (call === null || fstatSync(fd).nlink !== 0) return false;
  if (call(fd, F_SETLEASE, F_WRLCK) !== 0) return false;
  call(fd, F_SETLEASE, F_UNLCK);
  return true;
}
