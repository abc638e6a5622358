/**
 * Counts the inotify instances and watches of one user, whose limits the kernel holds over all of the user's
 * processes. Source: proc(5), /proc/PID/fd and /proc/PID/fdinfo.
 */
import { readFileSync, readlinkSync, statSync } from "node:fs";
import { namesIn } from "../../database/files/file-users.ts";

const INOTIFY_LINK = "anon_inode:inotify";

/** The inotify instances and watches of one user. */
export interface InotifyUse {
  /** Instances and watches of all processes but the running watch. */
  readonly otherInstances: number;
  readonly otherWatches: number;
  /** Instances of the running watch. */
  readonly ownInstances: number;
}

/**
 * Counts what the processes of a user have open.
 * @param watchPid a running watch; null: none runs
 * @param procFolder the mount of proc(5)
 */
export function inotifyUse(watchPid: number | null, procFolder = "/proc"): InotifyUse {
  const uid = uidOrNull(`${procFolder}/${watchPid ?? "self"}`);
  let [otherInstances, otherWatches, ownInstances] = [0, 0, 0];
  for (const name of namesIn(procFolder)) {
    const pid = Number(name);
    const folder = `${procFolder}/${name}`;
    if (!Number.isInteger(pid) || uid === null || uidOrNull(folder) !== uid) continue;
    for (const fd of namesIn(`${folder}/fd`)) {
      if (!isInotify(`${folder}/fd/${fd}`)) continue;
      if (pid === watchPid) ownInstances++;
      else {
        otherInstances++;
        otherWatches += watchCount(`${folder}/fdinfo/${fd}`);
      }
    }
  }
  return { otherInstances, otherWatches, ownInstances };
}

function uidOrNull(folder: string): number | null {
  return statSync(folder, { throwIfNoEntry: false })?.uid ?? null;
}

function isInotify(link: string): boolean {
  try {
    return readlinkSync(link) === INOTIFY_LINK;
  } catch {
    // The descriptor is closed by now, or the process is another user's.
    return false;
  }
}

function watchCount(path: string): number {
  try {
    return readFileSync(path, "utf8").match(/^inotify /gm)?.length ?? 0;
  } catch {
    // The process has ended.
    return 0;
  }
}
