/**
 * Judges, after the last capture of a database, whether its application has commits that no capture has,
 * although nothing failed: they are in files that walrust cannot read. The next watch cannot capture them
 * either, so the end of this watch has to report them.
 */
import { existsSync, fstatSync } from "node:fs";
import { PATIENT } from "../../database/files/other-connections.ts";
import { pinModeOf } from "../../database/pin/open-pin.ts";
import { hidesCommits } from "../../database/pin/pin-mode.ts";
import type { Env } from "../../env.ts";
import { asWalrustError, WalrustError } from "../../errors.ts";
import { fateOf } from "../capture/deleted-capture.ts";
import { busyError } from "../capture/frozen-capture.ts";
import type { LiveDatabase } from "../capture/live-database.ts";

/**
 * Why commits are left that no capture has, or null. Call it before the pin is released.
 * @param anchorReason why the history is broken, if the spool had no room for an anchor
 */
export function unreadReasonOrNull(
  live: LiveDatabase,
  anchorReason: string | null,
  env: Env,
): WalrustError | null {
  const { pin, path } = live;
  try {
    if (fstatSync(pin.databaseFd).nlink === 0) return isLost(live) ? lostError(live) : null;
    if (anchorReason !== null && pin.changedFile() === "none") return busyError(live, anchorReason);
    // With a pin all users share the wal-index. The users may have changed since the attach.
    if (!pin.isLockless || !existsSync(path)) return null;
    const { condition } = pinModeOf(path, env, false, PATIENT);
    if (condition === null || !hidesCommits(condition)) return null;
    const { message, hint } = condition;
    return new WalrustError("database", message, hint === undefined ? {} : { hint });
  } catch (error) {
    return asWalrustError(error);
  }
}

/**
 * Whether an application has commits in a deleted file that no file with a name has. A deleted file that
 * nobody has open is the usual end of a database.
 */
function isLost(live: LiveDatabase): boolean {
  return !live.pin.isAlone() && fateOf(live) === "lost";
}

function lostError({ path, state }: LiveDatabase): WalrustError {
  const point = state === null ? "" : ` after TXID ${state.txid}`;
  return new WalrustError("database", `${path} was deleted in use: no file has its commits${point}`, {
    hint: "Stop an application before its database is deleted, or while walrust still runs",
  });
}
