/**
 * Detects changes of the files of a pinned database: a database file that another program than SQLite
 * overwrote, and files that were replaced or removed.
 *
 * `cp old.db app.db` keeps the inode and overwrites the content. The history may continue with the new
 * content if every frame of the WAL was in the file before: SQLite then reads no frame, and the next writer
 * begins the WAL anew. Otherwise the WAL may hold pages of the old content, and file and WAL read together
 * are a mixture. The page sums show whether the content changed at all, since `touch` changes only the times.
 * While file and WAL are a mixture, nothing is captured and the pin stays: it keeps checkpoints from writing
 * the old pages into the new file until a person has moved the WAL away.
 */
import { existsSync, fstatSync, statSync } from "node:fs";
import { readHeaderOf } from "../../database/files/descriptors.ts";
import type { Pin } from "../../database/pin/pin.ts";
import { compareContent } from "../../database/wal/compare-content.ts";
import { walEndOfIndexOrNull } from "../../database/wal/wal-end.ts";
import { foreignWalError } from "../../database/wal/wal-gate.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import type { LiveDatabase } from "./live-database.ts";
import { rememberedPages } from "./wal-evidence.ts";

/** The reason of an anchor after another program wrote the database file. */
export const OVERWRITTEN = "the database file was overwritten by something that is not SQLite";

/**
 * The system's events for the files of a database since these were last checked.
 * - "touched": one of them was removed, replaced, or closed by a program that may have overwritten the file.
 * - "written": the WAL was written, and no other event came, unless one was lost.
 * - "still": no event came, unless one was lost.
 * - "unknown": there are no events.
 */
export type FileNews = "touched" | "written" | "still" | "unknown";

/**
 * How a database file was overwritten since it was pinned.
 * - "harmless": its WAL holds nothing of the old content.
 * - "mixture": its WAL may hold pages of the old content.
 * - "anew": as "harmless", but the page size or the mode changed, or the wal-index of an empty WAL states the
 *   size of the old file, so the database has to be pinned again.
 */
export type Overwrite = "none" | "harmless" | "mixture" | "anew";

/** Detects whether another program than SQLite overwrote the database file. */
export function detectOverwrite(live: LiveDatabase): Overwrite {
  const { pin } = live;
  // Without locks, checkpoints of the application write the file, and a difference follows each of them.
  if (pin.isLockless || !pin.isRewritten()) return "none";
  if (pin.isBackfilled()) return judgeBackfilled(pin);
  // All frames of the last poll were in the file. Later ones belong to the new content only if newer.
  if (!live.mayRestart || !isWalNewer(pin)) return "mixture";
  return isSameKind(pin) ? "harmless" : "anew";
}

/** Whether the -wal was written after the database file. */
function isWalNewer({ walPath, databaseFd }: Pin): boolean {
  const wal = statSync(walPath, { bigint: true, throwIfNoEntry: false });
  return wal !== undefined && wal.mtimeNs > fstatSync(databaseFd, { bigint: true }).mtimeNs;
}

/** Whether the file has the page size that was pinned, and is in WAL mode. */
function isSameKind({ databaseFd, pageSizeBytes }: Pin): boolean {
  const header = readHeaderOf(databaseFd);
  return header.isWal && header.pageSizeBytes === pageSizeBytes;
}

/**
 * Judges a file whose WAL is backfilled. SQLite takes the size from the wal-index if that states one.
 */
function judgeBackfilled(pin: Pin): Overwrite {
  const index = pin.walIndex();
  const pageCount = Math.floor(fstatSync(pin.databaseFd).size / pin.pageSizeBytes);
  const isSameSize = index === null || index.pageCount === 0 || index.pageCount === pageCount;
  if (isSameSize && isSameKind(pin)) return "harmless";
  return index?.mxFrame === 0 ? "anew" : "mixture";
}

/**
 * Whether the file was overwritten in a way that only an anchor has to follow.
 * @throws WalrustError code "database-busy" when the file may be a mixture or has to be pinned again
 */
export function isOverwritten(live: LiveDatabase): boolean {
  const found = detectOverwrite(live);
  if (found === "none" || found === "harmless") return found === "harmless";
  throw new WalrustError("database-busy", `Cannot read ${live.path} yet: ${OVERWRITTEN}`, {
    retryable: true,
  });
}

/**
 * Compares an overwritten file with the page sums, and accepts the file if its content is the same.
 * @throws WalrustError code "foreign-wal" when the content differs; the pin stays as it is
 */
export async function judgeMixture(live: LiveDatabase, env: Env): Promise<void> {
  const { state, path, paths, pin } = live;
  if (pin.isLockless) return;
  // Under a mark checkpoints go as far as the mark.
  pin.freeze();
  const reason = "they hold pages of the content that was overwritten";
  if (state === null || state.wal === null) throw foreignWalError(path, reason, true);
  const pages = rememberedPages(state, state.wal, paths.sumsPath);
  live.compared = await compareContent(path, pages, () => env.turn(), live.compared ?? null);
  const { content } = live.compared;
  // An application that has the database open reads file and WAL together already.
  const isAccepted = content === "current" || (content === "same" && !pin.isAlone());
  if (!isAccepted) throw foreignWalError(path, reason, content !== "other");
  pin.acceptFile();
}

/**
 * Why a job or a capture misses files that only attaching again can find, or null.
 * @param isJobDue whether a job is due that reads the database
 * @param hasFailed whether the last poll or job failed
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

/** Whether the wal-index shows frames of a WAL that is not at the path, so that no image can be read. */
function isWalLost({ pin }: LiveDatabase): boolean {
  const index = pin.isLockless ? null : pin.walIndex();
  return index !== null && index.mxFrame > 0 && walEndOfIndexOrNull(pin.walPath, index) === null;
}

/** Whether all files of the state folder exist. The page sums exist from the first anchor on. */
function isWhole({ state, paths: { folder, spoolFolder, sumsPath } }: LiveDatabase): boolean {
  const needed = state === null ? [folder, spoolFolder] : [folder, spoolFolder, sumsPath];
  return needed.every((path) => existsSync(path));
}
