/**
 * How `walrust snapshot` and `walrust compact` ask a running watch: over a Unix socket of that process, one
 * for all its databases, whose path stands in the file `watch.socket` of each state folder.
 *
 * Protocol: the client sends one JSON document and a newline, the server answers one JSON document and a
 * newline and closes. To a request that says `"acknowledge": true` it sends a line before that, at once,
 * however long the answer takes: `{"ok":true,"accepted":true}`. A client that hears nothing knows by it that
 * the process hangs. One that does not ask for the line does not get it, and the name of the socket
 * (`walrust-PID.sock`) tells whose server sends it: one of earlier versions (`watch-PID.sock`) is waited for.
 *
 * Only who may open the state folder (mode 0700) can ask. A file left by a process that was killed leads to
 * a socket nobody answers, which is the same as no file.
 */

import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import type { Socket } from "bun";
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import { asWalrustError } from "./failure-tracker.ts";
import type { RetentionPolicy } from "./retention.ts";

/** The address of a Unix socket has room for 108 bytes with its end. */
const SOCKET_PATH_MAX = 100;
const REQUEST_SIZE_MAX = 64 * 1024;
/** Announcements looked at when a watch starts; the rest is left to later ones. */
const SWEPT_MAX = 4_096;
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
  /** For compact: what of retention is other than the watch has it, and whether to do it. */
  readonly retention?: Partial<RetentionPolicy>;
  readonly force?: boolean;
  /** Whether a line that the request was heard is sent before the answer. */
  readonly acknowledge?: boolean;
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
  withdraw(stateFolder: string, destination: string, name: string): void;
  close(): void;
}

/**
 * Serves requests on a new socket in `folder`, or in the temporary folder where that path would be too long.
 */
export function serveControl(
  folder: string,
  handle: (request: ControlRequest) => Promise<unknown>,
): ControlServer {
  const fileName = `walrust-${process.pid}.sock`;
  const wanted = join(folder, fileName);
  const isShort = new TextEncoder().encode(wanted).length <= SOCKET_PATH_MAX;
  const ownFolder = isShort ? null : mkdtempSync(join(tmpdir(), "walrust-"));
  const path = ownFolder === null ? wanted : join(ownFolder, fileName);
  rmSync(path, { force: true });
  const announced = new Set<string>();
  sweepAnnouncements();
  const listener = Bun.listen<Exchange>({
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
        if (end < 0 && data.text.length > REQUEST_SIZE_MAX) socket.end();
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
      const userFolder = userFolderOrNull();
      // Outlives the watch: it tells where the database is that has this name.
      if (userFolder !== null && databasePath !== undefined) {
        writeFileSync(join(userFolder, `${hashOf(destination, name)}.path`), databasePath, { mode: 0o600 });
      }
      for (const file of announcementsOf(stateFolder, destination, name)) {
        // The state folder may have been made anew.
        if (announced.has(file) && existsSync(file)) continue;
        announced.add(file);
        writeFileSync(file, path, { mode: 0o600 });
      }
    },
    withdraw: (stateFolder, destination, name) => {
      for (const file of announcementsOf(stateFolder, destination, name)) {
        if (announced.delete(file)) rmSync(file, { force: true });
      }
    },
    close: () => {
      listener.stop(true);
      for (const file of announced) rmSync(file, { force: true });
      rmSync(path, { force: true });
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

/** A folder that only this user can write to, or null where it cannot be, or somebody else made it first. */
function userFolderOrNull(): string | null {
  const folder = join(tmpdir(), `walrust-${process.getuid?.() ?? 0}`);
  try {
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const { uid, mode } = statSync(folder);
    return uid === process.getuid?.() && (mode & 0o077) === 0 ? folder : null;
  } catch {
    // A TMPDIR that cannot be used: nobody can have announced anything there.
    return null;
  }
}

/**
 * Removes announcements of databases that are gone, and of sockets that are: a watch that was killed takes
 * nothing along, and what says where a database is outlives every watch.
 */
function sweepAnnouncements(): void {
  const folder = userFolderOrNull();
  if (folder === null) return;
  try {
    for (const entry of readdirSync(folder).slice(0, SWEPT_MAX)) {
      const file = join(folder, entry);
      if (!existsSync(readFileSync(file, "utf8"))) rmSync(file, { force: true });
    }
  } catch {
    // Another watch sweeps, too: what is left is for the next start.
  }
}

/** The files that name the socket for one database. */
function announcementsOf(stateFolder: string, destination: string, name: string): string[] {
  const userFolder = userFolderOrNull();
  const byName = userFolder === null ? [] : [join(userFolder, hashOf(destination, name))];
  return [join(stateFolder, "watch.socket"), ...byName];
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
    if (request.acknowledge === true) acknowledge();
    return { ok: true, result: await handle(request) };
  } catch (error) {
    const { code, message, hint } = asWalrustError(error);
    return { ok: false, code, message, hint: hint ?? null };
  }
}

/**
 * Asks the watch that has the database with this state folder.
 * @param asker without one it is waited for as long as it takes
 * @returns its answer, or null when no watch runs
 * @throws WalrustError with the code the watch answered; code "locked" when it does not acknowledge within
 * 10 s, or when the asker waits no longer
 */
export async function askWatchOrNull(
  stateFolder: string,
  request: ControlRequest,
  asker?: Asker,
): Promise<unknown | null> {
  return askOrNull(join(stateFolder, "watch.socket"), request, asker);
}

/** Where the database is that a watch of this user last replicated to this name, or null. */
export function databasePathOrNull(destination: string, name: string): string | null {
  const folder = userFolderOrNull();
  if (folder === null) return null;
  try {
    const path = readFileSync(join(folder, `${hashOf(destination, name)}.path`), "utf8");
    return existsSync(path) ? path : null;
  } catch {
    // No watch of it ever ran here.
    return null;
  }
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
): Promise<unknown | null> {
  const folder = userFolderOrNull();
  return folder === null ? null : askOrNull(join(folder, hashOf(destination, name)), request, asker);
}

async function askOrNull(
  announcement: string,
  request: ControlRequest,
  asker: Asker | undefined,
): Promise<unknown | null> {
  let path: string;
  try {
    path = readFileSync(announcement, "utf8");
  } catch {
    // No watch has announced itself here.
    return null;
  }
  const text = await exchange(path, `${JSON.stringify({ ...request, acknowledge: true })}\n`, asker);
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
  const pid = acknowledgingPidOrNull(path);
  if (asker !== undefined && pid !== null) {
    void asker.env.sleep(ACKNOWLEDGE_LIMIT_MS, heard.signal).then(() => {
      if (!heard.signal.aborted) reject(silent(pid));
    });
  }
  try {
    return await promise;
  } finally {
    heard.abort();
    asker?.signal.removeEventListener("abort", leave);
    socket.terminate();
  }
}

/** The process behind a socket whose name says that it acknowledges, or null. */
function acknowledgingPidOrNull(path: string): number | null {
  const [, pid] = /^walrust-(\d+)\.sock$/.exec(basename(path)) ?? [];
  return pid === undefined ? null : Number(pid);
}

function goesOn(): WalrustError {
  return new WalrustError("locked", "the running watch goes on with what it was asked for");
}

function silent(pid: number): WalrustError {
  return new WalrustError("locked", `The watch with pid ${pid} does not answer`, {
    hint: "It hangs or was stopped: let it go on (kill -CONT), or end it (kill -KILL) and try again",
    context: { pid },
  });
}
