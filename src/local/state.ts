/**
 * The local state of one database: the position that replication continues from, in `state.json` of the
 * database's state folder (state-folder.ts).
 *
 * Invariants:
 * 1. The file is replaced as a whole (temporary name, rename), after the spool file of its TXID is complete.
 * 2. The file carries a checksum of itself. A torn or edited file counts as lost and is never half believed.
 * 3. The state belongs to one destination and one name. Another destination begins a history of its own.
 * 4. The state records where it was written, so that a copy is recognised (state-origin.ts).
 * Without a valid state, a watch continues at the bucket's newest TXID with a full file.
 */
import { fstatSync } from "node:fs";
import { decimalText, type StoredIdentity } from "../database/files/file-version.ts";
import type { Pin } from "../database/pin/pin.ts";
import type { WalPosition } from "../database/wal/wal-tail.ts";
import { errorMessage, systemCode, WalrustError } from "../errors.ts";
import { crc64 } from "../format/crc64.ts";
import { type Checksum, isTimeMs, type Txid } from "../format/types.ts";
import { readOwnOrNull, replaceOwn } from "./own-file.ts";
import type { StateFolder } from "./state-folder.ts";
import { isCopied, originOf, parseOrigin } from "./state-origin.ts";

const STATE_FORMAT = 1;
/** A state has some 700 bytes plus the name of its destination. */
const STATE_SIZE_MAX = 64 * 1024;

/** The position that the replication of a database continues from. */
export interface DatabaseState {
  /** `s3://bucket/prefix` or `file:///dir`. */
  readonly destination: string;
  /** Key of the database below the destination. */
  readonly name: string;
  /** Random id of this writer, 32 hex digits: distinguishes our own objects from another writer's. */
  readonly writer: string;
  readonly txid: Txid;
  /** Time of the capture that made `txid`, ms since the epoch; never decreases. */
  readonly timeMs: number;
  readonly pageSizeBytes: number;
  /** Database size in pages at `txid`. */
  readonly commit: number;
  /** Database checksum at `txid`. */
  readonly checksum: Checksum;
  /** SHA-256 chain value at `txid`, 64 hex digits. */
  readonly chain: string;
  /** The end of the captured part of the WAL; null after a restore, when any WAL is a new one. */
  readonly wal: WalPosition | null;
  /**
   * The database file when the state was written. SQLite writes to the file only after a capture, so a
   * different file at this path means that another process replaced the database. Absent: not known.
   */
  readonly file?: DatabaseFile;
  /** The newest snapshot: its TXID and time. */
  readonly snapshot: { readonly txid: Txid; readonly timeMs: number } | null;
}

/** Attributes that distinguish a database file from another version of the file. */
export interface DatabaseFile {
  readonly inode: string;
  readonly sizeBytes: number;
  /** Modification time in ns, as text because a number is too small. */
  readonly modifiedNs: string;
  /** Time of birth in ns; absent in states of older versions. */
  readonly bornNs?: string;
  /** The -wal beside it; absent in states of older versions. */
  readonly wal?: StoredIdentity;
  /**
   * Time of the last change in ns. Present only when the WAL was empty and the file had been unchanged for
   * longer than the resolution of its times: as long as all attributes are the same, nobody has committed.
   */
  readonly restedNs?: string;
}

/** The attributes of a pinned database file. */
export function databaseFileOf({
  databaseFd,
  identities,
}: Pick<Pin, "databaseFd" | "identities">): DatabaseFile {
  const { ino, size, mtimeNs } = fstatSync(databaseFd, { bigint: true });
  const { database, wal } = identities;
  return {
    inode: decimalText(ino),
    sizeBytes: Number(size),
    modifiedNs: decimalText(mtimeNs),
    bornNs: database.bornNs,
    wal: { inode: wal.inode, bornNs: wal.bornNs },
  };
}

/** The attributes of a pinned database file whose WAL is empty and that has been unchanged for a while. */
export function restingFileOf(
  pin: Pick<Pin, "databaseFd" | "identities">,
): DatabaseFile & { restedNs: string } {
  const restedNs = decimalText(fstatSync(pin.databaseFd, { bigint: true }).ctimeNs);
  return { ...databaseFileOf(pin), restedNs };
}

/** Whether both are the same version of the same file. */
export function isSameDatabaseFile(a: DatabaseFile, b: DatabaseFile): boolean {
  return a.inode === b.inode && a.sizeBytes === b.sizeBytes && a.modifiedNs === b.modifiedNs;
}

/** Whether no transaction was committed since the database came to rest. */
export function isStillAtRest(
  file: DatabaseFile | undefined,
  pin: Pick<Pin, "databaseFd" | "identities">,
): boolean {
  if (file?.restedNs === undefined) return false;
  const now = restingFileOf(pin);
  return isSameDatabaseFile(file, now) && file.bornNs === now.bornNs && file.restedNs === now.restedNs;
}

/** The result of reading a state. */
export type StateReading =
  | {
      readonly kind: "state";
      readonly state: DatabaseState;
      /** The state was written in another folder or on another machine. */
      readonly isCopy?: true;
    }
  | { readonly kind: "none" }
  | { readonly kind: "lost"; readonly reason: string };

/** Reads the state. Never throws, whatever the file contains. */
export function readState(paths: Pick<StateFolder, "folder" | "statePath">): StateReading {
  let text: string | null;
  try {
    text = readOwnOrNull(paths.statePath, STATE_SIZE_MAX);
  } catch (error) {
    return { kind: "lost", reason: errorMessage(error) };
  }
  if (text === null) return { kind: "none" };
  const lines = text.split("\n");
  const body = lines[0] ?? "";
  if (lines[1] !== checksumLine(body)) return { kind: "lost", reason: "state.json is torn or was edited" };
  try {
    const value: Record<string, unknown> = JSON.parse(body);
    const state = parseState(value);
    // Older versions did not record where they wrote the state.
    const home = value["home"] === undefined ? null : parseOrigin(value["home"]);
    const isCopy = home !== null && isCopied(home, originOf(paths.folder));
    return isCopy ? { kind: "state", state, isCopy } : { kind: "state", state };
  } catch (error) {
    return { kind: "lost", reason: `state.json: ${String(error)}` };
  }
}

/** Replaces the state file, without fsync: after a power cut the bucket and the page sums decide. */
export function writeState(paths: StateFolder, state: DatabaseState): void {
  try {
    const body = JSON.stringify({
      format: STATE_FORMAT,
      ...state,
      checksum: state.checksum.toString(16).padStart(16, "0"),
      home: originOf(paths.folder),
    });
    replaceOwn(paths.statePath, `${body}\n${checksumLine(body)}\n`);
  } catch (error) {
    throw new WalrustError("database", `Cannot write ${paths.statePath}: ${systemCode(error)}`, {
      hint: "Free some space, or repair the permissions of the state folder; then capture continues",
      retryable: true,
      cause: error,
    });
  }
}

function checksumLine(body: string): string {
  return crc64(new TextEncoder().encode(body)).toString(16).padStart(16, "0");
}

/** Checks the shape of a parsed state. @throws Error that names the first wrong field */
function parseState(value: Record<string, unknown>): DatabaseState {
  if (value["format"] !== STATE_FORMAT)
    throw new Error(`format is ${value["format"]}, expected ${STATE_FORMAT}`);
  const text = (key: string, pattern: RegExp): string => {
    const field = value[key];
    if (typeof field !== "string" || !pattern.test(field))
      throw new Error(`${key} is ${JSON.stringify(field)}`);
    return field;
  };
  const whole = (key: string, min: number): number => {
    const field = value[key];
    if (!Number.isSafeInteger(field) || (field as number) < min) throw new Error(`${key} is ${field}`);
    return field as number;
  };
  const time = (key: string): number => {
    const field = whole(key, 0);
    if (!isTimeMs(field)) throw new Error(`${key} is ${field}`);
    return field;
  };
  return {
    destination: text("destination", /./),
    name: text("name", /./),
    writer: text("writer", /^[0-9a-f]{32}$/),
    txid: whole("txid", 1) as Txid,
    timeMs: time("timeMs"),
    pageSizeBytes: whole("pageSizeBytes", 512),
    commit: whole("commit", 1),
    checksum: BigInt(`0x${text("checksum", /^[0-9a-f]{16}$/)}`) as Checksum,
    chain: text("chain", /^[0-9a-f]{64}$/),
    wal: value["wal"] === null ? null : parseWal(value["wal"] as Record<string, unknown>),
    ...(value["file"] === undefined ? {} : { file: parseFile(value["file"] as Record<string, unknown>) }),
    snapshot: value["snapshot"] === null ? null : parseSnapshot(value["snapshot"] as Record<string, unknown>),
  };
}

function parseWal(value: Record<string, unknown>): WalPosition {
  const keys = ["salt1", "salt2", "frameCount", "checksum1", "checksum2"] as const;
  for (const key of keys) {
    const field = value[key];
    if (!Number.isSafeInteger(field) || (field as number) < 0) throw new Error(`wal.${key} is ${field}`);
  }
  return value as unknown as WalPosition;
}

function parseFile(value: Record<string, unknown>): DatabaseFile {
  const { inode, sizeBytes, modifiedNs, bornNs, wal, restedNs } = value;
  const isOptional = (field: unknown): field is string | undefined =>
    field === undefined || typeof field === "string";
  const isText = typeof inode === "string" && typeof modifiedNs === "string";
  const isWhole = Number.isSafeInteger(sizeBytes) && isOptional(bornNs) && isOptional(restedNs);
  if (!isText || !isWhole) throw new Error("file is malformed");
  return {
    inode,
    sizeBytes: sizeBytes as number,
    modifiedNs,
    ...(bornNs === undefined ? {} : { bornNs }),
    ...(wal === undefined ? {} : { wal: parseStoredIdentity(wal) }),
    ...(restedNs === undefined ? {} : { restedNs }),
  };
}

function parseStoredIdentity(value: unknown): StoredIdentity {
  const { inode, bornNs } = Object(value) as Record<string, unknown>;
  if (typeof inode !== "string" || typeof bornNs !== "string") throw new Error("file.wal is malformed");
  return { inode, bornNs };
}

function parseSnapshot(value: Record<string, unknown>): { txid: Txid; timeMs: number } {
  const { txid, timeMs } = value;
  if (!Number.isSafeInteger(txid) || !isTimeMs(timeMs as number)) throw new Error("snapshot is malformed");
  return { txid: txid as Txid, timeMs: timeMs as number };
}
