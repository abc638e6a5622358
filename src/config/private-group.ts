/**
 * Decides whether a group is private to one user. Many systems give each user a group of their own and a
 * umask of 002, so that a group without other members may write to every new file.
 *
 * A group is private if and only if its id is the user's, the user is not root, /etc/group has the group, and
 * neither /etc/group nor /etc/passwd has another member of the group.
 */
import { readFileSync } from "node:fs";

/** PURE: decides from the content of the two files. */
export function isPrivateGroupIn(gid: number, ownUid: number, groups: string, users: string): boolean {
  if (ownUid === 0 || gid !== ownUid) return false;
  const [group, ...more] = rowsOf(groups).filter((fields) => fields[2] === String(gid));
  if (group === undefined || more.length > 0) return false;
  const owner = group[0];
  const members = (group[3] ?? "").split(",").filter((member) => member !== "");
  if (!members.every((member) => member === owner)) return false;
  return !rowsOf(users).some((fields) => fields[3] === String(gid) && fields[2] !== String(ownUid));
}

/** Whether the group is private on this machine; false if one of the two files cannot be read. */
export function isPrivateGroup(gid: number, ownUid: number): boolean {
  try {
    const [groups, users] = ["/etc/group", "/etc/passwd"].map((path) => readFileSync(path, "utf8"));
    return isPrivateGroupIn(gid, ownUid, groups ?? "", users ?? "");
  } catch {
    return false;
  }
}

function rowsOf(text: string): string[][] {
  return text.split("\n").map((line) => line.trim().split(":"));
}
