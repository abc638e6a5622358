/**
 * Starts this program as its own helper, and ties a helper to its parent: the kernel signals the helper when
 * the parent is gone, and SIGKILL ends it even inside a long native call. The tie is for Linux only
 * (`prctl`); elsewhere nothing happens.
 */
import { existsSync } from "node:fs";
import { constants } from "node:os";
import { libcFunctionsOrNull } from "../../env.ts";

const PR_SET_PDEATHSIG = 1;
/** The running executable, even after a newer version was installed over it. */
const OWN_EXECUTABLE = "/proc/self/exe";

/**
 * From now on this process gets a signal when its parent ends. The program that replaces the process by
 * `execve` gets the signal too, unless it changes its user.
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

/**
 * The command that starts this program as its own helper; null when walrust runs inside another program.
 * @param word the first argument, which no help shows: it selects what the helper does
 */
export function helperCommandOrNull(word: string): string[] | null {
  const executable = existsSync(OWN_EXECUTABLE) ? OWN_EXECUTABLE : process.execPath;
  const words = [word, String(process.pid)];
  if (Bun.main.startsWith("/$bunfs/")) return [executable, ...words];
  // From source, Bun runs main.ts. Any other main module is another program, which is not started again.
  if (Bun.main.endsWith("/src/main.ts")) return [executable, Bun.main, ...words];
  return null;
}
