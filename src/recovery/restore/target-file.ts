/**
 * The file that a restore replaces: checks that the file may be replaced, keeps it under another name, and
 * gives the new file the target's name. All names are resolved below the open folder (target-folder.ts). A
 * link in the place of a file is refused.
 *
 * A process may be killed between any two steps of a replacement:
 * 1. If neither file has a log with content, the old file first gets a second name, and then the new file
 *    takes the name of the target: a database is at the target at every moment.
 * 2. A log is of one file alone: SQLite would apply it to another, and a file without its log is silently
 *    older. So while a log is exchanged nothing is at the target, and each kept file is complete.
 * `tidyInterrupted` removes the second names that are left.
 */
import { closeSync, fsyncSync, openSync, type Stats } from "node:fs";
import { isWalrust, stopText, usersOfFiles, usersTextOrNull } from "../../database/files/file-users.ts";
import { isDatabaseInUse } from "../../database/files/in-use.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { COMPANIONS, keptFiles, keptName, type Suffix } from "./kept-files.ts";
import type { TargetFolder } from "./target-folder.ts";

const SUFFIXES: readonly Suffix[] = ["", ...COMPANIONS];
/** The files with commits that the database file may lack. */
const LOGS = ["-wal", "-journal"] as const;

/** The file that takes the target's name. */
export interface Incoming {
  /** Its present name in the folder. */
  readonly name: string;
  /** The `fstat` of the file. */
  readonly stats: Pick<Stats, "dev" | "ino">;
  /** The logs that belong to the file and lie beside it. */
  readonly logs: readonly Suffix[];
}

/**
 * Checks that a restore may use a target. Leftovers of a deleted database (its -wal, after `rm app.db`) do
 * not need `force`: they are moved aside.
 * @throws WalrustError code "usage" when a database is there and `force` is not given; "database" when a
 * process has it open
 */
export function assertTargetFree(
  folder: TargetFolder,
  force: boolean,
  hint = "Give -o the path of a database file",
): void {
  const { name } = folder;
  for (const suffix of SUFFIXES) {
    const stats = folder.statsOrNull(`${name}${suffix}`);
    if (stats === null || stats.isFile()) continue;
    // A device that is moved aside would be gone for everybody.
    const found = stats.isDirectory()
      ? "is a folder"
      : stats.isSymbolicLink()
        ? "became a link meanwhile"
        : "is no regular file";
    throw new WalrustError("usage", `${folder.shown(`${name}${suffix}`)} ${found}`, {
      hint,
    });
  }
  if (folder.statsOrNull(name) === null) return;
  if (!force) {
    throw new WalrustError("usage", `${folder.path} exists`, {
      hint: "Give another -o, or --force to replace the file (walrust keeps the old file beside it)",
    });
  }
  if (isDatabaseInUse(folder.at(name))) throw inUseError(folder.path);
}

/** The error for a database that a process has open, with that process and how to stop it. */
export function inUseError(path: string): WalrustError {
  const users = usersOfFiles([path]).get(path) ?? [];
  const who = usersTextOrNull(users);
  if (who === null) {
    const hint = "Stop the application (and walrust watch) before its file is replaced";
    return new WalrustError("database", `${path} is in use by another process`, {
      hint: `${hint}; as root, \`fuser -v ${path}\` names the process`,
      context: { path },
    });
  }
  const watch = users.some(isWalrust) ? "the watch" : "";
  const application = users.every(isWalrust) ? "" : "the application";
  const what = [watch, application].filter((one) => one !== "").join(" and ");
  return new WalrustError("database", `${path} is in use by ${who}`, {
    hint: `Stop ${what} (${stopText(users)}), then run this command again`,
    context: { path },
  });
}

/** The logs with content beside a file of the folder. */
export function logsOf(folder: TargetFolder, name: string): Suffix[] {
  return LOGS.filter((suffix) => (folder.statsOrNull(`${name}${suffix}`)?.size ?? 0) > 0);
}

/**
 * Gives a finished file the target's name, durably. The target, with its -wal, -shm and -journal, is kept
 * under the stamp.
 * @returns the new path of the first of them, or null when none existed
 * @throws WalrustError code "database" when another file has the name afterwards
 */
export function replaceTarget(folder: TargetFolder, incoming: Incoming, stamp: string): string | null {
  const { name } = folder;
  const present = SUFFIXES.filter((suffix) => folder.statsOrNull(`${name}${suffix}`) !== null);
  const logs = logsOf(folder, name);
  const isAtOnce = present.includes("") && logs.length === 0 && incoming.logs.length === 0;
  if (isAtOnce) replaceAtOnce(folder, incoming, stamp, present);
  else replaceWithLogs(folder, incoming, stamp, present, logs);
  folder.sync();
  const placed = folder.statsOrNull(name);
  if (placed === null || !isSameFile(placed, incoming.stats)) {
    throw new WalrustError("database", `${folder.path} was replaced by somebody while it was restored`, {
      hint: "Nobody else may write to the folder of a database that is being restored",
      context: { path: folder.path },
    });
  }
  return present[0] === undefined ? null : folder.shown(`${keptName(name, stamp)}${present[0]}`);
}

function replaceAtOnce(
  folder: TargetFolder,
  incoming: Incoming,
  stamp: string,
  present: readonly Suffix[],
): void {
  const { name } = folder;
  const kept = keptName(name, stamp);
  // An -shm, and a log without content: the database is the same without them.
  for (const suffix of present) if (suffix !== "") folder.rename(`${name}${suffix}`, `${kept}${suffix}`);
  if (!folder.link(name, kept)) folder.rename(name, kept);
  folder.rename(incoming.name, name);
}

function replaceWithLogs(
  folder: TargetFolder,
  incoming: Incoming,
  stamp: string,
  present: readonly Suffix[],
  logs: readonly Suffix[],
): void {
  const { name } = folder;
  const kept = keptName(name, stamp);
  const linked = new Set(logs.filter((suffix) => folder.link(`${name}${suffix}`, `${kept}${suffix}`)));
  if (present.includes("")) folder.rename(name, kept);
  for (const suffix of present) {
    if (linked.has(suffix)) folder.remove(`${name}${suffix}`);
    else if (suffix !== "") folder.rename(`${name}${suffix}`, `${kept}${suffix}`);
  }
  // SQLite deletes a log that lies beside an empty database, so a log keeps its other name until the end.
  const placed = incoming.logs.filter((suffix) => {
    if (folder.link(`${incoming.name}${suffix}`, `${name}${suffix}`)) return true;
    folder.rename(`${incoming.name}${suffix}`, `${name}${suffix}`);
    return false;
  });
  folder.rename(incoming.name, name);
  for (const suffix of placed) folder.remove(`${incoming.name}${suffix}`);
}

/**
 * Removes the second names that a killed replacement left. Afterwards, either the target or a kept file has
 * each of its files.
 */
export function tidyInterrupted(folder: TargetFolder): void {
  const { name } = folder;
  const isShared = (kept: string, suffix: Suffix): boolean => {
    const [own, other] = [folder.statsOrNull(`${name}${suffix}`), folder.statsOrNull(`${kept}${suffix}`)];
    return own !== null && other !== null && isSameFile(own, other);
  };
  for (const { name: kept, suffixes } of keptFiles(folder)) {
    if (isShared(kept, "")) {
      // The replacement did not happen. Beside the kept name lie an -shm and empty logs at most.
      const isLog = new Set(logsOf(folder, kept));
      for (const suffix of suffixes) if (!isLog.has(suffix)) folder.remove(`${kept}${suffix}`);
      continue;
    }
    for (const suffix of LOGS) {
      if (!isShared(kept, suffix)) continue;
      if (folder.statsOrNull(name) === null) folder.remove(`${name}${suffix}`);
      else if (!suffixes.has("")) folder.remove(`${kept}${suffix}`);
    }
  }
}

function isSameFile(a: Pick<Stats, "dev" | "ino">, b: Pick<Stats, "dev" | "ino">): boolean {
  return a.ino === b.ino && a.dev === b.dev;
}

/** Makes a rename in a folder durable, if the file system can sync folders. */
export function syncFolder(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } catch (error) {
    if (systemCode(error) !== "EINVAL") throw error;
  } finally {
    closeSync(fd);
  }
}
