/**
 * Announcements: small files that name the control socket of a running watch, so that other processes of the
 * same user find the socket. For each database three files hold the path of the socket: `watch.socket` in the
 * state folder, and two files in the runtime folder, one found by the database's path and one by destination
 * and name. A `.path` file in the runtime folder holds the path of a database. It is found by destination and
 * name, and outlives the watch.
 *
 * An announcement counts only if our user wrote it and our user owns the socket: another user could give
 * false answers. A killed watch leaves its files behind. Nobody answers at their socket, so clients treat
 * them as absent, and the next watch removes them.
 */
import { existsSync, lstatSync, readdirSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { randomTag } from "../../env.ts";
import { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import { ownUid, readOwnOrNull, replaceOwn } from "../../local/own-file.ts";

/** The most announcements that one sweep or listing reads; the next sweep continues. */
const SWEPT_MAX = 4_096;
/** The most announcements that are read to find all sockets. */
const SOCKETS_MAX = 16_384;
/** An announcement is a path. */
const ANNOUNCEMENT_SIZE_MAX = 4_096;
/** The announcement in the state folder of a database. */
const SOCKET_FILE = "watch.socket";
const ANNOUNCEMENT_NAME = /^[0-9a-f]{32}(\.path)?$/;
const SOCKET_NAME = /^walrust-(\d+)-[0-9a-f]+\.sock$/;
/** The end of a socket's path until it listens. */
export const UNNAMED_END = ".new";
const UNNAMED_SOCKET_NAME = /^walrust-\d+-[0-9a-f]+\.sock\.new$/;
/** A socket that does not listen this long after it was made never will: its process was killed. */
const UNNAMED_LIMIT_MS = 60_000;

/** A database as it is announced. */
export interface AnnouncedDatabase {
  readonly stateFolder: string;
  readonly destination: string;
  readonly name: string;
  /** Real path of the file. */
  readonly path?: string;
}

/**
 * Identifies this process beside its id: processes of other containers, which may share the runtime folder,
 * often have the same id.
 */
const PROCESS_TAG = randomTag().slice(0, 8);

/** The name of a new socket of this process. @param tag random hex digits */
export function socketName(tag: string): string {
  return `${ownSocketStart()}${tag}.sock`;
}

/** Whether this process listens, or has listened, on a socket. */
export function isOwnProcessSocket(path: string): boolean {
  return basename(path).startsWith(ownSocketStart());
}

function ownSocketStart(): string {
  return `walrust-${process.pid}-${PROCESS_TAG}`;
}

/** The id of the process that listens on a socket. */
export function pidOfSocket(path: string): number {
  return Number(SOCKET_NAME.exec(basename(path))?.[1]);
}

/**
 * The announcements of one socket. A file that names another socket is left alone. Only the state folders are
 * remembered: hundreds of databases have them anyway.
 */
export class Announcements {
  readonly #stateFolders = new Set<string>();

  /** @param runtimeFolder the folder that other processes of this user search, or null */
  constructor(
    readonly runtimeFolder: string | null,
    readonly socketPath: string,
  ) {}

  /** Names the socket for a database. Repeated calls write only what is missing. */
  announce(database: AnnouncedDatabase): void {
    const { stateFolder, destination, name, path } = database;
    if (this.runtimeFolder !== null && path !== undefined) {
      replaceOwn(join(this.runtimeFolder, `${hashOf(destination, name)}.path`), path);
    }
    this.#stateFolders.add(stateFolder);
    // The state folder may have been made anew.
    for (const file of this.#filesOf(database)) if (!this.#isOurs(file)) replaceOwn(file, this.socketPath);
  }

  /** Removes the files of `announce`. */
  withdraw(database: AnnouncedDatabase): void {
    this.#stateFolders.delete(database.stateFolder);
    for (const file of this.#filesOf(database)) this.#removeIfOurs(file);
  }

  /** Removes all files of this socket, and the socket. */
  close(): void {
    for (const folder of this.#stateFolders) this.#removeIfOurs(join(folder, SOCKET_FILE));
    for (const file of this.#runtimeFiles()) this.#removeIfOurs(file);
    removeIfCan(this.socketPath);
  }

  #isOurs(file: string): boolean {
    return announcedOrNull(file) === this.socketPath;
  }

  #removeIfOurs(file: string): void {
    if (this.#isOurs(file)) removeIfCan(file);
  }

  #runtimeFiles(): string[] {
    const folder = this.runtimeFolder;
    try {
      return folder === null ? [] : readdirSync(folder).map((name) => join(folder, name));
    } catch {
      // The folder is gone, and the announcements with it.
      return [];
    }
  }

  #filesOf({ stateFolder, destination, name, path }: AnnouncedDatabase): string[] {
    const folder = this.runtimeFolder;
    const files = [join(stateFolder, SOCKET_FILE)];
    if (folder === null) return files;
    if (path !== undefined) files.push(join(folder, hashOf("", path)));
    return [...files, join(folder, hashOf(destination, name))];
  }
}

/** The files that may name the watch of a database, given its state folder and its path. */
export function announcementsByPath(
  stateFolder: string,
  path: string | undefined,
  folders: RuntimeFolders,
): string[] {
  const byPath = path === undefined ? [] : folders.present().map((folder) => join(folder, hashOf("", path)));
  return [join(stateFolder, SOCKET_FILE), ...byPath];
}

/** The files that may name the watch that replicates `name` to `destination`. */
export function announcementsByName(destination: string, name: string, folders: RuntimeFolders): string[] {
  return folders.present().map((folder) => join(folder, hashOf(destination, name)));
}

/** The socket that an announcement names, or null when the file or the socket is absent or another user's. */
export function announcedSocketOrNull(file: string): string | null {
  const path = announcedOrNull(file);
  return path !== null && isOwnSocket(path) ? path : null;
}

/** The socket of a database's watch, or null; its process may be dead all the same. */
export function socketPathOrNull(
  stateFolder: string,
  databasePath: string,
  folders: RuntimeFolders,
): string | null {
  for (const file of announcementsByPath(stateFolder, databasePath, folders)) {
    const path = announcedSocketOrNull(file);
    if (path !== null) return path;
  }
  return null;
}

/**
 * The sockets of all watches of this user that other processes can find. A watch whose socket lies in a
 * temporary folder is found by the announcements of its databases.
 * @param stateFolders folders of databases that may hold an announcement
 */
export function announcedSockets(folders: RuntimeFolders, stateFolders: readonly string[] = []): string[] {
  const files = stateFolders.map((folder) => join(folder, SOCKET_FILE));
  const sockets = new Set<string>();
  for (const folder of folders.present()) {
    for (const name of readdirSync(folder)) {
      if (SOCKET_NAME.test(name) && isOwnSocket(join(folder, name))) sockets.add(join(folder, name));
      if (ANNOUNCEMENT_NAME.test(name) && !name.endsWith(".path") && files.length < SOCKETS_MAX)
        files.push(join(folder, name));
    }
  }
  for (const file of files) {
    const socket = announcedSocketOrNull(file);
    if (socket !== null) sockets.add(socket);
  }
  return [...sockets].sort();
}

/** The path of the database that a watch of this user last replicated to this name, or null. */
export function databasePathOrNull(
  destination: string,
  name: string,
  folders = RuntimeFolders.standard(),
): string | null {
  for (const folder of folders.present()) {
    const path = announcedOrNull(join(folder, `${hashOf(destination, name)}.path`));
    if (path !== null && existsSync(path)) return path;
  }
  return null;
}

/** The real paths of all databases that watches of this user replicated and that exist. */
export function announcedPaths(folders: RuntimeFolders): string[] {
  const paths: string[] = [];
  for (const folder of folders.present()) {
    for (const name of readdirSync(folder).slice(0, SWEPT_MAX)) {
      const isPath = ANNOUNCEMENT_NAME.test(name) && name.endsWith(".path");
      const path = isPath ? announcedOrNull(join(folder, name)) : null;
      if (path !== null && existsSync(path)) paths.push(path);
    }
  }
  return paths;
}

/**
 * Removes the announcements of databases that are gone, and the sockets that nobody answers.
 * @param own the socket of this watch, made just now: its time is the present time of the file system
 */
export function sweepAnnouncements(folder: string, own: string): void {
  try {
    const nowMs = lstatSync(own).mtimeMs;
    for (const name of readdirSync(folder).slice(0, SWEPT_MAX)) {
      const file = join(folder, name);
      if (file === own) continue;
      if (SOCKET_NAME.test(name) || isUnnamed(name, file, nowMs)) void removeIfDead(file);
      else if (ANNOUNCEMENT_NAME.test(name) && !existsSync(announcedOrNull(file) ?? "")) {
        rmSync(file, { force: true });
      }
    }
  } catch {
    // Another watch sweeps, too: the next start removes the rest.
  }
}

/** The path that a file of our user names, or null. */
function announcedOrNull(file: string): string | null {
  try {
    return readOwnOrNull(file, ANNOUNCEMENT_SIZE_MAX);
  } catch {
    return null;
  }
}

/** Whether this is the socket of a watch of our user. */
function isOwnSocket(path: string): boolean {
  try {
    const stats = lstatSync(path);
    return SOCKET_NAME.test(basename(path)) && stats.isSocket() && stats.uid === ownUid();
  } catch {
    // The socket went with its watch.
    return false;
  }
}

/** Whether this is a socket that got no name in time. */
function isUnnamed(name: string, file: string, nowMs: number): boolean {
  if (!UNNAMED_SOCKET_NAME.test(name)) return false;
  const stats = lstatSync(file, { throwIfNoEntry: false });
  return stats !== undefined && nowMs - stats.mtimeMs > UNNAMED_LIMIT_MS;
}

async function removeIfDead(path: string): Promise<void> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => {} } });
    socket.terminate();
  } catch {
    removeIfCan(path);
  }
}

/** Removes a file. A path that stays behind leads to a socket that nobody answers, and ends no watch. */
function removeIfCan(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // Somebody put a folder there, among others.
  }
}

function hashOf(destination: string, name: string): string {
  return new Bun.CryptoHasher("sha256").update(`${destination}\n${name}`).digest("hex").slice(0, 32);
}
