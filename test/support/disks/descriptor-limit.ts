/** Takes the descriptors away from this process for the length of one call. */
import { FFIType, ptr } from "bun:ffi";
import { closeSync, openSync } from "node:fs";
import { libcFunctionsOrNull } from "../../../src/env.ts";

const RLIMIT_NOFILE = 7;
const { i32 } = FFIType;
const libc = libcFunctionsOrNull({
  prlimit: { args: [i32, i32, FFIType.ptr, FFIType.ptr], returns: i32 },
});

/** Makes a call that can open `spare` more files at a time. @returns the error that it throws, or null */
export function thrownWithoutDescriptors(spare: number, call: () => unknown): unknown {
  const next = openSync("/dev/null", "r");
  closeSync(next);
  const usual = setLimit(next + spare);
  try {
    call();
    return null;
  } catch (error) {
    return error;
  } finally {
    setLimit(usual);
  }
}

/** @returns the limit before */
function setLimit(count: number): number {
  if (libc === null) throw new Error("no prlimit on this system");
  const limits = new BigUint64Array(2);
  if (libc.prlimit(0, RLIMIT_NOFILE, null, ptr(limits)) !== 0) throw new Error("the limit cannot be read");
  const before = Number(limits[0]);
  limits[0] = BigInt(count);
  if (libc.prlimit(0, RLIMIT_NOFILE, ptr(limits), null) !== 0) throw new Error("the limit cannot be set");
  return before;
}
