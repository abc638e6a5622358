/**
 * The folder that a restore writes to, open from the first check to the last rename.
 *
 * Another user may own the folder and replace names in it while walrust works with more rights. Therefore:
 * 1. A symbolic link in the path is followed only if it belongs to us, to root, or to the owner of its
 *    destination.
 * 2. Everything happens below the open descriptor (`/proc/self/fd/N/name`, Linux), so no name in the path is
 *    resolved twice. Other systems use plain paths.
 * 3. Missing folders are created, each below its open parent, with the owner of that parent.
 */
import {
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
} from "node:fs";
import { basename, dirname, isAbsolute, join, parse, resolve, sep } from "node:path";
import { systemCode, WalrustError } from "../../errors.ts";
import { accessInFolder } from "./target-access.ts";

const LINKS_MAX = 40;
/** The system's answers where hard links are not possible. */
const NO_LINKS: ReadonlySet<string> = new Set([
  "EPERM",
  "EACCES",
  "ENOTSUP",
  "EOPNOTSUPP",
  "ENOSYS",
  "EMLINK",
]);
const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** The path of a target, with all links resolved. */
export interface ResolvedPlace {
  /** The resolved path. */
  readonly path: string;
  /** Whether the target's own name was a link. */
  readonly isLinked: boolean;
}

/**
 * Resolves the links of a path; the path need not exist.
 * @throws WalrustError code "usage" for a link of another user to a third user's place, and for too many
 * links
 */
export function resolvePlace(path: string): ResolvedPlace {
  const absolute = resolve(path);
  const pending = absolute.split(sep).filter((part) => part !== "");
  let at = parse(absolute).root;
  let linkCount = 0;
  let isLinked = false;
  const planted: { path: string; uid: number }[] = [];
  while (pending.length > 0) {
    const part = pending.shift()!;
    const next = part === ".." ? dirname(at) : join(at, part);
    const stats = lstatOrNull(next);
    if (stats === null || !stats.isSymbolicLink()) {
      at = next;
      continue;
    }
    if (++linkCount > LINKS_MAX) throw new WalrustError("usage", `${path} leads through too many links`);
    if (!isTrusted(stats.uid)) planted.push({ path: next, uid: stats.uid });
    isLinked ||= pending.length === 0;
    // Resolved part by part: `..` after another link leads elsewhere than the text suggests.
    const target = readlinkSync(next);
    pending.unshift(...target.split(sep).filter((each) => each !== "" && each !== "."));
    if (isAbsolute(target)) at = parse(target).root;
  }
  for (const link of planted) assertOwnLink(link, at);
  return { path: at, isLinked };
}

/** Whether a user is us or root. The owner of `/` is root, also in a user namespace. */
function isTrusted(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.() || uid === lstatSync("/").uid;
}

/** Checks that another user's link leads to a place of the same user. */
function assertOwnLink(link: { readonly path: string; readonly uid: number }, place: string): void {
  let existing = place;
  while (lstatOrNull(existing) === null && existing !== dirname(existing)) existing = dirname(existing);
  const { uid } = lstatSync(existing);
  if (uid === link.uid) return;
  throw new WalrustError("usage", `${link.path} is a link of user ${link.uid} to ${place} of user ${uid}`, {
    hint: `walrust follows no link of another user. If you mean that place, give -o ${place}`,
    context: { path: link.path },
  });
}

function lstatOrNull(path: string): Stats | null {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) ?? null;
  } catch (error) {
    if (systemCode(error) === "ENOTDIR") return null;
    throw new WalrustError("database", `Cannot read ${path}: ${systemCode(error)}`, { cause: error });
  }
}

/** An open folder and the target's name in it. */
export class TargetFolder {
  readonly #fd: number;
  /** The path below which names of the folder are opened. */
  readonly #base: string;

  private constructor(
    fd: number,
    /** The path of the target. */
    readonly path: string,
  ) {
    this.#fd = fd;
    this.#base = heldPathOrNull(fd) ?? dirname(path);
  }

  /** Opens the folder of a resolved path, and creates it if it is missing. @throws WalrustError "database" */
  static open(path: string): TargetFolder {
    const folder = dirname(path);
    try {
      return new TargetFolder(openMaking(folder), path);
    } catch (error) {
      if (error instanceof WalrustError) throw error;
      throw new WalrustError("database", `Cannot create the folder ${folder}: ${systemCode(error)}`, {
        hint: "Give -o a path in a folder that exists, or that this user may create",
        cause: error,
      });
    }
  }

  /**
   * Opens the folder of a resolved path; null when the folder does not exist. @throws WalrustError "database"
   */
  static openOrNull(path: string): TargetFolder | null {
    return lstatOrNull(dirname(path)) === null ? null : TargetFolder.open(path);
  }

  /** The path by which a name in this folder is opened, renamed or removed. */
  at(name: string): string {
    return join(this.#base, name);
  }

  /** The path of a name in this folder, for messages. */
  shown(name: string): string {
    return join(dirname(this.path), name);
  }

  /** The target's name in this folder. */
  get name(): string {
    return basename(this.path);
  }

  /** The names in this folder. */
  names(): string[] {
    return readdirSync(this.at("."));
  }

  /** The `lstat` of a name in this folder; null when the name does not exist. */
  statsOrNull(name: string): Stats | null {
    return lstatSync(this.at(name), { throwIfNoEntry: false }) ?? null;
  }

  /** Renames a file of this folder. */
  rename(from: string, to: string): void {
    renameSync(this.at(from), this.at(to));
  }

  /**
   * Gives a file of this folder a second name.
   * @returns false where the file system, or its rules for files of other users, allow no second name
   */
  link(from: string, to: string): boolean {
    try {
      linkSync(this.at(from), this.at(to));
      return true;
    } catch (error) {
      if (NO_LINKS.has(systemCode(error) ?? "")) return false;
      throw error;
    }
  }

  /** Removes a file of this folder, if it is there. */
  remove(name: string): void {
    rmSync(this.at(name), { force: true });
  }

  /** The folder's owner, group and mode. */
  stats(): Stats {
    return fstatSync(this.#fd);
  }

  /** Makes renames durable, if the file system can sync folders. */
  sync(): void {
    try {
      fsyncSync(this.#fd);
    } catch (error) {
      if (systemCode(error) !== "EINVAL") throw error;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Opens a folder, and creates missing folders on the way. */
function openMaking(path: string): number {
  try {
    return openExactly(path);
  } catch (error) {
    if (systemCode(error) !== "ENOENT" || path === dirname(path)) throw error;
  }
  const parent = openMaking(dirname(path));
  try {
    const child = join(heldPathOrNull(parent) ?? dirname(path), basename(path));
    const access = accessInFolder(fstatSync(parent));
    try {
      mkdirSync(child, { mode: access.folderMode });
    } catch (error) {
      if (systemCode(error) !== "EEXIST") throw error;
      return openExactly(path);
    }
    const fd = openSync(child, OPEN_FOLDER);
    if (process.geteuid?.() === 0 && fstatSync(fd).uid === 0) fchownSync(fd, access.uid, access.gid);
    return fd;
  } finally {
    closeSync(parent);
  }
}

/** Opens the folder at exactly this path, without a link on the way. */
function openExactly(path: string): number {
  const fd = openSync(path, OPEN_FOLDER);
  if (!existsSync("/proc/self/fd")) return fd;
  const found = readlinkSync(`/proc/self/fd/${fd}`);
  if (found === path) return fd;
  closeSync(fd);
  throw new WalrustError("database", `${path} became ${found} while it was opened`, {
    hint: "Another process replaces folders in the path of the target; nothing was written",
  });
}

function heldPathOrNull(fd: number): string | null {
  const held = `/proc/self/fd/${fd}`;
  return existsSync(`${held}/.`) ? held : null;
}
