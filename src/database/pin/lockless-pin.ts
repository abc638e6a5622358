/**
 * Follows a database without locks, because other connections do not share our wal-index (pin-mode.ts). It
 * opens no connection and takes no lock of SQLite's. So the other connections stay free to checkpoint, to
 * restart the WAL, and to empty it in a last close.
 *
 * A LocklessPin reads the content that the next connection by this name would see: the database file and
 * every valid frame of the -wal, up to the last commit. The content is consistent if neither file changed
 * meanwhile: pages in the file are never newer than the last commit of the WAL, even after a partial
 * checkpoint.
 *
 * Invariants:
 * 1. An image counts only if the database file was not written from 50 ms before the freeze until the end of
 *    reading, and the WAL is unchanged up to the last frame of the image. (Two writes within 50 ms can have
 *    equal times.)
 * 2. The host lock is held from `open` to `close`, as with a pin.
 */
import { fstatSync, statSync } from "node:fs";
import type { Env } from "../../env.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import {
  closeDescriptor,
  descriptorIdentity,
  type FileIdentity,
  fileIdentityOrNull,
  isSameFile,
  openDescriptor,
  readHeaderOf,
} from "../files/descriptors.ts";
import { type FileStamp, fileStamp, isSameStamp, pathStampOrNull } from "../files/file-stamp.ts";
import { type StoredIdentity, storedIdentity } from "../files/file-version.ts";
import { HOST_LOCK_BYTE, SHARED_LENGTH, SHARED_START } from "../files/lock-bytes.ts";
import { isLockedByOther, unlock } from "../files/ofd-lock.ts";
import { type CommittedEnd, findWalEnd, walIndexOfEnd } from "../wal/wal-end.ts";
import { NO_EVIDENCE, requireWalOfFile, type WalEvidence } from "../wal/wal-gate.ts";
import type { KnownFiles } from "../wal/wal-ownership.ts";
import { readWalTail, type WalPosition } from "../wal/wal-tail.ts";
import type { ChangedFile } from "./pin.ts";
import { requirePinnable, requireWal, resolvePath, takeHostLock } from "./pinnable.ts";

const STAMP_RESOLUTION_MS = 50;
const NO_FILE: StoredIdentity = { inode: "0", bornNs: "0" };

/** The stamps of both files. One changes with every write, unless two writes have about the same time. */
interface Stamps {
  readonly database: FileStamp;
  readonly wal: FileStamp | null;
  /** Whether a later write of the WAL may have the same stamp. */
  readonly isWalFresh: boolean;
}

/** One database that is followed without locks. All methods are synchronous. */
export class LocklessPin {
  readonly isLockless = true;
  readonly state = "lockless";
  #end: CommittedEnd | null = null;
  #accepted: FileStamp | null = null;
  #stamps: Stamps | null = null;
  #isOpen = true;

  private constructor(
    /** The real path of the database. */
    readonly path: string,
    readonly databaseFd: number,
    readonly pageSizeBytes: number,
    private readonly database: FileIdentity,
    private readonly env: Env,
  ) {}

  /**
   * Opens the database at `path`.
   * @param evidence facts about its files from an earlier run or pin
   * @throws WalrustError "database" (missing, no database, hot journal, network mount), "not-wal", "locked",
   *   "foreign-wal" (retryable: the -wal belongs to another file)
   */
  static open(path: string, env: Env, evidence: WalEvidence = NO_EVIDENCE): LocklessPin {
    const realPath = resolvePath(path);
    requirePinnable(realPath);
    const fd = openDescriptor(realPath);
    const identity = descriptorIdentity(fd);
    try {
      const header = readHeaderOf(fd);
      requireWal(realPath, header);
      requireWalOfFile(realPath, fd, evidence);
      takeHostLock(realPath, fd);
      const pin = new LocklessPin(realPath, fd, header.pageSizeBytes, identity, env);
      pin.followWal();
      return pin;
    } catch (error) {
      closeDescriptor(identity, fd);
      throw error;
    }
  }

  get walPath(): string {
    return `${this.path}-wal`;
  }

  /** Identities of the files, to recognize the files later. */
  get identities(): { readonly database: StoredIdentity; readonly wal: StoredIdentity } {
    const wal = statSync(this.walPath, { bigint: true, throwIfNoEntry: false });
    const database = storedIdentity(fstatSync(this.databaseFd, { bigint: true }));
    return { database, wal: wal === undefined ? NO_FILE : storedIdentity(wal) };
  }

  /** Identities and salts of the files, as evidence for a later pin. */
  knownFiles(): KnownFiles {
    const { mxFrame, salt1, salt2 } = this.walIndex();
    return { ...this.identities, salts: mxFrame > 0 ? { salt1, salt2 } : null };
  }

  /** The end of the WAL at the last `followWal`, as a wal-index. */
  walIndex(): WalIndexHeader {
    return walIndexOfEnd(this.#end, this.pageSizeBytes);
  }

  /** Reads the WAL up to its current end. */
  followWal(): void {
    this.#end = findWalEnd(this.walPath, this.#end);
  }

  /** The file that was written since the last call, the database first. */
  writtenFile(): "none" | "database" | "wal" {
    const database = fileStamp(this.databaseFd);
    const wal = pathStampOrNull(this.walPath);
    const before = this.#stamps;
    this.#stamps = { database, wal, isWalFresh: wal !== null && this.#isFresh(wal.modifiedMs) };
    if (before === null || !isSameStamp(before.database, database)) return "database";
    const isSameWal = before.wal !== null && wal !== null && isSameStamp(before.wal, wal);
    return (isSameWal && !before.isWalFresh) || before.wal === wal ? "none" : "wal";
  }

  /** Whether the database file was written since the last `writtenFile`. */
  isFileWritten(): boolean {
    return this.#stamps === null || !isSameStamp(this.#stamps.database, fileStamp(this.databaseFd));
  }

  /** Whether another write may get this time, too. */
  #isFresh(modifiedMs: number): boolean {
    return Math.abs(this.env.nowMs() - modifiedMs) < STAMP_RESOLUTION_MS;
  }

  /** Accepts the files as they are, to read an image. False within 50 ms of a write to the database file. */
  freeze(): boolean {
    this.followWal();
    this.acceptFile();
    return !this.#isFresh(fstatSync(this.databaseFd).mtimeMs);
  }

  /** Accepts the database file as it is now. */
  acceptFile(): void {
    this.#accepted = fileStamp(this.databaseFd);
  }

  /** Whether the database file or the frames have changed since `freeze`. */
  isRewritten(): boolean {
    if (this.#accepted !== null && !isSameStamp(this.#accepted, fileStamp(this.databaseFd))) return true;
    return !this.areFramesUnchanged(null, this.walIndex());
  }

  /** Whether the frames from a position to the end that an index states are unchanged. */
  areFramesUnchanged(after: WalPosition | null, index: WalIndexHeader): boolean {
    return index.mxFrame === 0 || readWalTail(this.walPath, { after }, index).kind === "tail";
  }

  /** Whether the database file was replaced at its path. */
  changedFile(): ChangedFile {
    return isSameFile(fileIdentityOrNull(this.path), this.database) ? "none" : "database";
  }

  /** Whether no other process has the database open. */
  isAlone(): boolean {
    return !isLockedByOther(this.databaseFd, SHARED_START, SHARED_LENGTH, "exclusive");
  }

  /** Does nothing: there is no lock to release. */
  release(): void {}

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    unlock(this.databaseFd, HOST_LOCK_BYTE, 1);
    closeDescriptor(this.database, this.databaseFd);
  }
}
