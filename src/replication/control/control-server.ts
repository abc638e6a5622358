/**
 * The watch's side of the control socket: one Unix socket for all databases of the process, in a folder that
 * only its user can open. The socket has mode 0600, so only our user can ask.
 */
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Socket, SocketHandler } from "bun";
import { randomTag } from "../../env.ts";
import { asWalrustError, WalrustError } from "../../errors.ts";
import { parentsDistrustOrNull } from "../../local/folder-trust.ts";
import type { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import { realParent } from "../../local/places.ts";
import type { OnWorkProgress, WorkProgress } from "../context/work-meter.ts";
import {
  type AnnouncedDatabase,
  Announcements,
  socketName,
  sweepAnnouncements,
  UNNAMED_END,
} from "./announcements.ts";
import {
  ACCEPTED,
  type ControlAnswer,
  type ControlRequest,
  isWatchRequest,
  type ProgressLine,
  parseRequest,
  type WatchRequest,
} from "./control-request.ts";

/** The address of a Unix socket has room for 104 bytes (Linux: 108), with `UNNAMED_END` and a zero. */
const SOCKET_PATH_MAX = 99;
const REQUEST_SIZE_MAX = 64 * 1024;
/** With the tag of the process, this many digits distinguish the sockets of all processes. */
const TAG_LENGTH = 4;

type Handle = (request: ControlRequest | WatchRequest, onProgress: OnWorkProgress) => Promise<unknown>;

/** A socket that answers until it is closed. */
export interface ControlServer {
  readonly path: string;
  /** Names the socket for a database. */
  announce(database: AnnouncedDatabase): void;
  /** Removes what `announce` wrote. */
  withdraw(database: AnnouncedDatabase): void;
  close(): void;
}

/**
 * Serves requests on a new socket in the runtime folder, or in a temporary folder where that path is too
 * long.
 * @param handleDatabase answers requests about one database, and reports how far its work is
 * @param handleWatch answers requests about the whole watch
 * @throws WalrustError code "database" when there is no folder that is ours alone
 */
export function serveControl(
  folders: RuntimeFolders,
  handleDatabase: (request: ControlRequest, onProgress: OnWorkProgress) => Promise<unknown>,
  handleWatch: (request: WatchRequest) => Promise<unknown> = refuse,
): ControlServer {
  const handle: Handle = (request, onProgress) =>
    isWatchRequest(request) ? handleWatch(request) : handleDatabase(request, onProgress);
  const runtimeFolder = folders.ownOrNull();
  const place = placeSocket(runtimeFolder);
  const { path } = place;
  const announcements = new Announcements(runtimeFolder, path);
  const listener = listenPrivately(place, {
    open: (socket) => {
      socket.data = newExchange();
    },
    data: (socket, bytes) => receive(socket, bytes, handle),
    drain: (socket) => {
      if (socket.data.unsent.length > 0) sendRest(socket);
    },
  });
  if (runtimeFolder !== null) sweepAnnouncements(runtimeFolder, path);
  return {
    path,
    announce: (database) => announcements.announce(database),
    withdraw: (database) => announcements.withdraw(database),
    close: () => {
      listener.stop(true);
      announcements.close();
      removeOwnFolder(place);
    },
  };
}

async function refuse({ verb }: WatchRequest): Promise<never> {
  throw new WalrustError("usage", `Unknown request ${JSON.stringify(verb)}`);
}

/** The exchange with one client. */
interface Exchange {
  readonly decoder: TextDecoder;
  text: string;
  /** A connection carries one request: bytes after the request are not read. */
  isAnswering: boolean;
  /** Nothing follows `unsent`. */
  isAnswered: boolean;
  unsent: Uint8Array;
}

function newExchange(): Exchange {
  const unsent = new Uint8Array(0);
  return { decoder: new TextDecoder(), text: "", isAnswering: false, isAnswered: false, unsent };
}

function receive(socket: Socket<Exchange>, bytes: Uint8Array, handle: Handle): void {
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
  const acknowledge = (): void => send(socket, ACCEPTED);
  const onProgress = (progress: WorkProgress): void => {
    // A client that does not read gets no more lines than the socket takes.
    if (data.unsent.length === 0 && !data.isAnswered)
      send(socket, { ok: true, progress } satisfies ProgressLine);
  };
  void answer(data.text.slice(0, end), handle, acknowledge, onProgress).then((answered) => {
    data.isAnswered = true;
    send(socket, answered);
  });
}

async function answer(
  text: string,
  handle: Handle,
  acknowledge: () => void,
  onProgress: OnWorkProgress,
): Promise<ControlAnswer> {
  try {
    const request = parseRequest(text);
    acknowledge();
    const isShown = "progress" in request && request.progress === true;
    return { ok: true, result: await handle(request, isShown ? onProgress : () => {}) };
  } catch (error) {
    const { code, message, hint } = asWalrustError(error);
    return { ok: false, code, message, hint: hint ?? null };
  }
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

/** The paths of a new socket. */
interface SocketPlace {
  readonly path: string;
  /** Its path until it listens. */
  readonly unnamedPath: string;
  /** The temporary folder of this socket alone; null: the socket lies in the runtime folder. */
  readonly ownFolder: string | null;
}

/** Chooses the path of a new socket. @throws WalrustError code "database" when no folder is ours alone */
function placeSocket(folder: string | null): SocketPlace {
  const fileName = socketName(randomTag().slice(0, TAG_LENGTH));
  const wanted = join(folder ?? "", fileName);
  const isShort = new TextEncoder().encode(wanted).length <= SOCKET_PATH_MAX;
  if (folder !== null && isShort)
    return { path: wanted, unnamedPath: `${wanted}${UNNAMED_END}`, ownFolder: null };
  // Other users may rename what lies in a temporary folder without its sticky bit.
  const parent = [tmpdir(), "/tmp"]
    .map(realParent)
    .find((one) => parentsDistrustOrNull(join(one, "x")) === null);
  if (parent === undefined) {
    throw new WalrustError("database", `Cannot put a socket anywhere: other users can change ${tmpdir()}`, {
      hint: "Set XDG_RUNTIME_DIR, or RuntimeDirectory= of the service, to a folder of this user alone",
    });
  }
  const ownFolder = mkdtempSync(join(parent, "walrust-"));
  return { path: join(ownFolder, fileName), unnamedPath: join(ownFolder, "new"), ownFolder };
}

function removeOwnFolder({ ownFolder }: SocketPlace): void {
  if (ownFolder !== null) rmSync(ownFolder, { recursive: true, force: true });
}

interface Listener {
  stop(closesAll: boolean): void;
}

/**
 * Listens on a socket that only our user can open, from the first moment on. The socket gets its name when it
 * listens: between `bind` and `listen` it refuses connections, and another watch's sweep would remove it.
 */
function listenPrivately(place: SocketPlace, socket: SocketHandler<Exchange>): Listener {
  const { path, unnamedPath } = place;
  const before = process.umask(0o177);
  let listener: Listener | null = null;
  try {
    listener = Bun.listen<Exchange>({ unix: unnamedPath, socket });
    renameSync(unnamedPath, path);
    return listener;
  } catch (error) {
    listener?.stop(true);
    rmSync(unnamedPath, { force: true });
    removeOwnFolder(place);
    throw error;
  } finally {
    process.umask(before);
  }
}
