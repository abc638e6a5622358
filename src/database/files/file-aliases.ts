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
export interface Mount {
  readonly device: string;
  /** The mounted folder or file, as a path in its file system. */
  readonly root: string;
  readonly point: string;
}

/** Hundreds of databases share one reading of the mounts for this long. */
const READING_MS = 10_000;
let reading: { readonly atMs: number; readonly mounts: readonly Mount[] } | null = null;

/** The aliases of an open file. @param path its real path */
export function fileAliasesOf(
  fd: number,
  path: string,
  mounts: readonly Mount[] = parseMounts(mountTable()),
): FileAliases {
  return { linkCount: fstatSync(fd).nlink, isMounted: isMountedIn(mounts, path) };
}

/** The mounts as they were at most 10 s ago. @param nowMs the monotonic clock */
export function mountsAt(nowMs: number): readonly Mount[] {
  if (reading === null || nowMs < reading.atMs || nowMs - reading.atMs >= READING_MS)
    reading = { atMs: nowMs, mounts: parseMounts(mountTable()) };
  return reading.mounts;
}

/** Parses the content of /proc/self/mountinfo. */
export function parseMounts(table: string): Mount[] {
  return table.split("\n").flatMap(parseMount);
}

/** Whether the file at a path is a mount of its own. */
export function isMountedIn(mounts: readonly Mount[], path: string): boolean {
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
