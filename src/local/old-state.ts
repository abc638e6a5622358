/**
 * The state file of format 1, which earlier versions wrote: one line of JSON, and the CRC-64 of the line
 * as 16 hex digits in a second line. It is read once; the first write replaces it by one of format 2
 * (state-record.ts).
 */
import type { StoredIdentity } from "../database/files/file-version.ts";
import type { WalPosition } from "../database/wal/wal-tail.ts";
import { type Checksum, isTimeMs, type Txid } from "../format/types.ts";
import type { DatabaseFile, DatabaseState } from "./state.ts";
import { parseOrigin, type StateOrigin } from "./state-origin.ts";

/** The format of the first line. */
export const OLD_STATE_FORMAT = 1;

/** A state and its origin; null if the origin was not recorded. */
export interface OldState {
  readonly state: DatabaseState;
  readonly home: StateOrigin | null;
}

/** Checks the shape of a parsed state. @throws Error that names the first wrong field */
export function parseOldState(value: Record<string, unknown>): OldState {
  // The first versions did not record where they wrote the state.
  const home = value["home"] === undefined ? null : parseOrigin(value["home"]);
  return { state: parseFields(value), home };
}

function parseFields(value: Record<string, unknown>): DatabaseState {
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
    const isWord = Number.isInteger(field) && (field as number) >= 0 && (field as number) < 2 ** 32;
    if (!isWord) throw new Error(`wal.${key} is ${field}`);
  }
  return value as unknown as WalPosition;
}

function parseFile(value: Record<string, unknown>): DatabaseFile {
  const { inode, sizeBytes, modifiedNs, bornNs, wal, restedNs } = value;
  const isOptional = (field: unknown): field is string | undefined => field === undefined || isWhole64(field);
  const isText = isWhole64(inode) && isWhole64(modifiedNs);
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
  if (!isWhole64(inode) || !isWhole64(bornNs)) throw new Error("file.wal is malformed");
  return { inode, bornNs };
}

function parseSnapshot(value: Record<string, unknown>): { txid: Txid; timeMs: number } {
  const { txid, timeMs } = value;
  if (!Number.isSafeInteger(txid) || !isTimeMs(timeMs as number)) throw new Error("snapshot is malformed");
  return { txid: txid as Txid, timeMs: timeMs as number };
}

/** Whether a field is the text of an inode or of a time in ns. */
function isWhole64(field: unknown): field is string {
  return typeof field === "string" && /^-?[0-9]{1,20}$/.test(field);
}
