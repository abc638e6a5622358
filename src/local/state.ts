/**
 * The local state of one database: the position that replication continues from, in `state.json` of the
 * database's state folder (state-folder.ts). The format is in state-record.ts.
 *
 * Invariants:
 * 1. The state is written after the spool file of its TXID is complete: in place, into the slot that does not
 *    count. The file is replaced as a whole (temporary name, rename) when its fixed text changes, when it is
 *    of an old format, and when it is missing or torn. So there is one file, and never an older one beside
 *    it.
 * 2. Each slot carries a checksum. A torn slot leaves the state before it; a file that was edited or has no
 *    valid slot counts as lost and is never half believed.
 * 3. The state belongs to one destination and one name. Another destination begins a history of its own.
 * 4. The state records where it was written, so that a copy is recognised (state-origin.ts).
 * Without a valid state, a watch continues at the bucket's newest TXID with a full file.
 */
import { closeSync, fstatSync, type Stats } from "node:fs";
import { decimalText, type StoredIdentity } from "../database/files/file-version.ts";
import type { Pin } from "../database/pin/pin.ts";
import type { WalPosition } from "../database/wal/wal-tail.ts";
import { randomTag } from "../env.ts";
import { errorMessage, systemCode, WalrustError } from "../errors.ts";
import type { Checksum, Txid } from "../format/types.ts";
import { OLD_STATE_FORMAT, parseOldState } from "./old-state.ts";
import {
  type OwnFile,
  openOwnFileOrNull,
  readBytes,
  readOwnBytesOrNull,
  replaceOwn,
  writeWhole,
} from "./own-file.ts";
import type { StateFolder } from "./state-folder.ts";
import { isCopied, isOtherBoot, isSameOrigin, originOf, type StateOrigin } from "./state-origin.ts";
import {
  decodeStateFile,
  encodeSlot,
  encodeStateFile,
  STATE_FORMAT,
  type StatePosition,
  type StateRecord,
  sealedLineOrNull,
  slotOffset,
} from "./state-record.ts";

/** A state file has 1.5 KB plus the names of database and destination. */
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

/** The history that a state belongs to, and its writer. */
export type StateOwner = Pick<DatabaseState, "destination" | "name" | "writer">;

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
  const { size, mtimeNs } = fstatSync(databaseFd, { bigint: true });
  const { database, wal } = identities;
  return {
    inode: database.inode,
    sizeBytes: Number(size),
    modifiedNs: decimalText(mtimeNs),
    bornNs: database.bornNs,
    wal,
  };
}

/** A step of the times that `FileStamp` compares, in ms. */
const STAMP_STEP_MS = 0.001;

/** Whether remembered attributes are those of the pinned file at its last check. Makes no system call. */
export function isFileOfPin(
  file: DatabaseFile,
  { identities, stamp }: Pick<Pin, "identities" | "stamp">,
): boolean {
  const { database, wal } = identities;
  if (stamp === null || file.sizeBytes !== stamp.sizeBytes) return false;
  if (Math.abs(Number(file.modifiedNs) / 1e6 - stamp.modifiedMs) >= STAMP_STEP_MS) return false;
  if (file.inode !== database.inode || file.bornNs !== database.bornNs) return false;
  return file.wal?.inode === wal.inode && file.wal.bornNs === wal.bornNs;
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

/**
 * Origins of states of an earlier boot. Until the bucket has confirmed such a state, its file keeps the
 * origin: a power cut may have lost files around it, and the next process has to know that, too.
 */
const unconfirmed = new WeakMap<Pick<StateFolder, "statePath">, StateOrigin>();

/** The bucket has confirmed the state, or the state is given up. */
export function confirmState(paths: Pick<StateFolder, "statePath">): void {
  // The next write compares the origin in the file again, and replaces the file.
  if (unconfirmed.delete(paths)) lastWrites.delete(paths);
}

/** The result of reading a state. */
export type StateReading =
  | {
      readonly kind: "state";
      readonly state: DatabaseState;
      /** The state was written in another folder or on another machine. */
      readonly isCopy?: true;
      /** The kernel was restarted since the file was made: a power cut may have lost files around it. */
      readonly isOfOtherBoot?: true;
    }
  | { readonly kind: "none" }
  | {
      readonly kind: "lost";
      readonly reason: string;
      /** The writer that the file still names; absent if the file was written elsewhere or names none. */
      readonly owner?: StateOwner;
    }
  /** The system refuses to read the file now, for want of descriptors for example: the state is not lost. */
  | { readonly kind: "refused"; readonly error: WalrustError };

/**
 * Reads the state. Never throws, whatever the file contains.
 *
 * The next write to the same `paths` reads the file, too: another process may have been the writer until the
 * host lock was taken.
 */
export function readState(paths: Pick<StateFolder, "folder" | "statePath">): StateReading {
  lastWrites.delete(paths);
  let bytes: Uint8Array | null;
  try {
    bytes = readOwnBytesOrNull(paths.statePath, STATE_SIZE_MAX);
  } catch (error) {
    return unreadable(paths.statePath, error);
  }
  if (bytes === null) return { kind: "none" };
  const line = sealedLineOrNull(bytes);
  if (line === null) return { kind: "lost", reason: "state.json is torn or was edited" };
  try {
    const { state, owner, home } = parseState(bytes, line);
    const now = originOf(paths.folder);
    const isCopy = home !== null && isCopied(home, now);
    if (state === null) {
      return { kind: "lost", reason: "state.json: no slot is valid", ...(isCopy ? {} : { owner }) };
    }
    const isOfOtherBoot = home !== null && isOtherBoot(home, now);
    if (isOfOtherBoot && !isCopy) unconfirmed.set(paths, home);
    else unconfirmed.delete(paths);
    return {
      kind: "state",
      state,
      ...(isCopy ? { isCopy: true } : {}),
      ...(isOfOtherBoot ? { isOfOtherBoot: true } : {}),
    };
  } catch (error) {
    return { kind: "lost", reason: `state.json: ${String(error)}` };
  }
}

function unreadable(statePath: string, error: unknown): StateReading {
  if (error instanceof WalrustError && !error.retryable) return { kind: "lost", reason: error.message };
  const refused = new WalrustError("database", `Cannot read ${statePath}: ${errorMessage(error)}`, {
    hint: "walrust tries again. Let the process open more files, or repair the disk",
    retryable: true,
    cause: error,
  });
  return { kind: "refused", error: refused };
}

/** The content of a state file of any format. */
interface ParsedState {
  readonly state: DatabaseState | null;
  readonly owner: StateOwner;
  readonly home: StateOrigin | null;
}

function parseState(bytes: Uint8Array, line: string): ParsedState {
  const value: Record<string, unknown> = JSON.parse(line);
  const { format } = value;
  if (format === OLD_STATE_FORMAT) {
    const { state, home } = parseOldState(value);
    return { state, owner: state, home };
  }
  if (format !== STATE_FORMAT) throw new Error(`format is ${format}, expected ${STATE_FORMAT}`);
  const { head, position } = decodeStateFile(bytes, line);
  const { destination, name, writer, home } = head;
  const owner = { destination, name, writer };
  return { state: position === null ? null : { ...owner, ...position }, owner, home };
}

/** The file that a writer has written last: a few numbers, because each watched database has one. */
interface LastWrite extends StateOwner {
  readonly device: number;
  readonly inode: number;
  /** Distinguishes a new file with the inode of a removed one. */
  readonly bornMs: number;
  readonly sizeBytes: number;
  readonly id: bigint;
  sequence: number;
}

/** Known from the second write on: a write then costs four system calls and reads nothing. */
const lastWrites = new WeakMap<Pick<StateFolder, "statePath">, LastWrite>();

/**
 * Writes the state, without fsync: after a power cut the bucket and the page sums decide. Only the holder of
 * the host lock may call this, and it has called `readState` with the same `paths` since it took the lock.
 */
export function writeState(paths: StateFolder, state: DatabaseState): void {
  retryably(paths, () => {
    if (!isWrittenInPlace(paths, state)) replaceState(paths, state, state);
  });
}

function retryably({ statePath }: StateFolder, write: () => void): void {
  try {
    write();
  } catch (error) {
    throw new WalrustError("database", `Cannot write ${statePath}: ${systemCode(error)}`, {
      hint: "Free some space, or repair the permissions of the state folder; then capture continues",
      retryable: true,
      cause: error,
    });
  }
}

/** Writes the slot that does not count, if the file at the path is one that this state belongs into. */
function isWrittenInPlace(paths: StateFolder, state: DatabaseState): boolean {
  const file = openOursOrNull(paths.statePath);
  if (file === null) return false;
  const { fd, stats } = file;
  try {
    // A file with a second name, such as a backup by hard links, keeps its content.
    if (stats.nlink !== 1) return false;
    const known = lastWrites.get(paths);
    const last = known !== undefined && isFileOf(known, stats) ? known : recallOrNull(paths, file, state);
    if (last === null || !isSameOwner(last, state)) return false;
    const sequence = last.sequence + 1;
    writeWhole(fd, encodeSlot(last.id, sequence, state), slotOffset(last.sizeBytes, sequence));
    last.sequence = sequence;
    // A database at rest is not written soon, and keeps nothing.
    if (state.file?.restedNs === undefined) lastWrites.set(paths, last);
    else lastWrites.delete(paths);
    return true;
  } finally {
    closeSync(fd);
  }
}

/** Opens the file for a write in place; null when only a replacement as a whole can help. */
function openOursOrNull(path: string): OwnFile | null {
  try {
    return openOwnFileOrNull(path);
  } catch (error) {
    if (error instanceof WalrustError) return null;
    throw error;
  }
}

/**
 * Reads the file before the first write in place. Null when the file is of an old format, torn or a copy, or
 * belongs to another writer.
 */
function recallOrNull(paths: StateFolder, { fd, stats }: OwnFile, state: DatabaseState): LastWrite | null {
  if (stats.size > STATE_SIZE_MAX) return null;
  const bytes = readBytes(fd, stats.size);
  const line = sealedLineOrNull(bytes);
  if (line === null) return null;
  let record: StateRecord;
  try {
    record = decodeStateFile(bytes, line);
  } catch {
    return null;
  }
  const { head, sequence } = record;
  if (!isSameOwner(head, state) || !isSameOrigin(head.home, homeOf(paths))) return null;
  // The texts of the state, not those of the file: both are kept, and the state has them already.
  const { destination, name, writer } = state;
  const { dev: device, ino: inode, birthtimeMs: bornMs, size: sizeBytes } = stats;
  return { destination, name, writer, device, inode, bornMs, sizeBytes, id: head.id, sequence };
}

/** The origin of a state that is written now. */
function homeOf(paths: StateFolder): StateOrigin {
  return unconfirmed.get(paths) ?? originOf(paths.folder);
}

/**
 * Gives the position up and keeps the writer id: until a new position is written, the next process must take
 * the objects of this writer for its own.
 */
export function giveUpState(paths: StateFolder, owner: StateOwner): void {
  retryably(paths, () => replaceState(paths, owner, null));
}

function replaceState(paths: StateFolder, owner: StateOwner, position: StatePosition | null): void {
  lastWrites.delete(paths);
  const { destination, name, writer } = owner;
  const id = BigInt(`0x${randomTag()}`);
  const home = homeOf(paths);
  replaceOwn(paths.statePath, encodeStateFile({ id, destination, name, writer, home }, position));
}

function isFileOf(last: LastWrite, { dev, ino, birthtimeMs, size }: Stats): boolean {
  const isSameFile = last.inode === ino && last.device === dev && last.bornMs === birthtimeMs;
  return isSameFile && last.sizeBytes === size;
}

function isSameOwner(a: StateOwner, b: StateOwner): boolean {
  return a.writer === b.writer && a.name === b.name && a.destination === b.destination;
}
