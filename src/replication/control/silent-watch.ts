/**
 * The error for a watch that does not answer, with the state in which the system has its process. No signal
 * is sent to the process.
 */
import { isStoppedState, processStateOrNull } from "../../database/files/file-users.ts";
import { WalrustError } from "../../errors.ts";

const STATE_TEXTS: Readonly<Record<string, string>> = {
  R: "it is computing",
  S: "it is waiting",
  D: "it is waiting for a disk or a network file system",
  Z: "it has ended, and its parent has not noticed",
};

/** The error for a watch that has sent nothing for `waitedMs`. */
export function silentError(pid: number, waitedMs: number, procFolder?: string): WalrustError {
  const state = processStateOrNull(pid, procFolder);
  const message = `The watch with pid ${pid} does not answer`;
  const waited = `${Math.round(waitedMs / 1000)} s`;
  const context = { pid };
  if (isStoppedState(state)) {
    return new WalrustError("locked", `${message}: the process is stopped (SIGSTOP) and captures nothing`, {
      hint: `Let it go on: kill -CONT ${pid}. Commits of the meantime are captured then`,
      context,
    });
  }
  const known = STATE_TEXTS[state ?? ""];
  const found = known === undefined ? "it" : `the process exists (${known}) and`;
  return new WalrustError("locked", `${message}: ${found} has sent nothing for ${waited}`, {
    hint:
      `Try again; if it stays silent, its log has the last thing it did: end it (kill -KILL ${pid}) and ` +
      "start it again, no commit is lost",
    context,
  });
}
