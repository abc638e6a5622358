/**
 * Ties a helper process to its parent: the kernel kills the helper when the parent is gone, even when the
 * helper is inside a long native call. Linux only (`prctl`); elsewhere nothing happens.
 */
import { libcFunctionsOrNull } from "../../env.ts";

const PR_SET_PDEATHSIG = 1;
const SIGKILL = 9;

/**
 * From now on this process dies with its parent.
 * @returns false when the parent, of this id, is gone already
 */
export function dieWithParent(parentPid: number): boolean {
  if (process.platform !== "linux") return true;
  const libc = libcFunctionsOrNull({
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  });
  libc?.prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  return process.ppid === parentPid;
}
