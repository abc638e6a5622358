/**
 * Finds the processes that have files open, from the descriptors in /proc. Other users' processes show only
 * to root, and processes of other pid namespaces to nobody. No file of a database is opened.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** A process that has a file open. */
export interface FileUser {
  readonly pid: number;
  /** The name of its executable, at most 15 characters. */
  readonly command: string;
}

/**
 * The processes that have each of the files open, without this one.
 * @param paths real paths
 * @param procFolder the mount of proc(5)
 */
export function usersOfFiles(
  paths: readonly string[],
  procFolder = "/proc",
): ReadonlyMap<string, readonly FileUser[]> {
  const users = new Map<string, FileUser[]>(paths.map((path) => [path, []]));
  for (const name of namesIn(procFolder)) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    for (const path of openPaths(`${procFolder}/${name}/fd`)) {
      users.get(path)?.push({ pid, command: commandOf(`${procFolder}/${name}/comm`) });
    }
  }
  return users;
}

/** The paths of the open files of a process, each once. */
function openPaths(folder: string): Set<string> {
  const paths = new Set<string>();
  for (const name of namesIn(folder)) {
    try {
      paths.add(readlinkSync(`${folder}/${name}`));
    } catch {
      // The descriptor is closed by now.
    }
  }
  return paths;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // The process has ended, or belongs to another user.
    return [];
  }
}

function commandOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "?";
  }
}
