/**
 * Undo: puts back the file that the last restore or undo at a path replaced. The present file is kept in the
 * same way, so an undo can be undone.
 *
 * The -wal and -journal come back with their database. The -shm does not: SQLite makes it anew, and an
 * application could have opened the database before the old one arrives.
 */
import { resolve } from "node:path";
import { deletedInUseError, usersOfDeleted } from "../../database/deleted-users.ts";
import { isWalrust, stopText, usersOfFiles, usersTextOrNull } from "../../database/files/file-users.ts";
import { takeHostLockOrNull } from "../../database/files/host-lock.ts";
import { isDatabaseInUse } from "../../database/files/in-use.ts";
import type { Env } from "../../env.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import type { LocalPlaces } from "../../local/places.ts";
import { COMPANIONS, isStampOfUndo, type KeptFiles, keptFiles, newStamp, timeOfStamp } from "./kept-files.ts";
import { returnState, type UndoneState } from "./restored-state.ts";
import { assertTargetFree, inUseError, logsOf, replaceTarget, tidyInterrupted } from "./target-file.ts";
import { resolvePlace, TargetFolder } from "./target-folder.ts";

/** The result of an undo. */
export interface UndoResult {
  readonly path: string;
  /** Where the file that is put back was. */
  readonly from: string;
  /** When that file was replaced, ms since the epoch. */
  readonly replacedMs: number;
  /** Whether an undo had replaced that file: then this undo takes back the last one. */
  readonly wasUndo: boolean;
  /** Where the file that was at the path is now; null when nothing was there. */
  readonly keptPath: string | null;
  readonly state: UndoneState;
}

/** The surroundings of an undo. */
export interface UndoContext {
  readonly env: Pick<Env, "nowMs">;
  readonly places: LocalPlaces;
}

/**
 * Puts back the file that was replaced last.
 * @throws WalrustError code "restore" when there is none; "database" or "locked" when a process uses one of
 * the two files; "usage" when something else than a file is at the path. Nothing is changed then
 */
export function undoRestore(path: string, context: UndoContext): UndoResult {
  const resolved = resolvePlace(path);
  const shownPath = resolved.isLinked ? resolved.path : resolve(path);
  const folder = TargetFolder.openOrNull(resolved.path);
  if (folder === null) throw nothingToUndo(shownPath);
  try {
    tidyInterrupted(folder);
    const kept = keptFiles(folder).find(({ suffixes }) => suffixes.has(""));
    if (kept === undefined) throw nothingToUndo(shownPath);
    assertTargetFree(folder, true, "Give the path of a database file");
    const users = usersOfDeleted((one) => one === folder.path).get(folder.path);
    if (users !== undefined) throw deletedInUseError(folder.path, users);
    assertNotInUse(folder, kept);
    const hadFile = folder.statsOrNull(folder.name) !== null;
    const release = hadFile ? lockUnwatched(folder) : () => {};
    try {
      return { ...putBack(folder, kept, hadFile, context), path: shownPath };
    } finally {
      release();
    }
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    throw new WalrustError("database", `Cannot put back a file at ${shownPath}: ${systemCode(error)}`, {
      hint: "The user needs permission to rename files in the folder",
      cause: error,
    });
  } finally {
    folder.close();
  }
}

function putBack(
  folder: TargetFolder,
  kept: KeptFiles,
  hadFile: boolean,
  { env, places }: UndoContext,
): Omit<UndoResult, "path"> {
  const stats = folder.statsOrNull(kept.name);
  if (stats === null) throw nothingToUndo(folder.path);
  const wasUndo = isStampOfUndo(kept.stamp);
  // An undo that takes back another leaves the restored file at the path, as a restore does.
  const stamp = newStamp(folder, env.nowMs(), wasUndo ? "restore" : "undo");
  const state = returnState(folder.path, kept.stamp, stamp, places);
  const moved = replaceTarget(folder, { name: kept.name, stats, logs: logsOf(folder, kept.name) }, stamp);
  for (const suffix of COMPANIONS) folder.remove(`${kept.name}${suffix}`);
  const replacedMs = timeOfStamp(kept.stamp);
  return { from: folder.shown(kept.name), replacedMs, wasUndo, keptPath: hadFile ? moved : null, state };
}

/** The kept file may be open in a shell: its -wal would stay under the other name. */
function assertNotInUse(folder: TargetFolder, { name }: KeptFiles): void {
  if (isDatabaseInUse(folder.at(name))) throw inUseError(folder.shown(name));
}

/** Takes the host lock of the present file. @throws WalrustError code "locked" when a watch holds it */
function lockUnwatched(folder: TargetFolder): () => void {
  const release = takeHostLockOrNull(folder.at(folder.name));
  if (release !== null) return release;
  const users = usersOfFiles([folder.path]).get(folder.path)?.filter(isWalrust) ?? [];
  const who = usersTextOrNull(users);
  throw new WalrustError(
    "locked",
    `Another walrust works on ${folder.path}${who === null ? "" : `: ${who}`}`,
    {
      hint: `Stop the watch${who === null ? "" : ` (${stopText(users)})`} and the application before an undo`,
    },
  );
}

function nothingToUndo(path: string): WalrustError {
  return new WalrustError("restore", `There is nothing to undo: no restore has replaced ${path}`, {
    hint: "`walrust restore --force` keeps the file that it replaces as PATH.pre-restore-<time>",
    context: { path },
  });
}
