/**
 * Decides whether walrust may be the first to open a database. The first connection makes -wal and -shm, and
 * every user of the database must be able to open them. SQLite gives them the mode of the database, and as
 * root also its owner and group. Another user who is the first leaves files in a group of his own, and the
 * application can open its database no more.
 *
 * So a connection of ours that is neither root's nor the owner's makes -wal and -shm itself, with the mode
 * and the group of the database, if that is enough for the owner. Otherwise it is never the first: nobody's
 * files are made, and the application is waited for.
 */
import { constants, fchmodSync, fchownSync, fstatSync, openSync, readFileSync, statSync } from "node:fs";
import { systemCode, WalrustError } from "../../errors.ts";
import {
  closeDescriptor,
  type FileIdentity,
  fileIdentityOrNull,
  readDatabaseHeader,
} from "../files/descriptors.ts";

/** Owner, group and permission bits of a file. */
export interface FileOwnership {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** What the decision is made from. */
export interface CompanionFacts {
  /** The effective user of this process and all its groups. */
  readonly user: number;
  readonly groups: readonly number[];
  readonly database: FileOwnership;
  /** Whether the database's owner is known to be a member of the database's group. */
  readonly isOwnerInGroup: boolean;
}

/**
 * "sqlite": SQLite makes the files right by itself. "share": we make them, in the database's group and with
 * its mode. "wait": whatever we made, somebody could not open it.
 */
export type CompanionPlan = "sqlite" | "share" | "wait";

const GROUP_WRITES = 0o060;
const OTHERS_WRITE = 0o006;
const SUFFIXES = ["-wal", "-shm"] as const;

/** Decides who makes -wal and -shm. */
export function planCompanions({ user, groups, database, isOwnerInGroup }: CompanionFacts): CompanionPlan {
  if (user === 0) return "sqlite";
  const { uid, gid, mode } = database;
  const doOthersWrite = (mode & OTHERS_WRITE) === OTHERS_WRITE;
  if (!groups.includes(gid)) return uid === user ? "sqlite" : doOthersWrite ? "share" : "wait";
  if (uid === user || doOthersWrite) return "share";
  return (mode & GROUP_WRITES) === GROUP_WRITES && isOwnerInGroup ? "share" : "wait";
}

/**
 * Sees to it that a connection that is about to be opened leaves no file behind that others cannot open.
 * @returns whether -wal and -shm are others' to make: `assertCompanionsNotOurs` has to be asked once they are
 * open
 * @throws WalrustError code "database-busy", retryable, when the application has to open the database first
 */
export function prepareCompanions(path: string): boolean {
  const user = process.geteuid?.() ?? 0;
  if (user === 0) return false;
  const identity = fileIdentityOrNull(path);
  const database = ownershipOrNull(path);
  if (identity === null || database === null || !readDatabaseHeader(path).isWal) return false;
  const groups = [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])];
  const isOwnerInGroup = database.uid === user || isMember(database.uid, database.gid);
  const plan = planCompanions({ user, groups, database, isOwnerInGroup });
  if (plan === "sqlite") return false;
  if (plan === "share") {
    for (const suffix of SUFFIXES) share(`${path}${suffix}`, user, database, identity);
    return false;
  }
  if (SUFFIXES.some((suffix) => ownershipOrNull(`${path}${suffix}`) === null)) throw notFirst(path);
  return true;
}

/**
 * After the files are open: the application may have deleted them just before, so that we made them.
 * @throws WalrustError code "database-busy", retryable
 */
export function assertCompanionsNotOurs(path: string): void {
  const user = process.geteuid?.() ?? 0;
  if (SUFFIXES.some((suffix) => ownershipOrNull(`${path}${suffix}`)?.uid === user)) throw notFirst(path);
}

function notFirst(path: string): WalrustError {
  const what =
    "nobody else has it open, and its owner could not open the -wal and -shm that walrust would make";
  return new WalrustError("database-busy", `Cannot open ${path} yet: ${what}`, {
    hint:
      "Start the application: walrust goes on when it has opened the database. Or run walrust as the owner " +
      "of the database, or make that owner a member of the database's group",
    retryable: true,
    context: { path },
  });
}

/** Makes a missing file with the database's group and mode; mends one of ours that has another. */
function share(path: string, user: number, { gid, mode }: FileOwnership, database: FileIdentity): void {
  const { O_RDWR, O_CREAT, O_EXCL, O_NOFOLLOW, O_NONBLOCK } = constants;
  const wanted = mode & 0o777;
  const found = ownershipOrNull(path);
  const isRight = found !== null && found.gid === gid && (found.mode & 0o777) === wanted;
  if (isRight || (found !== null && found.uid !== user)) return;
  const creating = found === null ? O_CREAT | O_EXCL : 0;
  try {
    const fd = openSync(path, O_RDWR | creating | O_NOFOLLOW | O_NONBLOCK, 0o600);
    try {
      const made = fstatSync(fd);
      if (made.uid !== user || !made.isFile()) return;
      if (made.gid !== gid) changeGroup(fd, user, gid);
      if ((made.mode & 0o777) !== wanted) fchmodSync(fd, wanted);
    } finally {
      closeDescriptor(database, fd);
    }
  } catch (error) {
    // The application was quicker: the file is its own.
    if (systemCode(error) === "EEXIST" || systemCode(error) === "ENOENT") return;
    throw new WalrustError("database", `Cannot make ${path}: ${systemCode(error)}`, {
      hint: "walrust needs to write in the folder of the database, like every SQLite connection",
      context: { path },
      cause: error,
    });
  }
}

/** Where others may write anyway, a group that is not ours to give changes nothing. */
function changeGroup(fd: number, user: number, gid: number): void {
  try {
    fchownSync(fd, user, gid);
  } catch (error) {
    if (systemCode(error) !== "EPERM") throw error;
  }
}

function ownershipOrNull(path: string): FileOwnership | null {
  const stats = statSync(path, { throwIfNoEntry: false });
  return stats === undefined ? null : { uid: stats.uid, gid: stats.gid, mode: stats.mode };
}

/** Whether a user is known to be a member of a group: root may do everything, others stand in /etc. */
function isMember(uid: number, gid: number): boolean {
  if (uid === 0) return true;
  const user = rowsOf("/etc/passwd").find((fields) => fields[2] === String(uid));
  if (user === undefined) return false;
  if (user[3] === String(gid)) return true;
  const group = rowsOf("/etc/group").find((fields) => fields[2] === String(gid));
  return group?.[3]?.split(",").includes(user[0] ?? "") === true;
}

function rowsOf(path: string): string[][] {
  try {
    return readFileSync(path, "utf8")
      .split("\n")
      .map((line) => line.split(":"));
  } catch {
    // The members are not known then, and nothing is assumed.
    return [];
  }
}
