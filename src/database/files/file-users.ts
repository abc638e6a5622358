/**
 * Finds the processes that have files open, from the descriptors in /proc. Other users' processes show only
 * to root, and processes of other pid namespaces to nobody. Also the state of such a process. No file of a
 * database is opened, and no signal is sent.
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

/** Names are listed up to this number. */
const NAMED_MAX = 4;

/** The processes in words, `walrust (pid 7) and sqlite3 (pid 8)`, or null without any. */
export function usersTextOrNull(users: readonly FileUser[]): string | null {
  if (users.length === 0) return null;
  const names = users.slice(0, NAMED_MAX).map(({ pid, command }) => `${command} (pid ${pid})`);
  const more = users.length - names.length;
  if (more > 0) return `${names.join(", ")} and ${more} more`;
  return names.length === 1 ? names[0]! : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

/**
 * How a person ends these processes, as a part of a sentence. A service manager starts a process again that
 * was killed.
 */
export function stopText(users: readonly FileUser[]): string {
  const pids = users.slice(0, NAMED_MAX).map(({ pid }) => pid);
  return `kill ${pids.join(" ")}, or systemctl stop for a unit`;
}

/** The last walrust that was found, and its open files: it may have hundreds of databases. */
let lastFound: { readonly user: FileUser; readonly paths: ReadonlySet<string> } | null = null;

/** Another walrust that has a file open, or null where none shows. @param path a real path */
export function walrustAtOrNull(path: string, procFolder = "/proc"): FileUser | null {
  if (lastFound?.paths.has(path) && isWalrust(userOf(lastFound.user.pid, procFolder))) return lastFound.user;
  for (const name of namesIn(procFolder)) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const user = userOf(pid, procFolder);
    const paths = isWalrust(user) ? openPaths(`${procFolder}/${name}/fd`) : null;
    if (!paths?.has(path)) continue;
    lastFound = { user, paths };
    return user;
  }
  return null;
}

function userOf(pid: number, procFolder: string): FileUser {
  return { pid, command: commandOf(`${procFolder}/${pid}/comm`) };
}

/** Whether the process is a walrust. */
export function isWalrust({ command }: FileUser): boolean {
  return command === "walrust";
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

/** The names in a folder of /proc; empty when it cannot be read. */
export function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    // The process has ended, or belongs to another user.
    return [];
  }
}

/** The name of an executable, from the `comm` of its process. */
export function commandOf(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "?";
  }
}

/** The letters of /proc/PID/stat for a process that a signal or a debugger has stopped. */
const STOPPED: ReadonlySet<string> = new Set(["T", "t"]);

/** The letter of the state of a process, or null where the system does not show the process. */
export function processStateOrNull(pid: number, procFolder = "/proc"): string | null {
  try {
    const text = readFileSync(`${procFolder}/${pid}/stat`, "latin1");
    // The name of the executable stands in parentheses, and may contain any character.
    return /^ ([A-Za-z]) /.exec(text.slice(text.lastIndexOf(")") + 1))?.[1] ?? null;
  } catch {
    return null;
  }
}

/** Whether a process is stopped, so that a wait for it is in vain. */
export function isProcessStopped(pid: number, procFolder?: string): boolean {
  return isStoppedState(processStateOrNull(pid, procFolder));
}

/** Whether the letter is that of a stopped process. */
export function isStoppedState(state: string | null): boolean {
  return STOPPED.has(state ?? "");
}
