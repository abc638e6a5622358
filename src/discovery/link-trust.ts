/**
 * Whether a path of a database may be followed. A folder may belong to somebody who is not the database's
 * owner, and who could lay a link there to have another's database replicated, under a name of his own.
 *
 * A symbolic link is followed if and only if its owner is our user, root, or the owner of what it leads to;
 * so is each link on the way to that. A file with more than one name is taken only from a folder whose owner
 * is our user, root or its own, and to which nobody else may write: a hard link has no owner that would tell.
 */
import { lstatSync, readlinkSync, type Stats, statSync } from "node:fs";
import { dirname, isAbsolute, join } from "node:path";
import { ownUid } from "../local/own-file.ts";

/** As many as the system follows. */
const LINKS_MAX = 40;
const OTHERS_WRITE = 0o022;

/**
 * Why somebody may have led us to another's file, or null.
 * @param path absolute, and there
 * @param realPath where it leads, and what is there
 * @throws the system's error when it is not there any more
 */
export function linkDistrustOrNull(
  path: string,
  realPath: string,
  stats: Pick<Stats, "uid" | "nlink">,
): string | null {
  const link = realPath === path ? null : untrustedLinkOrNull(path);
  if (link !== null) return link;
  if (stats.nlink < 2) return null;
  const folder = statSync(dirname(realPath));
  if (!isNameUntrusted(stats, folder)) return null;
  const what = `${realPath} is one of ${stats.nlink} names of a file of user ${stats.uid}`;
  return `${what}, in a folder that others can change`;
}

/** Whether a name of a file with several may be somebody else's doing. */
export function isNameUntrusted(file: Pick<Stats, "uid">, folder: Pick<Stats, "uid" | "mode">): boolean {
  return !isTrusted(folder.uid, file.uid) || (folder.mode & OTHERS_WRITE) !== 0;
}

/** Follows the path step by step, as the system does. */
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
    if (++linkCount > LINKS_MAX) return `${path} leads over more than ${LINKS_MAX} links`;
    const target = statSync(next);
    if (!isTrusted(stats.uid, target.uid)) {
      return `${next} is a link of user ${stats.uid} to what belongs to user ${target.uid}`;
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
