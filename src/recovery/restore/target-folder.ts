/**
 * The folder that a restore writes into, held open from the first look to the last rename.
 *
 * The folder may belong to somebody who replaces names in it while we work, with more rights than theirs. So:
 * 1. Symbolic links on the way are followed only when the link belongs to us, to root, or to the owner of the
 *    place it leads to. A link that another user planted leads nowhere else.
 * 2. Everything happens below the open descriptor (`/proc/self/fd/N/name`, Linux): no name on the way is
 *    looked up twice. Elsewhere paths are used as they are.
 * 3. Folders that are missing are made, each below its open parent, with the owner of that parent.
 */
import {
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  type Stats,
} from "node:fs";
import { basename, dirname, isAbsolute, join, parse, resolve, sep } from "node:path";
import { systemCode, WalrustError } from "../../errors.ts";
import { accessInFolder } from "./target-access.ts";

const LINKS_MAX = 40;
const OPEN_FOLDER = constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW;

/** The place of a target, with all links resolved. */
export interface ResolvedPlace {
  /** The path that is written to. */
  readonly path: string;
  /** Whether the target's own name was a link. */
  readonly isLinked: boolean;
}

/**
 * Resolves the links of a path; nothing has to exist.
 * @throws WalrustError code "usage" for a link that another user planted, or that leads round in circles
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
    // Taken part by part: `..` behind another link is not what the text says.
    const target = readlinkSync(next);
    pending.unshift(...target.split(sep).filter((each) => each !== "" && each !== "."));
    if (isAbsolute(target)) at = parse(target).root;
  }
  for (const link of planted) assertOwnLink(link, at);
  return { path: at, isLinked };
}

/** Us, and who may change everything anyway: the owner of `/` is root, also in a user namespace. */
function isTrusted(uid: number): boolean {
  return uid === 0 || uid === process.geteuid?.() || uid === lstatSync("/").uid;
}

/** A link of somebody else may lead to what is that user's own, nowhere else. */
function assertOwnLink(link: { readonly path: string; readonly uid: number }, place: string): void {
  let existing = place;
  while (lstatOrNull(existing) === null && existing !== dirname(existing)) existing = dirname(existing);
  const { uid } = lstatSync(existing);
  if (uid === link.uid) return;
  throw new WalrustError("usage", `${link.path} is a link of user ${link.uid} to ${place} of user ${uid}`, {
    hint: `Nothing is written through links that another user made. If it is meant, give -o ${place}`,
    context: { path: link.path },
  });
}

function lstatOrNull(path: string): Stats | null {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) ?? null;
  } catch (error) {
    if (systemCode(error) === "ENOTDIR") return null;
    throw new WalrustError("database", `Cannot look at ${path}: ${systemCode(error)}`, { cause: error });
  }
}

/** An open folder and the target's name in it. */
export class TargetFolder {
  readonly #fd: number;
  /** Where the names of the folder are looked up. */
  readonly #base: string;

  private constructor(
    fd: number,
    /** The target, as a path. */
    readonly path: string,
  ) {
    this.#fd = fd;
    this.#base = heldPathOrNull(fd) ?? dirname(path);
  }

  /** Opens the folder of a resolved path, and makes it if it is missing. @throws WalrustError "database" */
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

  /** Opens the folder of a resolved path; null when there is none. @throws WalrustError "database" */
  static openOrNull(path: string): TargetFolder | null {
    return lstatOrNull(dirname(path)) === null ? null : TargetFolder.open(path);
  }

  /** The path by which a name in this folder is opened, renamed or removed. */
  at(name: string): string {
    return join(this.#base, name);
  }

  /** The path of a name in this folder, to be shown. */
  shown(name: string): string {
    return join(dirname(this.path), name);
  }

  /** The target's name in this folder. */
  get name(): string {
    return basename(this.path);
  }

  /** The folder's owner, group and mode. */
  stats(): Stats {
    return fstatSync(this.#fd);
  }

  /** Makes renames durable. File systems that cannot sync a folder are accepted. */
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

/** Opens a folder, after making those above it that are missing. */
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

/** Opens the folder that has this path, with no link on the way. */
function openExactly(path: string): number {
  const fd = openSync(path, OPEN_FOLDER);
  if (!existsSync("/proc/self/fd")) return fd;
  const found = readlinkSync(`/proc/self/fd/${fd}`);
  if (found === path) return fd;
  closeSync(fd);
  throw new WalrustError("database", `${path} became ${found} while it was opened`, {
    hint: "Another process replaces folders on the way to the target; nothing was written",
  });
}

function heldPathOrNull(fd: number): string | null {
  const held = `/proc/self/fd/${fd}`;
  return existsSync(`${held}/.`) ? held : null;
}
