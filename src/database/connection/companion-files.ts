/**
 * Decides whether walrust may be the first to open a database. The first connection creates -wal and -shm,
 * and every user of the database must be able to open these companion files. SQLite gives them the mode of
 * the database, and as root also its owner and group. If another user opens the database first, the files get
 * that user's group, and the application can no longer open its database.
 *
 * So a user who is neither root nor the owner creates both files itself, with mode and group of the database,
 * if the owner can open them then. Otherwise walrust is never first: it creates no file and waits until the
 * application has opened the database.
 */
import {
  accessSync,
  constants,
  fchmodSync,
  fchownSync,
  fstatSync,
  openSync,
  readFileSync,
  statSync,
} from "node:fs";
import { dirname } from "node:path";
import { systemCode, WalrustError } from "../../errors.ts";
import {
  closeDescriptor,
  type FileIdentity,
  fileIdentityOrNull,
  readDatabaseHeader,
} from "../files/descriptors.ts";
import { answerText, folderHintOrNull } from "../files/regular-file.ts";

const NEEDS_FOLDER = "walrust needs to write in the folder of the database, like every SQLite connection";

/** Owner, group and permission bits of a file. */
export interface FileOwnership {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/** The facts of the decision. */
export interface CompanionFacts {
  /** The effective user of this process and all its groups. */
  readonly user: number;
  readonly groups: readonly number[];
  readonly database: FileOwnership;
  /** Whether the owner of the database is known to be a member of its group. */
  readonly isOwnerInGroup: boolean;
}

/**
 * "sqlite": SQLite creates the files correctly. "share": walrust creates them, with group and mode of the
 * database. "wait": a user of the database could not open the files that walrust creates.
 */
export type CompanionPlan = "sqlite" | "share" | "wait";

const GROUP_WRITES = 0o060;
const OTHERS_WRITE = 0o006;
const SUFFIXES = ["-wal", "-shm"] as const;

/** PURE: decides who creates -wal and -shm. */
export function planCompanions({ user, groups, database, isOwnerInGroup }: CompanionFacts): CompanionPlan {
  if (user === 0) return "sqlite";
  const { uid, gid, mode } = database;
  const doOthersWrite = (mode & OTHERS_WRITE) === OTHERS_WRITE;
  if (!groups.includes(gid)) return uid === user ? "sqlite" : doOthersWrite ? "share" : "wait";
  if (uid === user || doOthersWrite) return "share";
  return (mode & GROUP_WRITES) === GROUP_WRITES && isOwnerInGroup ? "share" : "wait";
}

/**
 * Prepares the companion files for a connection that is about to open.
 * @returns whether walrust must not create them: call `assertCompanionsNotOurs` once they are open
 * @throws WalrustError code "database-busy", retryable, when the application has to open the database first
 */
export function prepareCompanions(path: string): boolean {
  const identity = fileIdentityOrNull(path);
  const database = ownershipOrNull(path);
  if (identity === null || database === null || !readDatabaseHeader(path).isWal) return false;
  const user = process.geteuid?.() ?? 0;
  const plan = planFor(user, database);
  if (plan === "share") for (const suffix of SUFFIXES) share(`${path}${suffix}`, user, database, identity);
  if (plan !== "wait") return false;
  if (isAnyMissing(path)) throw notFirst(path);
  return true;
}

/**
 * Checks whether a connection could open the companion files, or create them. Creates none.
 * @throws WalrustError code "database-busy" as `prepareCompanions`; code "database" when the folder refuses
 */
export function requireCompanions(path: string): void {
  const database = ownershipOrNull(path);
  if (database === null || !isAnyMissing(path)) return;
  if (planFor(process.geteuid?.() ?? 0, database) === "wait") throw notFirst(path);
  try {
    accessSync(dirname(path), constants.W_OK | constants.X_OK);
  } catch (error) {
    throw uncreatable(`${path}-wal`, error);
  }
}

function isAnyMissing(path: string): boolean {
  return SUFFIXES.some((suffix) => ownershipOrNull(`${path}${suffix}`) === null);
}

/** The plan for this process. */
function planFor(user: number, database: FileOwnership): CompanionPlan {
  if (user === 0) return "sqlite";
  const groups = [process.getegid?.() ?? 0, ...(process.getgroups?.() ?? [])];
  const isOwnerInGroup = database.uid === user || isMember(database.uid, database.gid);
  return planCompanions({ user, groups, database, isOwnerInGroup });
}

function uncreatable(path: string, cause: unknown): WalrustError {
  return new WalrustError("database", `Cannot create ${path}: ${answerText(cause)}`, {
    hint: folderHintOrNull(path) ?? NEEDS_FOLDER,
    context: { path },
    cause,
  });
}

/**
 * Checks the companion files once they are open: if the application deleted them just before, SQLite has
 * created them for walrust.
 * @throws WalrustError code "database-busy", retryable
 */
export function assertCompanionsNotOurs(path: string): void {
  const user = process.geteuid?.() ?? 0;
  if (SUFFIXES.some((suffix) => ownershipOrNull(`${path}${suffix}`)?.uid === user)) throw notFirst(path);
}

function notFirst(path: string): WalrustError {
  const what =
    "nobody else has it open, and its owner could not open the -wal and -shm that walrust would create";
  return new WalrustError("database-busy", `Cannot open ${path} yet: ${what}`, {
    hint:
      "Start the application: walrust continues when it has opened the database. Or run walrust as the " +
      "owner of the database, or make that owner a member of the database's group",
    retryable: true,
    context: { path },
  });
}

/** Creates a missing file with group and mode of the database, or corrects those of a file of ours. */
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
    // The application was faster: it created or deleted the file.
    if (systemCode(error) === "EEXIST" || systemCode(error) === "ENOENT") return;
    throw uncreatable(path, error);
  }
}

/** Sets the group. Without permission it stays: then all users may write, and the group does not matter. */
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

/** Whether a user is known to be a member of a group: root always, others by /etc/passwd and /etc/group. */
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
    // The members are unknown, so nobody counts as a member.
    return [];
  }
}
