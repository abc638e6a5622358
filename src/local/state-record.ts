/**
 * The format of the state file: a head of text that is written once, and two slots that are written in turn.
 *
 * With H the size of the head, the smallest multiple of 512 that holds its text:
 *
 *   offset    size  field
 *        0       L  one line of JSON: format (2), id, destination, name, writer, home
 *        L      18  newline, CRC-64 of the line as 16 hex digits, newline
 *     L+18       …  zeros up to H
 *        H     512  slot 0
 *    H+512     512  slot 1
 *
 * A slot, integers big-endian:
 *
 *   offset  size  field
 *        0     8  magic "WALSLOT2"
 *        8     8  id of the file, as in the head
 *       16     8  sequence number of the write, from 1; the slot is the one of its parity
 *       24     8  TXID
 *       32     8  time of the capture, ms since the epoch
 *       40     4  page size in bytes
 *       44     4  database size in pages
 *       48     8  database checksum
 *       56    32  SHA-256 chain value
 *       88     4  flags: the bits of FLAGS, for the fields that are present
 *       92    20  WAL position: salt 1, salt 2, frames, checksum 1, checksum 2, 4 bytes each
 *      112     8  database file: inode
 *      120     8  its size in bytes
 *      128     8  its modification time, ns since the epoch, signed
 *      136     8  its time of birth, ns, signed
 *      144     8  inode of the -wal
 *      152     8  time of birth of the -wal, ns, signed
 *      160     8  time of the last change of a database file at rest, ns, signed
 *      168     8  newest snapshot: TXID
 *      176     8  its time, ms since the epoch
 *      184   320  zeros
 *      504     8  CRC-64 of the 504 bytes before
 *
 * A file holds a state if and only if
 *  1. the second line is the CRC-64 of the first, the format is 2, and zeros fill the head,
 *  2. the file ends with slot 1, and
 *  3. at least one slot is valid: its magic, its CRC-64, the id of the file, the parity of its sequence
 *     number, and each field in its range. Without a valid slot, the file still names its writer.
 * The valid slot with the higher sequence number counts. A write goes to the other slot, so a write that is
 * cut off leaves the state before it. The id is random for each file: a slot of an older file, which a
 * disk may show after a power cut, never counts.
 *
 * Earlier versions wrote one line of JSON of format 1 (old-state.ts). They call this file lost, because
 * the format of its first line is 2, and continue at the bucket's newest TXID.
 */
import { decimalText } from "../database/files/file-version.ts";
import { hex, parseHex32 } from "../format/chain.ts";
import { crc64 } from "../format/crc64.ts";
import { type Checksum, isTimeMs, TXID_MAX, type Txid } from "../format/types.ts";
import type { DatabaseFile, DatabaseState } from "./state.ts";
import { parseOrigin, type StateOrigin } from "./state-origin.ts";

/** The format of the state file. */
export const STATE_FORMAT = 2;
/** A slot is one sector, so that a torn write of one slot leaves the other whole. */
export const SLOT_SIZE = 512;
const SLOT_COUNT = 2;
const MAGIC = 0x57414c534c4f5432n; // "WALSLOT2"
const NEWLINE = 10;
const CHECKSUM_LENGTH = 16;

const FIELDS = {
  magic: 0,
  id: 8,
  sequence: 16,
  txid: 24,
  timeMs: 32,
  pageSizeBytes: 40,
  commit: 44,
  checksum: 48,
  chain: 56,
  flags: 88,
  wal: 92,
  fileInode: 112,
  fileSizeBytes: 120,
  fileModifiedNs: 128,
  fileBornNs: 136,
  walInode: 144,
  walBornNs: 152,
  restedNs: 160,
  snapshotTxid: 168,
  snapshotTimeMs: 176,
  zeros: 184,
  crc: 504,
} as const;

/** Fields that are present. */
const FLAGS = { wal: 1, file: 2, bornNs: 4, walIdentity: 8, restedNs: 16, snapshot: 32 } as const;
const ALL_FLAGS = 63;

/** The text that is written once. */
export interface StateHead extends Pick<DatabaseState, "destination" | "name" | "writer"> {
  /** Random for each file, 64 bits. */
  readonly id: bigint;
  readonly home: StateOrigin;
}

/** The fields of a slot. */
export type StatePosition = Omit<DatabaseState, "destination" | "name" | "writer">;

/** A decoded state file. */
export interface StateRecord {
  readonly head: StateHead;
  /** Sequence number of the slot that counts; 0 if no slot is valid. */
  readonly sequence: number;
  /** Null if no slot is valid: the position was given up, or both slots are torn. */
  readonly position: StatePosition | null;
}

/** Seals one line of text with its checksum. */
export function sealedLine(line: string): string {
  const checksum = crc64(new TextEncoder().encode(line)).toString(16).padStart(CHECKSUM_LENGTH, "0");
  return `${line}\n${checksum}\n`;
}

/** The first line of a file, if the second is its checksum; the last newline may be missing. */
export function sealedLineOrNull(bytes: Uint8Array): string | null {
  const end = bytes.indexOf(NEWLINE);
  if (end < 0) return null;
  const line = new TextDecoder().decode(bytes.subarray(0, end));
  const seal = new TextDecoder().decode(bytes.subarray(0, end + 2 + CHECKSUM_LENGTH));
  const expected = sealedLine(line);
  return seal === expected || `${seal}\n` === expected ? line : null;
}

/**
 * Encodes a new file: the head, and the position as its first write.
 * @param position null: the position is given up, and the file keeps the head alone
 */
export function encodeStateFile(head: StateHead, position: StatePosition | null): Uint8Array {
  const { id, destination, name, writer, home } = head;
  const fields = { format: STATE_FORMAT, id: id.toString(16), destination, name, writer, home };
  const text = new TextEncoder().encode(sealedLine(JSON.stringify(fields)));
  const headSizeBytes = Math.ceil(text.length / SLOT_SIZE) * SLOT_SIZE;
  const bytes = new Uint8Array(headSizeBytes + SLOT_COUNT * SLOT_SIZE);
  bytes.set(text);
  if (position !== null) bytes.set(encodeSlot(id, 1, position), slotOffset(bytes.length, 1));
  return bytes;
}

/** The offset of the slot that a write goes to, in a file of this size. */
export function slotOffset(fileSizeBytes: number, sequence: number): number {
  return fileSizeBytes - (SLOT_COUNT - (sequence % SLOT_COUNT)) * SLOT_SIZE;
}

const slot = new Uint8Array(SLOT_SIZE);
const slotView = new DataView(slot.buffer);

/** Encodes a slot. The bytes are valid until the next call. */
export function encodeSlot(id: bigint, sequence: number, position: StatePosition): Uint8Array {
  const { wal, file, snapshot } = position;
  const view = slotView;
  slot.fill(0);
  view.setBigUint64(FIELDS.magic, MAGIC);
  view.setBigUint64(FIELDS.id, id);
  view.setBigUint64(FIELDS.sequence, BigInt(sequence));
  view.setBigUint64(FIELDS.txid, BigInt(position.txid));
  view.setBigUint64(FIELDS.timeMs, BigInt(position.timeMs));
  view.setUint32(FIELDS.pageSizeBytes, position.pageSizeBytes);
  view.setUint32(FIELDS.commit, position.commit);
  view.setBigUint64(FIELDS.checksum, position.checksum);
  slot.set(parseHex32(position.chain), FIELDS.chain);
  let flags = 0;
  if (wal !== null) {
    flags |= FLAGS.wal;
    const words = [wal.salt1, wal.salt2, wal.frameCount, wal.checksum1, wal.checksum2];
    for (let i = 0; i < words.length; i++) view.setUint32(FIELDS.wal + 4 * i, words[i]!);
  }
  if (file !== undefined) flags |= FLAGS.file | encodeFile(view, file);
  if (snapshot !== null) {
    flags |= FLAGS.snapshot;
    view.setBigUint64(FIELDS.snapshotTxid, BigInt(snapshot.txid));
    view.setBigUint64(FIELDS.snapshotTimeMs, BigInt(snapshot.timeMs));
  }
  view.setUint32(FIELDS.flags, flags);
  view.setBigUint64(FIELDS.crc, crc64(slot.subarray(0, FIELDS.crc)));
  return slot;
}

/** @returns the flags of the fields that are present */
function encodeFile(view: DataView, file: DatabaseFile): number {
  let flags = 0;
  view.setBigUint64(FIELDS.fileInode, BigInt(file.inode));
  view.setBigUint64(FIELDS.fileSizeBytes, BigInt(file.sizeBytes));
  view.setBigInt64(FIELDS.fileModifiedNs, BigInt(file.modifiedNs));
  if (file.bornNs !== undefined) {
    flags |= FLAGS.bornNs;
    view.setBigInt64(FIELDS.fileBornNs, BigInt(file.bornNs));
  }
  if (file.wal !== undefined) {
    flags |= FLAGS.walIdentity;
    view.setBigUint64(FIELDS.walInode, BigInt(file.wal.inode));
    view.setBigInt64(FIELDS.walBornNs, BigInt(file.wal.bornNs));
  }
  if (file.restedNs !== undefined) {
    flags |= FLAGS.restedNs;
    view.setBigInt64(FIELDS.restedNs, BigInt(file.restedNs));
  }
  return flags;
}

/**
 * Decodes a state file.
 * @param line its first line, whose seal is right
 * @throws Error that names the reason why the file holds no state
 */
export function decodeStateFile(bytes: Uint8Array, line: string): StateRecord {
  const head = parseHead(JSON.parse(line));
  const textSize = new TextEncoder().encode(line).length + 2 + CHECKSUM_LENGTH;
  const headSizeBytes = Math.ceil(textSize / SLOT_SIZE) * SLOT_SIZE;
  const expected = headSizeBytes + SLOT_COUNT * SLOT_SIZE;
  if (bytes.length !== expected) throw new Error(`it has ${bytes.length} bytes, expected ${expected}`);
  const isFilled = bytes.subarray(textSize, headSizeBytes).every((byte) => byte === 0);
  if (bytes[textSize - 1] !== NEWLINE || !isFilled) throw new Error("the head is not filled with zeros");
  let newest: { sequence: number; position: StatePosition | null } = { sequence: 0, position: null };
  for (let index = 0; index < SLOT_COUNT; index++) {
    const start = headSizeBytes + index * SLOT_SIZE;
    const decoded = decodeSlotOrNull(bytes.subarray(start, start + SLOT_SIZE), head.id, index);
    if (decoded !== null && decoded.sequence > newest.sequence) newest = decoded;
  }
  return { head, ...newest };
}

function parseHead(value: Record<string, unknown>): StateHead {
  const { id, destination, name, writer } = value;
  const isText = (field: unknown, pattern: RegExp): field is string =>
    typeof field === "string" && pattern.test(field);
  if (!isText(id, /^[0-9a-f]{1,16}$/)) throw new Error(`id is ${JSON.stringify(id)}`);
  if (!isText(destination, /./)) throw new Error(`destination is ${JSON.stringify(destination)}`);
  if (!isText(name, /./)) throw new Error(`name is ${JSON.stringify(name)}`);
  if (!isText(writer, /^[0-9a-f]{32}$/)) throw new Error(`writer is ${JSON.stringify(writer)}`);
  return { id: BigInt(`0x${id}`), destination, name, writer, home: parseOrigin(value["home"]) };
}

/** Decodes a slot; null when the slot is not valid. */
export function decodeSlotOrNull(
  bytes: Uint8Array,
  id: bigint,
  index: number,
): { sequence: number; position: StatePosition } | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, SLOT_SIZE);
  if (view.getBigUint64(FIELDS.magic) !== MAGIC || view.getBigUint64(FIELDS.id) !== id) return null;
  if (view.getBigUint64(FIELDS.crc) !== crc64(bytes.subarray(0, FIELDS.crc))) return null;
  const number = (at: number): number => Number(view.getBigUint64(at));
  const sequence = number(FIELDS.sequence);
  const flags = view.getUint32(FIELDS.flags);
  const isOfSlot = Number.isSafeInteger(sequence) && sequence >= 1 && sequence % SLOT_COUNT === index;
  if (!isOfSlot || (flags & ~ALL_FLAGS) !== 0) return null;
  if (bytes.subarray(FIELDS.zeros, FIELDS.crc).some((byte) => byte !== 0)) return null;
  const has = (flag: number): boolean => (flags & flag) !== 0;
  const [txid, timeMs] = [number(FIELDS.txid), number(FIELDS.timeMs)];
  const [pageSizeBytes, commit] = [view.getUint32(FIELDS.pageSizeBytes), view.getUint32(FIELDS.commit)];
  if (!isTxid(txid) || !isTimeMs(timeMs) || pageSizeBytes < 512 || commit < 1) return null;
  const [snapshotTxid, snapshotTimeMs] = [number(FIELDS.snapshotTxid), number(FIELDS.snapshotTimeMs)];
  if (has(FLAGS.snapshot) && (!isTxid(snapshotTxid) || !isTimeMs(snapshotTimeMs))) return null;
  const word = (at: number): number => view.getUint32(FIELDS.wal + 4 * at);
  const position: StatePosition = {
    txid: txid as Txid,
    timeMs,
    pageSizeBytes,
    commit,
    checksum: view.getBigUint64(FIELDS.checksum) as Checksum,
    chain: hex(bytes.subarray(FIELDS.chain, FIELDS.chain + 32)),
    wal: has(FLAGS.wal)
      ? { salt1: word(0), salt2: word(1), frameCount: word(2), checksum1: word(3), checksum2: word(4) }
      : null,
    ...(has(FLAGS.file) ? { file: decodeFile(view, has) } : {}),
    snapshot: has(FLAGS.snapshot) ? { txid: snapshotTxid as Txid, timeMs: snapshotTimeMs } : null,
  };
  return { sequence, position };
}

function decodeFile(view: DataView, has: (flag: number) => boolean): DatabaseFile {
  const whole = (at: number): string => decimalText(view.getBigUint64(at));
  const signed = (at: number): string => decimalText(view.getBigInt64(at));
  return {
    inode: whole(FIELDS.fileInode),
    sizeBytes: Number(view.getBigUint64(FIELDS.fileSizeBytes)),
    modifiedNs: signed(FIELDS.fileModifiedNs),
    ...(has(FLAGS.bornNs) ? { bornNs: signed(FIELDS.fileBornNs) } : {}),
    ...(has(FLAGS.walIdentity)
      ? { wal: { inode: whole(FIELDS.walInode), bornNs: signed(FIELDS.walBornNs) } }
      : {}),
    ...(has(FLAGS.restedNs) ? { restedNs: signed(FIELDS.restedNs) } : {}),
  };
}

function isTxid(value: number): boolean {
  return Number.isSafeInteger(value) && value >= 1 && value <= TXID_MAX;
}
