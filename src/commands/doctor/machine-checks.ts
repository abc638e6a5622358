/**
 * Checks the limits of this machine and this process against the number of databases.
 */
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { ofdLocksSupported } from "../../database/files/ofd-lock.ts";
import { systemCode, WalrustError } from "../../errors.ts";
import { diskRoomOf, isReserveTouched } from "../../local/folders/disk-room.ts";
import { countOf, formatBytes } from "../shared/output.ts";
import { openFilesLimitOrNull, openFilesNeeded } from "../watch/open-files.ts";
import { Checks } from "./check.ts";
import { type InotifyUse, inotifyUse } from "./inotify-use.ts";

/** inotify watches for each database: its -wal, and its folder. */
const WATCHES_PER_DATABASE = 2;

/** The limits, as this process finds them; null where the system has none. */
export interface MachineFacts {
  readonly databaseCount: number;
  readonly uploadCount: number;
  readonly openFilesMax: number | null;
  /** The process that this limit is of. */
  readonly process: string;
  readonly inotifyWatchesMax: number | null;
  readonly inotifyInstancesMax: number | null;
  readonly inotify: InotifyUse;
  readonly hasOfdLocks: boolean;
  readonly tempFolder: string;
}

/**
 * The facts of this machine.
 * @param watchPid a running watch, whose limits count; null: those of this process
 * @param procFolder the mount of proc(5)
 */
export function machineFacts(
  databaseCount: number,
  uploadCount: number,
  watchPid: number | null,
  procFolder = "/proc",
): MachineFacts {
  return {
    databaseCount,
    uploadCount,
    openFilesMax: watchPid === null ? openFilesLimitOrNull() : openFilesLimitOrNull(watchPid),
    process: watchPid === null ? "this process" : `the watch with pid ${watchPid}`,
    inotifyWatchesMax: numberInOrNull(`${procFolder}/sys/fs/inotify/max_user_watches`),
    inotifyInstancesMax: numberInOrNull(`${procFolder}/sys/fs/inotify/max_user_instances`),
    inotify: inotifyUse(watchPid, procFolder),
    hasOfdLocks: ofdLocksSupported(),
    tempFolder: tmpdir(),
  };
}

/** Checks the limits. */
export function checkMachine(facts: MachineFacts): Checks {
  const { databaseCount, uploadCount, openFilesMax, hasOfdLocks, tempFolder } = facts;
  const checks = new Checks("machine", null);
  const count = countOf(databaseCount, "database");
  const { process: owner } = facts;
  const files = openFilesNeeded(databaseCount, uploadCount);
  if (openFilesMax === null) checks.ok("open-files", "no limit on open files");
  else if (openFilesMax >= files) {
    checks.ok("open-files", `${owner} may open ${openFilesMax} files, ${count} need up to ${files}`);
  } else {
    const hint = `Raise the limit: ulimit -n ${files} before the start, or LimitNOFILE=${files} in its unit`;
    checks.warning(
      "open-files",
      `${owner} may open ${openFilesMax} files, ${count} need up to ${files}`,
      hint,
    );
  }
  checkInotify(facts, checks);
  if (hasOfdLocks) checks.ok("locks", "the kernel has locks of open file descriptions");
  else {
    const hint = "Use a Linux kernel of 3.15 or later; walrust then sees who else has a database open";
    checks.warning("locks", "the system has no locks of open file descriptions", hint);
  }
  checkTemp(tempFolder, checks);
  return checks;
}

/** Checks the limits on inotify, which all processes of the user share. */
function checkInotify(facts: MachineFacts, checks: Checks): void {
  const { databaseCount, inotifyWatchesMax, inotifyInstancesMax, inotify } = facts;
  const { otherWatches, otherInstances, ownInstances } = inotify;
  const watches = WATCHES_PER_DATABASE * databaseCount;
  const others = otherWatches === 0 ? "" : `, other programs have ${otherWatches}`;
  const need = `${countOf(databaseCount, "database")} need ${watches}${others}`;
  if (inotifyWatchesMax !== null && inotifyWatchesMax < watches + otherWatches) {
    const enough = 2 * (watches + otherWatches);
    const hint = `Set fs.inotify.max_user_watches=${enough}; without watches, databases are polled`;
    checks.warning("inotify", `this user may have ${inotifyWatchesMax} inotify watches, ${need}`, hint);
  } else checks.ok("inotify", `${inotifyWatchesMax ?? "any number of"} inotify watches, ${need}`);
  const used = `other programs have ${otherInstances}, a watch needs 1`;
  if (inotifyInstancesMax !== null && ownInstances === 0 && inotifyInstancesMax <= otherInstances) {
    const enough = 2 * (otherInstances + 1);
    const remedy = `Set fs.inotify.max_user_instances=${enough}, and restart a running watch`;
    const hint = `${remedy}; without an instance, databases are polled`;
    const message = `this user may have ${inotifyInstancesMax} inotify instances, ${used}`;
    return checks.warning("inotify-instances", message, hint);
  }
  checks.ok("inotify-instances", `${inotifyInstancesMax ?? "any number of"} inotify instances, ${used}`);
}

function checkTemp(folder: string, checks: Checks): void {
  try {
    const room = diskRoomOf(folder);
    const text = `${formatBytes(room.freeBytes)} free in ${folder}, for compact and verify --restore`;
    if (!isReserveTouched(room)) return checks.ok("temp", text);
    checks.warning("temp", text, "Set TMPDIR to a folder with more room");
  } catch (error) {
    const message = `Cannot examine the temporary folder ${folder}: ${systemCode(error) ?? "unknown error"}`;
    checks.failure(
      "temp",
      new WalrustError("database", message, { hint: "Set TMPDIR to a folder that exists" }),
    );
  }
}

function numberInOrNull(path: string): number | null {
  try {
    const value = Number(readFileSync(path, "utf8"));
    return Number.isFinite(value) ? value : null;
  } catch {
    // No such limit on this system.
    return null;
  }
}
