/**
 * Finds the processes that write a database whose file is deleted, from the descriptors in /proc. Their
 * commits are in no file that another process can open, and are gone when the last of them ends.
 *
 * A connection in WAL mode has the database file and its -wal open. So a process counts if it has the deleted
 * file open for writing, and beside it the -wal of that path, deleted or not. A walrust that watches the file
 * does not count. A renamed file, and one with another hard link, is not deleted.
 * Other users' processes show only to root, and processes of other pid namespaces to nobody.
 */
import { type BigIntStats, lstatSync, readlinkSync, statSync } from "node:fs";
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import { type FileIdentity, identityOf } from "./files/descriptors.ts";
import { commandOf, type FileUser, isWalrust, namesIn, usersTextOrNull } from "./files/file-users.ts";

/** The end of a link in /proc to a file whose name is removed. */
const DELETED = " (deleted)";
const WAL = "-wal";
/** The permission of a link in /proc to a file that is open for writing. */
const WRITABLE = 0o200;

/** A process that has a deleted database open. */
export interface DeletedUser extends FileUser {
  /** The deleted files of that path: more than one after several deletions. */
  readonly deleted: readonly FileIdentity[];
  /** `/proc/PID/fd/N` of the database file and its -wal; null when the process has several of them. */
  readonly files: { readonly database: string; readonly wal: string } | null;
}

/**
 * The processes with a deleted database open, by the path that it had. Without this process.
 * @param isMeant whether a path is asked for
 * @param procFolder the mount of proc(5)
 */
export function usersOfDeleted(
  isMeant: (path: string) => boolean,
  procFolder = "/proc",
): ReadonlyMap<string, readonly DeletedUser[]> {
  const users = new Map<string, DeletedUser[]>();
  for (const name of namesIn(procFolder)) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    for (const [path, { databases, wals }] of openDatabases(`${procFolder}/${name}/fd`)) {
      if (wals.length === 0 || !isMeant(path)) continue;
      const links = databases.filter((link) => isWritable(link));
      const deleted = links.flatMap((link) => deletedFileOrNull(link) ?? []);
      if (deleted.length === 0) continue;
      const [database, wal] = [soleOrNull(links), soleOrNull(wals)];
      const files = database === null || wal === null ? null : { database, wal };
      const user = { pid, command: commandOf(`${procFolder}/${name}/comm`) };
      // It opens a -wal for a moment at a time.
      if (isWalrust(user)) continue;
      const of = users.get(path) ?? [];
      of.push({ ...user, deleted, files });
      users.set(path, of);
    }
  }
  return users;
}

/** The links to the files of one database. */
interface OpenDatabase {
  /** Links to files that had the path of the database, and have it no more. */
  readonly databases: string[];
  readonly wals: string[];
}

/** The databases without a name that a process has open, by the path that they had. */
function openDatabases(folder: string): ReadonlyMap<string, OpenDatabase> {
  const found = new Map<string, OpenDatabase>();
  const wals = new Map<string, string[]>();
  for (const name of namesIn(folder)) {
    const link = `${folder}/${name}`;
    const target = targetOrNull(link);
    if (target === null) continue;
    const isNameless = target.endsWith(DELETED);
    const path = isNameless ? target.slice(0, -DELETED.length) : target;
    if (path.endsWith(WAL)) {
      const database = path.slice(0, -WAL.length);
      const links = wals.get(database) ?? [];
      links.push(link);
      wals.set(database, links);
    } else if (isNameless) {
      const open = found.get(path) ?? { databases: [], wals: [] };
      open.databases.push(link);
      found.set(path, open);
    }
  }
  for (const [path, open] of found) open.wals.push(...(wals.get(path) ?? []));
  return found;
}

function targetOrNull(link: string): string | null {
  try {
    return readlinkSync(link);
  } catch {
    // The descriptor is closed by now.
    return null;
  }
}

/** The file of a link if it has no name any more, or null. */
function deletedFileOrNull(link: string): FileIdentity | null {
  const stats = statsOrNull(link);
  return stats === null || stats.nlink !== 0n ? null : identityOf(stats);
}

function isWritable(link: string): boolean {
  try {
    return (lstatSync(link).mode & WRITABLE) !== 0;
  } catch {
    return false;
  }
}

/** The link to the one file that all links lead to, or null. */
function soleOrNull(links: readonly string[]): string | null {
  const files = new Set(links.map((link) => statsOrNull(link)?.ino));
  return files.size === 1 ? (links[0] ?? null) : null;
}

function statsOrNull(link: string): BigIntStats | null {
  try {
    return statSync(link, { bigint: true });
  } catch {
    // The process has ended.
    return null;
  }
}

/** The processes in words; "an application" where none shows. */
export function holdersText(users: readonly FileUser[]): string {
  return usersTextOrNull(users) ?? "an application";
}

/**
 * The commands that save the content of a deleted database to saved.db. SQLite neither checkpoints nor keeps
 * a deleted file when its connection closes, so the copies come before the end of the processes.
 */
export function rescueCommands(users: readonly DeletedUser[]): string {
  const known = users.find((user) => user.files !== null)?.files ?? null;
  const folder = `/proc/${users[0]?.pid ?? "PID"}/fd`;
  const { database, wal } = known ?? { database: `${folder}/N`, wal: `${folder}/M` };
  const numbers = known === null ? `ls -l ${folder} (N: the database, M: its -wal); ` : "";
  const pids = users.length === 0 ? "PID" : users.map(({ pid }) => pid).join(" ");
  return (
    `${numbers}kill -STOP ${pids}; cp ${database} saved.db; cp ${wal} saved.db-wal; kill -KILL ${pids}; ` +
    "sqlite3 saved.db 'PRAGMA wal_checkpoint(TRUNCATE)'"
  );
}

/** The error of a path whose deleted file is open in other processes. */
export function deletedInUseError(path: string, users: readonly DeletedUser[]): WalrustError {
  const found = `A deleted file of ${path} is open in ${holdersText(users)}`;
  return new WalrustError("database", `${found}: no other file has its commits, and a new one stays unseen`, {
    hint:
      "End the process, then restore. Its commits since the deletion end with it; to keep them in saved.db " +
      `first: ${rescueCommands(users)}`,
    context: { path },
  });
}

/** Each look at all descriptors of a machine takes tens of milliseconds. */
const RECENT_MS = 1_000;

/** The deleted databases that processes have open, looked for at most once a second. */
export class RecentDeletedUsers {
  #users: ReadonlyMap<string, readonly DeletedUser[]> = new Map();
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(readonly env: Pick<Env, "monotonicMs">) {}

  /** @throws WalrustError code "database" when a process has a deleted file of this path open */
  requireNone(path: string): void {
    const nowMs = this.env.monotonicMs();
    if (nowMs - this.#lookedMs >= RECENT_MS) {
      this.#users = usersOfDeleted(() => true);
      this.#lookedMs = nowMs;
    }
    const users = this.#users.get(path);
    if (users !== undefined) throw deletedInUseError(path, users);
  }
}
