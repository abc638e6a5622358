/**
 * Decides whether the path of a database may be followed. The folder may belong to another user, who could
 * place a link there and have somebody else's database replicated under a name of their own.
 *
 * 1. A symbolic link is followed if and only if its owner is our user, root, or the owner of its target. The
 *    rule holds for every link on the way.
 * 2. A file with several names (hard links) is taken only from a folder whose owner is our user, root, or the
 *    owner of the file, and to which nobody else may write. A hard link itself has no owner to check.
 */
import { lstatSync, readlinkSync, type Stats, statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { ownUid } from "../local/own-file.ts";

/** The most links that the system follows. */
const LINKS_MAX = 40;
const OTHERS_WRITE = 0o022;

/**
 * The reason not to follow a path, or null.
 * @param path absolute
 * @param realPath the path with all links resolved
 * @param stats of the file at `realPath`
 * @throws the system's error when the file is gone
 */
export function linkDistrustOrNull(
  path: string,
  realPath: string,
  stats: Pick<Stats, "uid" | "nlink" | "isDirectory">,
): string | null {
  const link = realPath === path ? null : untrustedLinkOrNull(path);
  if (link !== null) return link;
  // A folder counts the folders in it as its names; it is refused later, as no database.
  if (stats.nlink < 2 || stats.isDirectory()) return null;
  const folder = statSync(dirname(realPath));
  if (!isNameUntrusted(stats, folder)) return null;
  const file = `${realPath} is one of ${stats.nlink} names of a file of user ${stats.uid}`;
  return `${file}, in a folder that other users can change`;
}

/** Whether another user may have made this name of a file with several names. */
export function isNameUntrusted(file: Pick<Stats, "uid">, folder: Pick<Stats, "uid" | "mode">): boolean {
  return !isTrusted(folder.uid, file.uid) || (folder.mode & OTHERS_WRITE) !== 0;
}

/** Follows the path link by link, as the system does. */
function untrustedLinkOrNull(path: string): string | null {
  const left = path.split("/").filter((name) => name !== "");
  let place = "/";
  for (let linkCount = 0; left.length > 0; ) {
    const name = left.shift()!;
    const next = name === ".." ? dirname(place) : join(place, name);
    const stats = name === "." || name === ".." ? null : lstatSync(next);
    if (stats === null || !stats.isSymbolicLink()) {
      place = next;
      continue;
    }
    if (++linkCount > LINKS_MAX) return `${path} leads through more than ${LINKS_MAX} links`;
    const target = statSync(next);
    if (!isTrusted(stats.uid, target.uid)) {
      return `${next} is a link of user ${stats.uid} to a file or folder of user ${target.uid}`;
    }
    const text = readlinkSync(next);
    if (isAbsolute(text)) place = "/";
    left.unshift(...text.split("/").filter((part) => part !== ""));
  }
  return null;
}

function isTrusted(uid: number, owner: number): boolean {
  return uid === owner || uid === ownUid() || uid === 0;
}
