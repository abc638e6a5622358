/**
 * Ties a helper process to its parent: the kernel signals the helper when the parent is gone, and SIGKILL
 * ends it even inside a long native call. Linux only (`prctl`); elsewhere nothing happens.
 */
import { constants } from "node:os";
import { libcFunctionsOrNull } from "../../env.ts";

const PR_SET_PDEATHSIG = 1;

/**
 * From now on this process dies with its parent.
 * @param signal the signal that this process gets then
 * @returns false when the parent, of this id, is gone already
 */
export function dieWithParent(parentPid: number, signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): boolean {
  if (process.platform !== "linux") return true;
  const libc = libcFunctionsOrNull({
    prctl: { args: ["i32", "u64", "u64", "u64", "u64"], returns: "i32" },
  });
  libc?.prctl(PR_SET_PDEATHSIG, constants.signals[signal], 0, 0, 0);
  return process.ppid === parentPid;
}
