/**
 * The state file of a replica, `<local>-replica-state` beside it: its source and its point in the history, as
 * one JSON document with a SHA-256 of itself.
 *
 * The state names up to two points, `current` and `next`. The database is at one of them; the checksum of its
 * content tells which. `next` is durable before the transaction that leads there commits, so a SIGKILL at any
 * moment leaves a known replica. Before the first bootstrap is published, `current` is null.
 */
import { closeSync, fsyncSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { systemCode, WalrustError } from "../../errors.ts";
import { hex, sha256 } from "../../format/chain.ts";
import { formatChecksum } from "../../format/ltx.ts";
import type { Checksum, Txid } from "../../format/types.ts";
import { createTemp, readOwnOrNull, type TempFile, writeWhole } from "../../local/own-file.ts";
import { syncFolder } from "../restore/target-file.ts";

const STATE_FORMAT = 1;
const STATE_SIZE_MAX = 64 * 1024;

/** One point of the source's history. */
export interface ReplicaPoint {
  readonly txid: Txid;
  /** Time of the capture, ms since the epoch. */
  readonly timeMs: number;
  /** XOR of all page sums. */
  readonly checksum: Checksum;
  /** SHA-256 chain value at the TXID, 64 hex digits; null when the objects carry no chain. */
  readonly chain: string | null;
  readonly pageSizeBytes: number;
  /** Database size in pages. */
  readonly pageCount: number;
}

/** The content of the state file. */
export interface ReplicaState {
  /** The destination and the name, e.g. `s3://bucket/prefix/app`. */
  readonly source: string;
  readonly current: ReplicaPoint | null;
  readonly next: ReplicaPoint | null;
}

/** The result of reading a state file. */
export type ReplicaStateReading =
  | { readonly kind: "state"; readonly state: ReplicaState }
  | { readonly kind: "none" }
  | { readonly kind: "lost"; readonly reason: string };

/** The path of the state file of a replica. */
export function replicaStatePath(localPath: string): string {
  return `${localPath}-replica-state`;
}

/**
 * Reads the state file. Damage in the file is a result, never an error.
 * @param localPath the path by which the replica is opened
 */
export function readReplicaState(localPath: string): ReplicaStateReading {
  const path = replicaStatePath(localPath);
  try {
    const text = readOwnOrNull(path, STATE_SIZE_MAX);
    if (text === null) return { kind: "none" };
    const { sha256: stored, ...body } = JSON.parse(text) as Record<string, unknown>;
    if (stored !== hashOf(body)) return { kind: "lost", reason: "its checksum is wrong" };
    if (body["format"] !== STATE_FORMAT) return { kind: "lost", reason: `its format is ${body["format"]}` };
    const { source } = body;
    if (typeof source !== "string") return { kind: "lost", reason: "it names no source" };
    const state = { source, current: parsePoint(body["current"]), next: parsePoint(body["next"]) };
    return { kind: "state", state };
  } catch (error) {
    const reason = error instanceof WalrustError ? error.message : (systemCode(error) ?? String(error));
    return { kind: "lost", reason };
  }
}

/**
 * Replaces the state file, durably.
 * @param heldPath the path of the replica below its open folder
 * @throws WalrustError "database"
 */
export function writeReplicaState(localPath: string, state: ReplicaState, heldPath = localPath): void {
  const path = replicaStatePath(heldPath);
  const { source, current, next } = state;
  const body = {
    format: STATE_FORMAT,
    source,
    current: current === null ? null : jsonOf(current),
    next: next === null ? null : jsonOf(next),
  };
  const bytes = new TextEncoder().encode(`${JSON.stringify({ ...body, sha256: hashOf(body) }, null, 2)}\n`);
  let temp: TempFile | null = null;
  try {
    temp = createTemp(path);
    try {
      writeWhole(temp.fd, bytes);
      fsyncSync(temp.fd);
    } finally {
      closeSync(temp.fd);
    }
    renameSync(temp.path, path);
    syncFolder(dirname(path));
  } catch (error) {
    if (temp !== null) rmSync(temp.path, { force: true });
    const code = systemCode(error) ?? String(error);
    throw new WalrustError("database", `Cannot write ${replicaStatePath(localPath)}: ${code}`, {
      hint: "The replica is unchanged; free some space or repair the permissions of its folder",
      retryable: code === "ENOSPC",
      cause: error,
    });
  }
}

function hashOf(body: Readonly<Record<string, unknown>>): string {
  return hex(sha256(new TextEncoder().encode(JSON.stringify(body))));
}

function jsonOf(point: ReplicaPoint): Record<string, unknown> {
  return {
    txid: point.txid,
    time: new Date(point.timeMs).toISOString(),
    checksum: formatChecksum(point.checksum),
    chain: point.chain,
    page_size: point.pageSizeBytes,
    page_count: point.pageCount,
  };
}

/** Parses a point. @throws Error naming the first wrong field */
function parsePoint(value: unknown): ReplicaPoint | null {
  if (value === null) return null;
  const fields = value as Record<string, unknown>;
  const whole = (key: string): number => {
    const field = fields[key];
    if (!Number.isSafeInteger(field) || (field as number) < 1) throw new Error(`${key} is ${field}`);
    return field as number;
  };
  const timeMs = Date.parse(String(fields["time"]));
  if (Number.isNaN(timeMs)) throw new Error(`time is ${fields["time"]}`);
  const checksum = String(fields["checksum"]);
  if (!/^[0-9a-f]{16}$/.test(checksum)) throw new Error(`checksum is ${checksum}`);
  const { chain } = fields;
  if (chain !== null && !/^[0-9a-f]{64}$/.test(String(chain))) throw new Error(`chain is ${chain}`);
  return {
    txid: whole("txid") as Txid,
    timeMs,
    checksum: BigInt(`0x${checksum}`) as Checksum,
    chain: chain as string | null,
    pageSizeBytes: whole("page_size"),
    pageCount: whole("page_count"),
  };
}
