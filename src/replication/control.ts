/**
 * How `walrust snapshot` and `walrust compact` ask a running watch: over a Unix socket of that process, one
 * for all its databases, whose path stands in the file `watch.socket` of each state folder.
 *
 * Protocol: the client sends one JSON document and a newline, the server answers one JSON document and a
 * newline and closes. Only who may open the state folder (mode 0700) can ask. A file left by a process that
 * was killed leads to a socket nobody answers, which is the same as no file.
 */

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket } from "bun";
import { WalrustError } from "../errors.ts";
import { asWalrustError } from "./failure-tracker.ts";
import type { RetentionPolicy } from "./retention.ts";

/** The address of a Unix socket has room for 108 bytes with its end. */
const SOCKET_PATH_MAX = 100;
const REQUEST_SIZE_MAX = 64 * 1024;

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
  const wanted = join(folder, `watch-${process.pid}.sock`);
  const isShort = new TextEncoder().encode(wanted).length <= SOCKET_PATH_MAX;
  const ownFolder = isShort ? null : mkdtempSync(join(tmpdir(), "walrust-"));
  const path = ownFolder === null ? wanted : join(ownFolder, "watch.sock");
  rmSync(path, { force: true });
  const announced = new Set<string>();
  const listener = Bun.listen<Exchange>({
    unix: path,
    socket: {
      open: (socket) => {
        socket.data = { decoder: new TextDecoder(), text: "", isAnswering: false, unsent: new Uint8Array(0) };
      },
      data: (socket, bytes) => {
        const { data } = socket;
        if (data.isAnswering) return;
        data.text += data.decoder.decode(bytes, { stream: true });
        const end = data.text.indexOf("\n");
        if (end < 0 && data.text.length > REQUEST_SIZE_MAX) socket.end();
        if (end < 0) return;
        data.isAnswering = true;
        void answerTo(data.text.slice(0, end), handle).then((answer) => {
          data.unsent = new TextEncoder().encode(`${JSON.stringify(answer)}\n`);
          sendRest(socket);
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
  unsent: Uint8Array;
}

/** Sends what the socket takes now, and ends it after the last byte; the rest follows when it drains. */
function sendRest(socket: Socket<Exchange>): void {
  const { data } = socket;
  const sent = socket.write(data.unsent);
  data.unsent = data.unsent.subarray(Math.max(0, sent));
  if (data.unsent.length === 0 || sent < 0) socket.end();
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
): Promise<ControlAnswer> {
  try {
    const request = JSON.parse(text) as ControlRequest;
    if (!VERBS.some((verb) => verb === request.verb)) {
      throw new WalrustError("usage", `Unknown request ${JSON.stringify(request.verb)}`);
    }
    return { ok: true, result: await handle(request) };
  } catch (error) {
    const { code, message, hint } = asWalrustError(error);
    return { ok: false, code, message, hint: hint ?? null };
  }
}

/**
 * Asks the watch that has the database with this state folder.
 * @returns its answer, or null when no watch runs
 * @throws WalrustError with the code the watch answered
 */
export async function askWatchOrNull(stateFolder: string, request: ControlRequest): Promise<unknown | null> {
  return askOrNull(join(stateFolder, "watch.socket"), request);
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

/** Asks the watch of this user that replicates `name` to `destination`, if one runs on this machine. */
export async function askWatchByNameOrNull(
  destination: string,
  name: string,
  request: ControlRequest,
): Promise<unknown | null> {
  const folder = userFolderOrNull();
  return folder === null ? null : askOrNull(join(folder, hashOf(destination, name)), request);
}

async function askOrNull(announcement: string, request: ControlRequest): Promise<unknown | null> {
  let path: string;
  try {
    path = readFileSync(announcement, "utf8");
  } catch {
    // No watch has announced itself here.
    return null;
  }
  const text = await exchange(path, `${JSON.stringify(request)}\n`);
  if (text === null) return null;
  let answer: ControlAnswer;
  try {
    answer = JSON.parse(text) as ControlAnswer;
  } catch (error) {
    throw new WalrustError("internal", "The running watch ended before it answered", { cause: error });
  }
  if (answer.ok) return answer.result;
  throw new WalrustError(answer.code as WalrustError["code"], answer.message, {
    ...(answer.hint === null ? {} : { hint: answer.hint }),
  });
}

/** Sends text and reads until the other side closes; null when nobody listens. */
async function exchange(path: string, text: string): Promise<string | null> {
  const { promise, resolve } = Promise.withResolvers<string | null>();
  const decoder = new TextDecoder();
  const chunks: string[] = [];
  try {
    await Bun.connect({
      unix: path,
      socket: {
        open: (socket) => {
          socket.write(text);
        },
        data: (_, bytes) => {
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
  return promise;
}
