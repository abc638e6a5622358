/**
 * The state file of a replica, `<local>-replica-state` beside it: its source and its point in the history.
 *
 * The state names up to two points, `current` and `next`. The database is at one of them; the checksum of its
 * content tells which. `next` is durable before the transaction that leads there commits, so a SIGKILL at any
 * moment leaves a known replica. Before the first bootstrap is published, `current` is null.
 *
 * The file has two slots of the same size, a multiple of 4,096 bytes. A slot is blank, or one JSON document
 * with a sequence number and a SHA-256 of itself, padded with spaces, with a newline at the end. The valid
 * document with the highest number counts. A commit writes its state in place into the other slot. A write
 * that is cut off leaves the state before it, which names the point of the database, too. The slots share no
 * sector of a disk, so a torn sector damages one slot. Writing in place needs one sync of data; replacing the
 * file needs two syncs, and takes twice as long.
 *
 * Earlier versions wrote one document of format 1, without a number, which is read and then replaced.
 */
import { closeSync, fdatasyncSync, fsyncSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { systemCode, WalrustError } from "../../errors.ts";
import { hex, sha256 } from "../../format/chain.ts";
import { formatChecksum } from "../../format/ltx.ts";
import type { Checksum, Txid } from "../../format/types.ts";
import {
  createTemp,
  type OwnFile,
  openOwnFileOrNull,
  readBytes,
  readOwnBytesOrNull,
  type TempFile,
  writeWhole,
} from "../../local/own-file.ts";
import { syncFolder } from "../restore/target-file.ts";

const STATE_FORMAT = 2;
/** One document instead of two slots. */
const OLD_STATE_FORMAT = 1;
const STATE_SIZE_MAX = 64 * 1024;
const SECTOR_SIZE = 4_096;
/** A slot has this much more than its first document: the second point, and longer numbers. */
const SLOT_RESERVE = 512;
const NEWLINE = 10;

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
    const bytes = readOwnBytesOrNull(path, STATE_SIZE_MAX);
    if (bytes === null) return { kind: "none" };
    const newest = newestOf(bytes);
    if (typeof newest === "string") return { kind: "lost", reason: newest };
    const { source, current, next } = newest.body;
    if (typeof source !== "string") return { kind: "lost", reason: "it names no source" };
    const state = { source, current: parsePoint(current), next: parsePoint(next) };
    return { kind: "state", state };
  } catch (error) {
    const reason = error instanceof WalrustError ? error.message : (systemCode(error) ?? String(error));
    return { kind: "lost", reason };
  }
}

/**
 * Replaces the state file as a whole, durably.
 * @param heldPath the path of the replica below its open folder
 * @throws WalrustError "database"
 */
export function writeReplicaState(localPath: string, state: ReplicaState, heldPath = localPath): void {
  reporting(localPath, () => replaceState(replicaStatePath(heldPath), state));
}

/**
 * Writes the state of a commit, durably: in place if the file has room for it. The process has the lock of
 * the replica, so that nobody else writes the file.
 * @param heldPath the path of the replica below its open folder
 * @throws WalrustError "database"
 */
export function advanceReplicaState(localPath: string, state: ReplicaState, heldPath = localPath): void {
  const path = replicaStatePath(heldPath);
  reporting(localPath, () => {
    if (!writeInPlace(path, state)) replaceState(path, state);
  });
}

/**
 * Writes into the slot that does not count.
 * @returns false when the file has no such slot
 * @throws the system's error
 */
function writeInPlace(path: string, state: ReplicaState): boolean {
  let file: OwnFile | null;
  try {
    file = openOwnFileOrNull(path);
  } catch {
    // Of another kind or user, without the right to write, or under a lease: the file is replaced.
    return false;
  }
  if (file === null) return false;
  try {
    const { size } = file.stats;
    if (size > STATE_SIZE_MAX || size % (2 * SECTOR_SIZE) !== 0) return false;
    const newest = newestOf(readBytes(file.fd, size));
    if (typeof newest === "string" || newest.body["format"] !== STATE_FORMAT) return false;
    const slotSize = size / 2;
    const document = encode(state, newest.sequence + 1);
    if (document.length >= slotSize) return false;
    writeWhole(file.fd, padded(document, slotSize), newest.slot === 0 ? slotSize : 0);
    fdatasyncSync(file.fd);
    return true;
  } finally {
    closeSync(file.fd);
  }
}

function replaceState(path: string, state: ReplicaState): void {
  const document = encode(state, 1);
  const slotSize = Math.ceil((document.length + SLOT_RESERVE) / SECTOR_SIZE) * SECTOR_SIZE;
  let temp: TempFile | null = null;
  try {
    temp = createTemp(path);
    try {
      writeWhole(temp.fd, padded(document, slotSize));
      writeWhole(temp.fd, padded(new Uint8Array(), slotSize));
      fsyncSync(temp.fd);
    } finally {
      closeSync(temp.fd);
    }
    renameSync(temp.path, path);
    syncFolder(dirname(path));
  } catch (error) {
    if (temp !== null) rmSync(temp.path, { force: true });
    throw error;
  }
}

/** Runs a write of the state file. @throws WalrustError "database" for an error of the system */
function reporting(localPath: string, write: () => void): void {
  try {
    write();
  } catch (error) {
    const code = systemCode(error) ?? String(error);
    throw new WalrustError("database", `Cannot write ${replicaStatePath(localPath)}: ${code}`, {
      hint: "The replica is unchanged; free some space or repair the permissions of its folder",
      retryable: code === "ENOSPC",
      cause: error,
    });
  }
}

function encode({ source, current, next }: ReplicaState, sequence: number): Uint8Array {
  const body = {
    format: STATE_FORMAT,
    sequence,
    source,
    current: current === null ? null : jsonOf(current),
    next: next === null ? null : jsonOf(next),
  };
  return new TextEncoder().encode(JSON.stringify({ ...body, sha256: hashOf(body) }, null, 2));
}

function padded(document: Uint8Array, slotSize: number): Uint8Array {
  const slot = new Uint8Array(slotSize).fill(32);
  slot.set(document);
  slot[slotSize - 1] = NEWLINE;
  return slot;
}

/** A valid document of the file. */
interface StateDocument {
  readonly slot: 0 | 1;
  readonly sequence: number;
  readonly body: Readonly<Record<string, unknown>>;
}

/** The valid document with the highest number; the reason when none is valid. */
function newestOf(bytes: Uint8Array): StateDocument | string {
  const slots = [bytes.subarray(0, bytes.length / 2), bytes.subarray(bytes.length / 2)];
  const documents = slots.map((slot, index) => documentOf(slot, index as 0 | 1));
  const [newest] = documents
    .filter((document) => typeof document !== "string")
    .toSorted((a, b) => b.sequence - a.sequence);
  if (newest !== undefined) return newest;
  const whole = documentOf(bytes, 0);
  return typeof whole === "string" && whole.startsWith("SyntaxError") ? documents[0]! : whole;
}

/** Parses a document; the reason when the document cannot be used. */
function documentOf(bytes: Uint8Array, slot: 0 | 1): StateDocument | string {
  let fields: Record<string, unknown>;
  try {
    fields = Object(JSON.parse(new TextDecoder().decode(bytes)));
  } catch (error) {
    return String(error);
  }
  const { sha256: stored, ...body } = fields;
  if (stored !== hashOf(body)) return "its checksum is wrong";
  const { format, sequence = 0 } = body;
  if (format !== STATE_FORMAT && format !== OLD_STATE_FORMAT) return `its format is ${format}`;
  if (!Number.isSafeInteger(sequence)) return `its sequence is ${sequence}`;
  return { slot, sequence: sequence as number, body };
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
