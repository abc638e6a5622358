/**
 * A database file that something other than SQLite wrote while it was pinned, such as `cp old.db app.db`,
 * which leaves the inode: whether the history may go on with the new content.
 *
 * It may when every frame of the WAL was in the file before: SQLite then reads none of them, and the next
 * writer begins the WAL anew. Otherwise the WAL may hold pages of the old content, and everybody who reads
 * the two together sees a mixture. The page sums tell whether the content is another one at all (`touch`
 * changes only the times). While it is a mixture, nothing is captured, and the pin stays: it keeps
 * checkpoints from writing the old pages into the new file until somebody has moved the WAL away.
 */
import { existsSync, fstatSync } from "node:fs";
import { readHeaderOf } from "../../database/files/descriptors.ts";
import type { Pin } from "../../database/pin/pin.ts";
import { foreignWalError } from "../../database/wal/own-wal.ts";
import { compareContent } from "../../database/wal/wal-content.ts";
import { markOfIndexOrNull } from "../../database/wal/wal-follow.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { LiveDatabase } from "./live-database.ts";
import { rememberedPages } from "./wal-evidence.ts";

/** Why a history is anchored anew when something that is not SQLite wrote the database file. */
export const OVERWRITTEN = "the database file was overwritten by something that is not SQLite";

/** What a look at a file that may have been written over finds. */
export type Overwrite = "none" | "harmless" | "mixture" | "anew";

/**
 * "mixture": the file was written, and its WAL holds pages that are not in it. "anew": it does not, but the
 * page size or the mode is another, or the wal-index of an empty WAL states the old file's size.
 */
export function detectOverwrite(live: LiveDatabase): Overwrite {
  const { pin } = live;
  // Without locks the application's checkpoints write the file; a difference follows each of them.
  if (pin.isLoose || !pin.isRewritten()) return "none";
  if (pin.isBackfilled()) return judgeBackfilled(pin);
  // All was in the file at the last look; what came since then is of the new content only if it came later.
  if (!live.mayRestart || !pin.isWalNewer()) return "mixture";
  return isSameKind(pin) ? "harmless" : "anew";
}

/** Whether the file has the page size that was pinned, and is in WAL mode. */
function isSameKind({ databaseFd, pageSizeBytes }: Pin): boolean {
  const header = readHeaderOf(databaseFd);
  return header.isWal && header.pageSizeBytes === pageSizeBytes;
}

/** SQLite takes the size of a database from the wal-index as long as that states one. */
function judgeBackfilled(pin: Pin): Overwrite {
  const index = pin.walIndex();
  const pageCount = Math.floor(fstatSync(pin.databaseFd).size / pin.pageSizeBytes);
  const isSameSize = index === null || index.pageCount === 0 || index.pageCount === pageCount;
  if (isSameSize && isSameKind(pin)) return "harmless";
  return index?.mxFrame === 0 ? "anew" : "mixture";
}

/**
 * Whether the file was written over, and only the history has to be anchored anew.
 * @throws WalrustError code "database-busy" while it has to be found out whether it is a mixture, or it has
 *   to be pinned again
 */
export function isOverwritten(live: LiveDatabase): boolean {
  const found = detectOverwrite(live);
  if (found === "none" || found === "harmless") return found === "harmless";
  throw new WalrustError("database-busy", `Cannot read ${live.path} yet: ${OVERWRITTEN}`, {
    retryable: true,
  });
}

/**
 * Compares a file that was written over with the page sums, and accepts it if its content is the same.
 * @throws WalrustError code "foreign-wal" when it is not; the pin stays as it is
 */
export async function judgeMixture(live: LiveDatabase, env: Env): Promise<void> {
  const { state, path, paths, pin } = live;
  if (pin.isLoose) return;
  // Under a mark checkpoints go as far as the mark.
  pin.freeze();
  const reason = "they hold pages of the content that was overwritten";
  if (state === null || state.wal === null) throw foreignWalError(path, reason, true);
  const pages = rememberedPages(state, state.wal, paths.sumsPath);
  live.compared = await compareContent(path, pages, () => env.turn(), live.compared ?? null);
  const { content } = live.compared;
  // An application that has it open reads the two together already.
  const isAccepted = content === "current" || (content === "same" && !pin.isAlone());
  if (!isAccepted) throw foreignWalError(path, reason, content !== "other");
  pin.acceptFile();
}

/**
 * Why the files that a job or a capture needs are not there any more, or null: then only attaching again
 * helps.
 * @param isJobDue whether a job is due that reads the database
 * @param hasFailed whether the last look or job failed
 */
export function lostFilesReasonOrNull(
  live: LiveDatabase,
  isJobDue: boolean,
  hasFailed: boolean,
): string | null {
  if (isJobDue && live.pin.changedFile() !== "none") return "its files were replaced";
  if (isJobDue && hasFailed && isWalLost(live)) return "the WAL is not the one that its index shows";
  const isGone = hasFailed && !isWhole(live);
  return isGone ? "files of its state folder are gone" : null;
}

/** Whether the wal-index shows frames of a WAL that is not at the path: no image can be read with it. */
function isWalLost({ pin }: LiveDatabase): boolean {
  const index = pin.isLoose ? null : pin.walIndex();
  return index !== null && index.mxFrame > 0 && markOfIndexOrNull(pin.walPath, index) === null;
}

/** The page sums are there from the first anchor on. */
function isWhole({ state, paths: { folder, spoolFolder, sumsPath } }: LiveDatabase): boolean {
  const needed = state === null ? [folder, spoolFolder] : [folder, spoolFolder, sumsPath];
  return needed.every((path) => existsSync(path));
}
