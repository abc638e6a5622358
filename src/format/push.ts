/**
 * The protocol of push replicas: how a watch and `walrust serve` name objects and state positions. Pure.
 *
 *   GET /v1/<name>                                     200 and the position
 *   PUT /v1/<name>/<level, 4 hex digits>/<min>-<max>.ltx
 *       x-walrust-meta-<key>: <value>                  each value of the object's metadata
 *       authorization: Bearer <token>
 *     200  applied and durable: the new position
 *     409  not applied: the present position, with `refused` and `message`
 *     422  the object is unsound: `refused` is "unsound"
 *     503  the replica cannot apply it now (disk, readers): `refused` is "failed"
 *
 * Every answer has the header `x-walrust-instance`, a random text that changes with each start of a server:
 * a watch asks for positions again then.
 *
 * The segments of a name are percent-encoded, each for itself. The path of an object is its key in an S3
 * bucket. A position is one JSON document: `name`, `txid` (0: there is no replica yet), `time`, `checksum`,
 * `chain`, `state`, `reason` and `has_bucket`; further fields may be added.
 */
import { objectKey, parseObjectKey } from "./keys.ts";
import type { Txid } from "./types.ts";

/** Begins the headers that carry metadata. */
export const METADATA_HEADER = "x-walrust-meta-";
/** The header that tells one run of a server from another. */
export const INSTANCE_HEADER = "x-walrust-instance";
/** The page that a watch polls to see that a server still runs. */
export const HEALTH_PATH = "/health";
/** Begins every path. */
const ROOT = "/v1/";
/** The most bytes of a position document. */
export const POSITION_SIZE_MAX = 64 * 1024;

/** The position of a replica. */
export interface PushPosition {
  readonly name: string;
  /** 0: there is no replica yet. */
  readonly txid: number;
  /** Time of the capture, RFC 3339; null without a replica. */
  readonly time: string | null;
  /** The database checksum, 16 hex digits; null without a replica. */
  readonly checksum: string | null;
  /** Chain value, 64 hex digits, or null. */
  readonly chain: string | null;
  /**
   * `ready`; `catching-up`: the replica reads its own bucket; `waiting`: a newer state waits until nobody has
   * the replica open; `failing`: the file cannot be used.
   */
  readonly state: "ready" | "catching-up" | "waiting" | "failing";
  /** Why the state is not `ready`, or null. */
  readonly reason: string | null;
  /** Whether the replica can fill gaps from a bucket of its own. */
  readonly hasBucket: boolean;
}

/**
 * Why an object was not applied. `old`: the replica has its TXIDs. `gap`: objects before it are missing.
 * `diverged`: it continues another history. `busy`: the replica reads its own bucket, or waits for readers.
 */
export type PushRefusal = "old" | "gap" | "diverged" | "busy" | "unsound" | "failed";

/** An answer: a position, and why an object was not applied. */
export interface PushReply {
  readonly position: PushPosition;
  readonly refused: PushRefusal | null;
  readonly message: string | null;
}

/** The object that a path names. */
export interface PushedName {
  readonly level: number;
  readonly minTxid: Txid;
  readonly maxTxid: Txid;
}

/** The meaning of a path below `/v1/`. */
export type PushRoute =
  | { readonly kind: "object"; readonly name: string; readonly object: PushedName }
  | { readonly kind: "position"; readonly name: string };

/** The path of the position of a database. */
export function positionPath(name: string): string {
  return ROOT + encodeSegments(name);
}

/** The path of an object. */
export function objectPath(name: string, { level, minTxid, maxTxid }: PushedName): string {
  return ROOT + encodeSegments(objectKey("s3", name, level, minTxid, maxTxid));
}

/** Parses a path; null when it is not one of this protocol. The caller checks the name. */
export function parsePushPath(path: string): PushRoute | null {
  if (!path.startsWith(ROOT)) return null;
  const segments: string[] = [];
  for (const encoded of path.slice(ROOT.length).split("/")) {
    const segment = decodedOrNull(encoded);
    // A slash in a segment would make two segments of one.
    if (segment === null || segment === "" || segment.includes("/")) return null;
    segments.push(segment);
  }
  const whole = segments.join("/");
  const object = parseObjectKey("s3", whole);
  if (object === null) return { kind: "position", name: whole };
  const { database: name, level, minTxid, maxTxid } = object;
  return { kind: "object", name, object: { level, minTxid, maxTxid } };
}

function encodeSegments(text: string): string {
  return text.split("/").map(encodeURIComponent).join("/");
}

function decodedOrNull(segment: string): string | null {
  try {
    return decodeURIComponent(segment);
  } catch {
    return null;
  }
}

/** An answer as its JSON document. */
export function encodePushReply({ position, refused, message }: PushReply): string {
  const { hasBucket, ...rest } = position;
  const why = refused === null ? {} : { refused, message };
  return `${JSON.stringify({ ...rest, has_bucket: hasBucket, ...why })}\n`;
}

const STATES: readonly string[] = ["ready", "catching-up", "waiting", "failing"];
const REFUSALS: readonly string[] = ["old", "gap", "diverged", "busy", "unsound", "failed"];

/** Parses an answer; null when it is none. */
export function parsePushReplyOrNull(text: string): PushReply | null {
  let fields: Record<string, unknown>;
  try {
    fields = JSON.parse(text) as Record<string, unknown>;
  } catch {
    return null;
  }
  if (typeof fields !== "object" || fields === null) return null;
  const { name, txid, state, refused } = fields;
  const isState = typeof state === "string" && STATES.includes(state);
  if (typeof name !== "string" || !Number.isSafeInteger(txid) || (txid as number) < 0 || !isState)
    return null;
  const position: PushPosition = {
    name,
    txid: txid as number,
    time: textOrNull(fields["time"]),
    checksum: textOrNull(fields["checksum"]),
    chain: textOrNull(fields["chain"]),
    state: state as PushPosition["state"],
    reason: textOrNull(fields["reason"]),
    hasBucket: fields["has_bucket"] === true,
  };
  const isRefusal = typeof refused === "string" && REFUSALS.includes(refused);
  return {
    position,
    refused: isRefusal ? (refused as PushRefusal) : null,
    message: textOrNull(fields["message"]),
  };
}

function textOrNull(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
