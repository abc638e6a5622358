/**
 * How `walrust snapshot` and `walrust compact` ask a running watch: over a Unix socket of that process, one
 * for all its databases, in a folder that only its user can open (see runtime-folder.ts). Its path stands in
 * the file `watch.socket` of each state folder, and in files of that folder for each path and each name.
 *
 * Protocol: the client sends one JSON document and a newline. The server acknowledges the request at once
 * with the line `{"ok":true,"accepted":true}`, then answers with one JSON document and a newline, and closes.
 * A client that receives no acknowledgement knows that the process hangs, and reports its id, which is part
 * of the socket's name (`walrust-PID-….sock`).
 *
 * Only our user can ask, and be asked: the socket has mode 0600, and a client asks none that another user
 * owns. A file left by a process that was killed leads to a socket nobody answers, which is the same as no
 * file.
 */
import { existsSync, lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Socket } from "bun";
import { type Env, randomTag } from "../../env.ts";
import { asWalrustError, WalrustError } from "../../errors.ts";
import { parentsDistrustOrNull } from "../../local/folder-trust.ts";
import { ownUid, readOwnOrNull, replaceOwn } from "../../local/own-file.ts";
import { realParent } from "../../local/places.ts";
import { RuntimeFolders } from "../../local/runtime-folder.ts";
import type { GivenUpkeep } from "../upkeep/maintenance.ts";

/** The address of a Unix socket has room for 108 bytes with its end. */
const SOCKET_PATH_MAX = 100;
const REQUEST_SIZE_MAX = 64 * 1024;
/** Announcements looked at when a watch starts; the rest is left to later ones. */
const SWEPT_MAX = 4_096;
/** An announcement is a path. */
const ANNOUNCEMENT_SIZE_MAX = 4_096;
const ANNOUNCEMENT_NAME = /^[0-9a-f]{32}(\.path)?$/;
const SOCKET_NAME = /^walrust-(\d+)-[0-9a-f]+\.sock$/;
/** A watch that takes longer to say that it has heard hangs, or is stopped. */
const ACKNOWLEDGE_LIMIT_MS = 10_000;

const VERBS = ["snapshot", "compact", "checksum"] as const;

/** What a client asks. */
export interface ControlRequest {
  readonly verb: "snapshot" | "compact" | "checksum";
  /** Real path of the database, or its name below the watch's destination. */
  readonly path?: string;
  readonly name?: string;
  /** Where the caller expects the objects: a watch that replicates elsewhere must not answer for it. */
  readonly destination: string;
  /** For compact: the settings that its caller gives; all others are those of the watch. */
  readonly given?: GivenUpkeep;
  /** For compact: whether to write and delete. */
  readonly force?: boolean;
}

/** Who asks: for how long it waits is in its hands. */
export interface Asker {
  readonly env: Pick<Env, "sleep">;
  /** Ends the waiting; the watch goes on with what it was asked for. */
  readonly signal: AbortSignal;
}

/** The answer: a result of the verb, or an error's content. */
export type ControlAnswer =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly hint: string | null };

/** A socket that answers until it is closed. */
export interface ControlServer {
  readonly path: string;
  /** Names the socket in a state folder, and for destination and name. */
  announce(stateFolder: string, destination: string, name: string, databasePath?: string): void;
  /** Takes back what `announce` named. */
  withdraw(stateFolder: string, destination: string, name: string, databasePath?: string): void;
  close(): void;
}

/**
 * Serves requests on a new socket in the first folder for it; in a temporary one where that path is too long.
 * @throws WalrustError code "database" when there is no folder that is ours alone
 */
export function serveControl(
  folders: RuntimeFolders,
  handle: (request: ControlRequest) => Promise<unknown>,
): ControlServer {
  const meetingFolder = folders.ownOrNull();
  const { path, ownFolder } = socketPlace(meetingFolder);
  const announced = new Set<string>();
  if (meetingFolder !== null) sweep(meetingFolder);
  const listener = listenAlone({
    unix: path,
    socket: {
      open: (socket) => {
        socket.data = newExchange();
      },
      data: (socket, bytes) => {
        const { data } = socket;
        if (data.isAnswering) return;
        data.text += data.decoder.decode(bytes, { stream: true });
        const end = data.text.indexOf("\n");
        if (end < 0 && data.text.length > REQUEST_SIZE_MAX) {
          data.text = "";
          data.isAnswering = true;
          socket.terminate();
        }
        if (end < 0) return;
        data.isAnswering = true;
        const acknowledge = (): void => send(socket, { ok: true, accepted: true });
        void answerTo(data.text.slice(0, end), handle, acknowledge).then((answer) => {
          data.isAnswered = true;
          send(socket, answer);
        });
      },
      drain: (socket) => {
        if (socket.data.unsent.length > 0) sendRest(socket);
      },
    },
  });
  return {
    path,
    announce: (stateFolder, destination, name, databasePath) => {
      // Outlives the watch: it tells where the database is that has this name.
      if (meetingFolder !== null && databasePath !== undefined) {
        replaceOwn(join(meetingFolder, `${hashOf(destination, name)}.path`), databasePath);
      }
      for (const file of announcementsOf(meetingFolder, stateFolder, destination, name, databasePath)) {
        // The state folder may have been made anew.
        if (announced.has(file) && existsSync(file)) continue;
        replaceOwn(file, path);
        announced.add(file);
      }
    },
    withdraw: (stateFolder, destination, name, databasePath) => {
      for (const file of announcementsOf(meetingFolder, stateFolder, destination, name, databasePath)) {
        if (announced.delete(file)) removeIfCan(file);
      }
    },
    close: () => {
      listener.stop(true);
      for (const file of announced) removeIfCan(file);
      removeIfCan(path);
      if (ownFolder !== null) rmSync(ownFolder, { recursive: true, force: true });
    },
  };
}

/** What is known of one client. */
interface Exchange {
  readonly decoder: TextDecoder;
  text: string;
  /** One request a connection: what comes after it is not read. */
  isAnswering: boolean;
  /** Nothing comes after what is not sent yet. */
  isAnswered: boolean;
  unsent: Uint8Array;
}

function newExchange(): Exchange {
  const unsent = new Uint8Array(0);
  return { decoder: new TextDecoder(), text: "", isAnswering: false, isAnswered: false, unsent };
}

function send(socket: Socket<Exchange>, value: unknown): void {
  const { data } = socket;
  data.unsent = Buffer.concat([data.unsent, new TextEncoder().encode(`${JSON.stringify(value)}\n`)]);
  sendRest(socket);
}

/** Sends what the socket takes now, and ends it after the answer; the rest follows when it drains. */
function sendRest(socket: Socket<Exchange>): void {
  const { data } = socket;
  const sent = socket.write(data.unsent);
  data.unsent = data.unsent.subarray(Math.max(0, sent));
  if ((data.unsent.length === 0 && data.isAnswered) || sent < 0) socket.end();
}

/** Where a new socket goes. @throws WalrustError code "database" when that cannot be */
function socketPlace(folder: string | null): { path: string; ownFolder: string | null } {
  const fileName = `walrust-${process.pid}-${randomTag().slice(0, 8)}.sock`;
  const wanted = join(folder ?? "", fileName);
  const isShort = new TextEncoder().encode(wanted).length <= SOCKET_PATH_MAX;
  if (folder !== null && isShort) return { path: wanted, ownFolder: null };
  // Others may rename what lies in a temporary folder without its sticky bit.
  const parent = [tmpdir(), "/tmp"]
    .map(realParent)
    .find((one) => parentsDistrustOrNull(join(one, "x")) === null);
  if (parent === undefined) {
    throw new WalrustError("database", `Cannot put a socket anywhere: other users can change ${tmpdir()}`, {
      hint: "Set XDG_RUNTIME_DIR, or RuntimeDirectory= of the service, to a folder of this user alone",
    });
  }
  const ownFolder = mkdtempSync(join(parent, "walrust-"));
  return { path: join(ownFolder, fileName), ownFolder };
}

/** Listens on a socket that only our user can open, from the first moment on. */
function listenAlone(options: Parameters<typeof Bun.listen<Exchange>>[0]): {
  stop(closesAll: boolean): void;
} {
  const before = process.umask(0o177);
  try {
    return Bun.listen<Exchange>(options);
  } finally {
    process.umask(before);
  }
}

/**
 * Removes announcements of databases that are gone, and sockets that nobody answers: a watch that was killed
 * takes nothing along, and what says where a database is outlives every watch.
 */
function sweep(folder: string): void {
  try {
    for (const name of readdirSync(folder).slice(0, SWEPT_MAX)) {
      const file = join(folder, name);
      if (SOCKET_NAME.test(name)) void removeIfDead(file);
      else if (ANNOUNCEMENT_NAME.test(name) && !existsSync(announcedOrNull(file) ?? "")) {
        rmSync(file, { force: true });
      }
    }
  } catch {
    // Another watch sweeps, too: what is left is for the next start.
  }
}

/** A path that stays behind leads to a socket that nobody answers, and ends no watch. */
function removeIfCan(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {
    // Somebody put a folder there, among others.
  }
}

async function removeIfDead(path: string): Promise<void> {
  try {
    const socket = await Bun.connect({ unix: path, socket: { data: () => {} } });
    socket.terminate();
  } catch {
    removeIfCan(path);
  }
}

/** The path that a file of ours names, or null: there is none, or it is not ours. */
function announcedOrNull(file: string): string | null {
  try {
    return readOwnOrNull(file, ANNOUNCEMENT_SIZE_MAX);
  } catch {
    return null;
  }
}

/** The files that name the socket for one database. */
function announcementsOf(
  meetingFolder: string | null,
  stateFolder: string,
  destination: string,
  name: string,
  databasePath: string | undefined,
): string[] {
  const files = [join(stateFolder, "watch.socket")];
  if (meetingFolder === null) return files;
  if (databasePath !== undefined) files.push(join(meetingFolder, hashOf("", databasePath)));
  return [...files, join(meetingFolder, hashOf(destination, name))];
}

function hashOf(destination: string, name: string): string {
  return new Bun.CryptoHasher("sha256").update(`${destination}\n${name}`).digest("hex").slice(0, 32);
}

async function answerTo(
  text: string,
  handle: (request: ControlRequest) => Promise<unknown>,
  acknowledge: () => void,
): Promise<ControlAnswer> {
  try {
    const request = JSON.parse(text) as ControlRequest;
    if (!VERBS.some((verb) => verb === request.verb)) {
      throw new WalrustError("usage", `Unknown request ${JSON.stringify(request.verb)}`);
    }
    acknowledge();
    return { ok: true, result: await handle(request) };
  } catch (error) {
    const { code, message, hint } = asWalrustError(error);
    return { ok: false, code, message, hint: hint ?? null };
  }
}

/**
 * Asks the watch that has the database with this state folder, or else the one that has the request's path.
 * @param asker without one it is waited for as long as it takes
 * @returns its answer, or null when no watch runs
 * @throws WalrustError with the code the watch answered; code "locked" when it does not acknowledge within
 * 10 s, or when the asker waits no longer
 */
export async function askWatchOrNull(
  stateFolder: string,
  request: ControlRequest,
  asker?: Asker,
  folders = RuntimeFolders.standard(),
): Promise<unknown | null> {
  const { path } = request;
  const byPath = path === undefined ? [] : folders.present().map((folder) => join(folder, hashOf("", path)));
  return askFirstOrNull([join(stateFolder, "watch.socket"), ...byPath], request, asker);
}

/** Where the database is that a watch of this user last replicated to this name, or null. */
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

/**
 * Asks the watch of this user that replicates `name` to `destination`, if one runs on this machine.
 * @throws as `askWatchOrNull`
 */
export async function askWatchByNameOrNull(
  destination: string,
  name: string,
  request: ControlRequest,
  asker?: Asker,
  folders = RuntimeFolders.standard(),
): Promise<unknown | null> {
  const files = folders.present().map((folder) => join(folder, hashOf(destination, name)));
  return askFirstOrNull(files, request, asker);
}

async function askFirstOrNull(
  announcements: readonly string[],
  request: ControlRequest,
  asker: Asker | undefined,
): Promise<unknown | null> {
  for (const announcement of announcements) {
    const answer = await askOrNull(announcement, request, asker);
    if (answer !== null) return answer;
  }
  return null;
}

/** Where the watch of a database listens, if that is there and ours; its process may be dead all the same. */
export function socketPathOrNull(
  stateFolder: string,
  databasePath: string,
  folders: RuntimeFolders,
): string | null {
  const byPath = folders.present().map((folder) => join(folder, hashOf("", databasePath)));
  for (const file of [join(stateFolder, "watch.socket"), ...byPath]) {
    const path = announcedOrNull(file);
    if (path !== null && isOwnSocket(path)) return path;
  }
  return null;
}

/** The databases that watches of this user had and that are there, by their real paths. */
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

/** Whether this is the socket of a watch of our user: another user's answers would be lies. */
function isOwnSocket(path: string): boolean {
  try {
    const stats = lstatSync(path);
    return SOCKET_NAME.test(basename(path)) && stats.isSocket() && stats.uid === ownUid();
  } catch {
    // It went with its watch.
    return false;
  }
}

async function askOrNull(
  announcement: string,
  request: ControlRequest,
  asker: Asker | undefined,
): Promise<unknown | null> {
  const path = announcedOrNull(announcement);
  if (path === null || !isOwnSocket(path)) return null;
  const text = await exchange(path, `${JSON.stringify(request)}\n`, asker);
  if (text === null) return null;
  const answer = answerIn(text);
  if (answer.ok) return answer.result;
  throw new WalrustError(answer.code as WalrustError["code"], answer.message, {
    ...(answer.hint === null ? {} : { hint: answer.hint }),
  });
}

/** The answer in what came, which is the last line and no acknowledgement. */
function answerIn(text: string): ControlAnswer {
  let cause: unknown;
  try {
    const answer = JSON.parse(text.trimEnd().split("\n").at(-1) ?? "") as ControlAnswer | { accepted: true };
    if (!("accepted" in answer)) return answer;
  } catch (error) {
    cause = error;
  }
  throw new WalrustError("internal", "The running watch ended before it answered", { cause });
}

/** Sends text and reads until the other side closes; null when nobody listens. */
async function exchange(path: string, text: string, asker: Asker | undefined): Promise<string | null> {
  const { promise, resolve, reject } = Promise.withResolvers<string | null>();
  const decoder = new TextDecoder();
  const chunks: string[] = [];
  const heard = new AbortController();
  let socket: Socket;
  try {
    socket = await Bun.connect({
      unix: path,
      socket: {
        open: (opened) => {
          opened.write(text);
        },
        data: (_, bytes) => {
          heard.abort();
          chunks.push(decoder.decode(bytes, { stream: true }));
        },
        close: () => resolve(chunks.join("")),
        error: () => resolve(chunks.join("")),
        connectError: () => resolve(null),
      },
    });
  } catch {
    // A socket file of a process that is gone.
    return null;
  }
  const leave = (): void => reject(goesOn());
  if (asker?.signal.aborted) leave();
  asker?.signal.addEventListener("abort", leave, { once: true });
  void asker?.env.sleep(ACKNOWLEDGE_LIMIT_MS, heard.signal).then(() => {
    if (!heard.signal.aborted) reject(silent(path));
  });
  try {
    return await promise;
  } finally {
    heard.abort();
    asker?.signal.removeEventListener("abort", leave);
    socket.terminate();
  }
}

function goesOn(): WalrustError {
  return new WalrustError("locked", "the running watch goes on with what it was asked for");
}

function silent(path: string): WalrustError {
  const pid = Number(SOCKET_NAME.exec(basename(path))?.[1]);
  return new WalrustError("locked", `The watch with pid ${pid} does not answer`, {
    hint: "It hangs or was stopped: let it go on (kill -CONT), or end it (kill -KILL) and try again",
    context: { pid },
  });
}
