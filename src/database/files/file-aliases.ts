/**
 * Finds out whether a database file has more than one name: hard links, or a bind mount of the file alone.
 * SQLite derives the names of -wal and -shm from the name under which a database is opened. So commits under
 * another name lie in another -wal, which walrust does not read.
 */
import { fstatSync, readFileSync } from "node:fs";

/** The other names of a file. */
export interface FileAliases {
  /** Number of names in its file system. */
  readonly linkCount: number;
  /** Whether a mount in this mount namespace consists of the file alone. */
  readonly isMounted: boolean;
}

/** A line of mountinfo: `36 25 254:0 /srv/app.db /mnt/app.db rw … - ext4 /dev/vda rw`. */
interface Mount {
  readonly device: string;
  /** The mounted folder or file, as a path in its file system. */
  readonly root: string;
  readonly point: string;
}

/** The aliases of an open file. @param path its real path */
export function fileAliasesOf(fd: number, path: string): FileAliases {
  return { linkCount: fstatSync(fd).nlink, isMounted: isMountedIn(mountTable(), path) };
}

/** Whether the file at a path is a mount of its own. @param table the content of /proc/self/mountinfo */
export function isMountedIn(table: string, path: string): boolean {
  const mounts = table.split("\n").flatMap(parseMount);
  const own = mounts.filter(({ point }) => isBelow(path, point)).reduce<Mount | null>(deeper, null);
  if (own === null) return false;
  if (own.point === path) return true;
  const inFileSystem = join(own.root, path.slice(own.point === "/" ? 0 : own.point.length));
  return mounts.some(({ device, root }) => device === own.device && root === inFileSystem);
}

/** The deeper of two mounts of a path. Of two equal mounts the later one, which hides the other. */
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

/** Decodes spaces, tabs, newlines and backslashes, which mountinfo writes as three octal digits. */
function unescapeOctal(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replaceAll(/\\([0-7]{3})/g, (_, octal) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function mountTable(): string {
  try {
    return readFileSync("/proc/self/mountinfo", "utf8");
  } catch {
    // Not Linux: no file can be a mount.
    return "";
  }
}
