/**
 * The client's side of the control socket: finds the running watch of a database by its announcements, sends
 * one request, and waits for the answer. Without a running watch the answer is null.
 */
import type { Socket } from "bun";
import { isProcessStopped } from "../../database/files/file-users.ts";
import type { Env } from "../../env.ts";
import { asWalrustError, WalrustError } from "../../errors.ts";
import { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import type { OnWorkProgress } from "../context/work-meter.ts";
import {
  announcedSocketOrNull,
  announcedSockets,
  announcementsByName,
  announcementsByPath,
  isOwnProcessSocket,
  pidOfSocket,
} from "./announcements.ts";
import {
  type ControlRequest,
  parseAnswer,
  parseProgressOrNull,
  type WatchRequest,
} from "./control-request.ts";
import { silentError } from "./silent-watch.ts";

/** A watch that takes longer to acknowledge a request hangs. */
const ACKNOWLEDGE_LIMIT_MS = 10_000;
/** A process that is stopped after this long is not waited for. */
const STOPPED_LIMIT_MS = 1_000;

/** The caller of a request, who decides how long to wait. */
export interface Asker {
  readonly env: Pick<Env, "sleep">;
  /** Ends the wait; the watch continues with the request. */
  readonly signal: AbortSignal;
  /** A watch that has not answered by then hangs; absent: no limit once it has acknowledged the request. */
  readonly answerLimitMs?: number;
  /** A watch that has not acknowledged the request by then hangs; 10 s if absent. */
  readonly acknowledgeLimitMs?: number;
  /** Receives the progress of a request about one database; a watch of an earlier version reports none. */
  readonly onProgress?: OnWorkProgress;
}

/**
 * Asks the watch that has the database with this state folder, or else the watch that has the request's path.
 * @param asker if absent, the answer is waited for without limit
 * @returns the answer's result, or null when no watch runs
 * @throws WalrustError with the code that the watch answered; code "locked" when the watch does not
 * acknowledge the request in time, or when the asker waits no longer
 */
export async function askWatchOrNull(
  stateFolder: string,
  request: ControlRequest,
  asker?: Asker,
  folders = RuntimeFolders.standard(),
): Promise<unknown | null> {
  return askFirstOrNull(announcementsByPath(stateFolder, request.path, folders), request, asker);
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
  return askFirstOrNull(announcementsByName(destination, name, folders), request, asker);
}

/** The answer of one watch to a request about all of it. */
export interface WatchAnswer {
  readonly pid: number;
  readonly result: unknown;
  /** The reason why there is no result: the watch hangs, is older than the request, or failed. */
  readonly error: WalrustError | null;
  /** The watch is older than the request: it works, and cannot tell. */
  readonly isOlder: boolean;
}

/**
 * Asks all watches of this user, beside each other. A watch that has ended is left out.
 * @param stateFolders folders of databases whose watch may have its socket in a temporary folder
 * @returns the answers, by process id
 */
export async function askEveryWatch(
  request: WatchRequest,
  asker: Asker,
  folders = RuntimeFolders.standard(),
  stateFolders: readonly string[] = [],
): Promise<WatchAnswer[]> {
  return await askSockets(announcedSockets(folders, stateFolders), request, asker);
}

/**
 * Asks the watches of other processes that have announced that they replicate `name` to `destination`.
 * @param destination `ObjectStore.location`
 */
export async function askWatchesOfName(
  destination: string,
  name: string,
  request: WatchRequest,
  asker: Asker,
  folders = RuntimeFolders.standard(),
): Promise<WatchAnswer[]> {
  const found = announcementsByName(destination, name, folders).map(announcedSocketOrNull);
  const sockets = new Set(found.filter((socket) => socket !== null));
  const others = [...sockets].filter((socket) => !isOwnProcessSocket(socket));
  return others.length === 0 ? [] : await askSockets(others, request, asker);
}

/** Asks the watches at some sockets, beside each other. */
async function askSockets(
  sockets: readonly string[],
  request: WatchRequest,
  asker: Asker,
): Promise<WatchAnswer[]> {
  const asked = sockets.map(async (socket): Promise<WatchAnswer | null> => {
    const pid = pidOfSocket(socket);
    try {
      const result = await askOrNull(socket, request, asker);
      return result === null ? null : { pid, result, error: null, isOlder: false };
    } catch (error) {
      // Every watch that is asked counts, so a failure is an answer.
      const failure = asWalrustError(error);
      const isOlder = failure.code === "usage";
      return { pid, result: null, error: isOlder ? oldWatchError(failure, pid) : failure, isOlder };
    }
  });
  const answers = (await Promise.all(asked)).filter((answer) => answer !== null);
  asker.signal.throwIfAborted();
  return answers.sort((a, b) => a.pid - b.pid);
}

/** A watch of an earlier version does not know the request. */
function oldWatchError(error: WalrustError, pid: number): WalrustError {
  return new WalrustError("locked", `The watch with pid ${pid} is of an earlier version`, {
    hint: "Restart it with this version",
    context: { pid },
    cause: error,
  });
}

async function askFirstOrNull(
  announcements: readonly string[],
  request: ControlRequest,
  asker: Asker | undefined,
): Promise<unknown | null> {
  for (const announcement of announcements) {
    const path = announcedSocketOrNull(announcement);
    const answer = path === null ? null : await askOrNull(path, request, asker);
    if (answer !== null) return answer;
  }
  return null;
}

async function askOrNull(
  path: string,
  request: ControlRequest | WatchRequest,
  asker: Asker | undefined,
): Promise<unknown | null> {
  const asked = asker?.onProgress === undefined ? request : { ...request, progress: true };
  const text = await exchange(path, `${JSON.stringify(asked)}\n`, asker);
  if (text === null) return null;
  const answer = parseAnswer(text);
  if (answer.ok) return answer.result;
  throw new WalrustError(answer.code as WalrustError["code"], answer.message, {
    ...(answer.hint === null ? {} : { hint: answer.hint }),
  });
}

/** The lines of one answer. Lines of progress are handed on as they come. */
class AnswerLines {
  readonly #decoder = new TextDecoder();
  readonly #onProgress: Asker["onProgress"];
  /** Complete lines without those of progress. */
  #kept = "";
  #line = "";

  constructor(onProgress: Asker["onProgress"]) {
    this.#onProgress = onProgress;
  }

  /** All text but that of progress. */
  get rest(): string {
    return this.#kept + this.#line;
  }

  push(bytes: Uint8Array): void {
    const [first = "", ...more] = this.#decoder.decode(bytes, { stream: true }).split("\n");
    this.#line += first;
    for (const next of more) {
      const progress = this.#onProgress === undefined ? null : parseProgressOrNull(this.#line);
      if (progress === null) this.#kept += `${this.#line}\n`;
      else this.#onProgress?.(progress);
      this.#line = next;
    }
  }
}

/** Sends text and reads until the other side closes; null when nobody listens. */
async function exchange(path: string, text: string, asker: Asker | undefined): Promise<string | null> {
  const { promise, resolve, reject } = Promise.withResolvers<string | null>();
  const lines = new AnswerLines(asker?.onProgress);
  const acknowledged = new AbortController();
  const answered = new AbortController();
  let socket: Socket;
  try {
    socket = await Bun.connect({
      unix: path,
      socket: {
        open: (opened) => {
          opened.write(text);
        },
        data: (_, bytes) => {
          acknowledged.abort();
          lines.push(bytes);
        },
        close: () => resolve(lines.rest),
        error: () => resolve(lines.rest),
        connectError: () => resolve(null),
      },
    });
  } catch {
    // The socket file of a process that is gone.
    return null;
  }
  const leave = (): void => reject(abandonedError());
  if (asker?.signal.aborted) leave();
  asker?.signal.addEventListener("abort", leave, { once: true });
  if (asker !== undefined) {
    const pid = pidOfSocket(path);
    const { env, answerLimitMs, acknowledgeLimitMs = ACKNOWLEDGE_LIMIT_MS } = asker;
    void untilSilent(pid, acknowledgeLimitMs, env, acknowledged.signal).then(reject);
    if (answerLimitMs !== undefined) void untilSilent(pid, answerLimitMs, env, answered.signal).then(reject);
  }
  try {
    return await promise;
  } finally {
    acknowledged.abort();
    answered.abort();
    asker?.signal.removeEventListener("abort", leave);
    socket.terminate();
  }
}

/**
 * Waits for the end of a limit, or until the process is found to be stopped.
 * @param signal aborts when the watch has spoken; the promise stays open then
 */
async function untilSilent(
  pid: number,
  limitMs: number,
  env: Pick<Env, "sleep">,
  signal: AbortSignal,
): Promise<WalrustError> {
  const firstMs = Math.min(limitMs, STOPPED_LIMIT_MS);
  await env.sleep(firstMs, signal);
  if (!signal.aborted && (firstMs === limitMs || isProcessStopped(pid))) return silentError(pid, firstMs);
  if (!signal.aborted) await env.sleep(limitMs - firstMs, signal);
  if (!signal.aborted) return silentError(pid, limitMs);
  return await new Promise(() => {});
}

function abandonedError(): WalrustError {
  return new WalrustError("locked", "the running watch goes on with what it was asked for");
}
