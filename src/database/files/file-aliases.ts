/**
 * Whether a database file has more than one name: hard links, or a bind mount of the file alone. SQLite names
 * -wal and -shm after the name that a database is opened under, so what is committed under another name lies
 * in a -wal that walrust does not see.
 */
import { fstatSync, readFileSync } from "node:fs";

/** How else a file can be reached. */
export interface FileAliases {
  /** Names in its file system. */
  readonly linkCount: number;
  /** Whether the file by itself is mounted, here or elsewhere in this mount namespace. */
  readonly isMounted: boolean;
}

/** A line of mountinfo: `36 25 254:0 /srv/app.db /mnt/app.db rw … - ext4 /dev/vda rw`. */
interface Mount {
  readonly device: string;
  /** What of its file system is mounted. */
  readonly root: string;
  readonly point: string;
}

/** The names of an open file. @param path its real path */
export function fileAliasesOf(fd: number, path: string): FileAliases {
  return { linkCount: fstatSync(fd).nlink, isMounted: isMountedIn(mountTable(), path) };
}

/** Whether the file at a path is mounted by itself. @param table the content of /proc/self/mountinfo */
export function isMountedIn(table: string, path: string): boolean {
  const mounts = table.split("\n").flatMap(parseMount);
  const own = mounts.filter(({ point }) => isBelow(path, point)).reduce<Mount | null>(deeper, null);
  if (own === null) return false;
  if (own.point === path) return true;
  const inFileSystem = join(own.root, path.slice(own.point === "/" ? 0 : own.point.length));
  return mounts.some(({ device, root }) => device === own.device && root === inFileSystem);
}

/** Of two mounts that hold a path the deeper one; of equal ones the later, which hides the other. */
function deeper(best: Mount | null, mount: Mount): Mount {
  return best !== null && best.point.length > mount.point.length ? best : mount;
}

function isBelow(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder.endsWith("/") ? folder : `${folder}/`);
}

function join(root: string, rest: string): string {
  return root === "/" ? rest : `${root}${rest}`;
}

function parseMount(line: string): Mount[] {
  const [, , device, root, point] = line.split(" ");
  if (device === undefined || root === undefined || point === undefined) return [];
  return [{ device, root: unescapeOctal(root), point: unescapeOctal(point) }];
}

/** Spaces, tabs, newlines and backslashes are three octal digits there. */
function unescapeOctal(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function mountTable(): string {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    // Not Linux: a file cannot be mounted there.
    return "";
  }
}
