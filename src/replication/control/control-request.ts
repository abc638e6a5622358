/**
 * The protocol of the control socket: the request that another walrust process sends to a running watch, and
 * the answer.
 *
 * The client sends one JSON document and a newline. The server acknowledges the request at once with the line
 * `{"ok":true,"accepted":true}`, then answers with one JSON document and a newline, and closes. If the
 * request asks for progress, lines `{"ok":true,"progress":{…}}` come in between; a watch of an earlier
 * version sends none. A client that receives no acknowledgement knows that the process hangs, and reports its
 * id, which is part of the socket's name (`walrust-PID-….sock`).
 */
import { WalrustError } from "../../errors.ts";
import type { WorkProgress } from "../context/work-meter.ts";
import type { GivenUpkeep } from "../upkeep/maintenance.ts";

const VERBS = ["snapshot", "compact", "checksum"] as const;
/** Requests about the whole watch: they name no database, or several. */
const WATCH_VERBS = ["status", "sync", "reload"] as const;

/** The acknowledgement of a request. */
export const ACCEPTED = { ok: true, accepted: true } as const;

/** A request about one database of a running watch. */
export interface ControlRequest {
  readonly verb: (typeof VERBS)[number];
  /** Real path of the database. */
  readonly path?: string;
  /** Name of the database below the watch's destination, if the path is not given. */
  readonly name?: string;
  /** The destination where the caller expects the objects: a watch with another one refuses. */
  readonly destination: string;
  /** For compact: the settings that its caller gives; all others are those of the watch. */
  readonly given?: GivenUpkeep;
  /** For compact: whether to write and delete. */
  readonly force?: boolean;
  /** For snapshot and compact: whether the caller shows progress. */
  readonly progress?: boolean;
}

/** A request about the whole watch. */
export interface WatchRequest {
  readonly verb: (typeof WATCH_VERBS)[number];
  /** For sync: only these databases; absent: all. */
  readonly names?: readonly string[];
  /** For sync and reload: only if the watch replicates there (`ObjectStore.location`). */
  readonly destination?: string;
  /** For sync: the time after which the watch answers in any case. */
  readonly timeoutMs?: number;
}

/** Whether a request is about the whole watch. */
export function isWatchRequest(request: ControlRequest | WatchRequest): request is WatchRequest {
  return WATCH_VERBS.some((verb) => verb === request.verb);
}

/** The answer: the result of the verb, or the content of an error. */
export type ControlAnswer =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly code: string; readonly message: string; readonly hint: string | null };

/** The progress of a request, as a line before the answer. */
export interface ProgressLine {
  readonly ok: true;
  readonly progress: WorkProgress;
}

const PROGRESS_START = '{"ok":true,"progress":';

/** Parses a line that reports progress; null: it is another line. @throws SyntaxError */
export function parseProgressOrNull(line: string): WorkProgress | null {
  return line.startsWith(PROGRESS_START) ? (JSON.parse(line) as ProgressLine).progress : null;
}

/** Parses a request. @throws WalrustError code "usage" when the verb is unknown; SyntaxError */
export function parseRequest(text: string): ControlRequest | WatchRequest {
  const request = JSON.parse(text) as ControlRequest | WatchRequest;
  if (isWatchRequest(request) || VERBS.some((verb) => verb === request.verb)) return request;
  throw new WalrustError("usage", `Unknown request ${JSON.stringify(request.verb)}`);
}

/**
 * Parses what a server sent: the last line is the answer.
 * @throws WalrustError code "internal" when there is no answer after the acknowledgement
 */
export function parseAnswer(text: string): ControlAnswer {
  let cause: unknown;
  try {
    const answer = JSON.parse(text.trimEnd().split("\n").at(-1) ?? "") as ControlAnswer | typeof ACCEPTED;
    if (!("accepted" in answer)) return answer;
  } catch (error) {
    cause = error;
  }
  throw new WalrustError("internal", "The running watch ended before it answered", { cause });
}
