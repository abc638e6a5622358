/**
 * A database that is followed without locks, because others use it past the wal-index that we could share
 * (pin-mode.ts). No connection is opened and no lock of SQLite's is taken, so nothing that its users do is
 * kept from them: checkpoints, restarts of the WAL, a last close that empties it.
 *
 * A LocklessPin reads what the next connection by this name would see: the database file and every
 * valid frame of the -wal beside it, up to the last commit. It is consistent if neither changed meanwhile:
 * pages in the file are never newer than the WAL's last commit, whatever part of it was checkpointed.
 *
 * Invariants:
 * 1. An image counts only if the database file was not written from 50 ms before it was opened (two writes
 *    can have one time stamp) until it was read, and the WAL is the same up to the image's last frame.
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
import { fileVersion, type StoredIdentity } from "../files/file-version.ts";
import { HOST_LOCK_BYTE } from "../files/lock-bytes.ts";
import { lockExclusive, unlock } from "../files/ofd-lock.ts";
import { type CommittedEnd, findWalEnd, walIndexOfEnd } from "../wal/wal-end.ts";
import { NO_EVIDENCE, requireWalOfFile, type WalEvidence } from "../wal/wal-gate.ts";
import type { KnownFiles } from "../wal/wal-ownership.ts";
import { readWalTail, type WalPosition } from "../wal/wal-tail.ts";
import type { ChangedFile } from "./pin.ts";
import { lockedError, requirePinnable, requireWal, resolvePath } from "./pinnable.ts";

const SETTLED_MS = 50;
const NO_FILE: StoredIdentity = { inode: "0", bornNs: "0" };

/** What moves when somebody writes the database or its WAL. */
interface Stamps {
  readonly database: FileStamp;
  readonly wal: FileStamp | null;
}

/** One database that is followed without locks. Synchronous throughout. */
export class LocklessPin {
  readonly isLockless = true;
  readonly state = "lockless";
  #mark: CommittedEnd | null = null;
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
   * @param evidence what is known of its files from before
   * @throws WalrustError "database" (missing, no database, hot journal, network mount), "not-wal", "locked",
   *   "foreign-wal" (retryable: its -wal is not its own)
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
      if (!lockExclusive(fd, HOST_LOCK_BYTE, 1)) throw lockedError(realPath);
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

  /** The files as they are now, so that they are known again later. */
  get identities(): { readonly database: StoredIdentity; readonly wal: StoredIdentity } {
    const wal = statSync(this.walPath, { bigint: true, throwIfNoEntry: false });
    const database = fileVersion(fstatSync(this.databaseFd, { bigint: true }));
    return { database, wal: wal === undefined ? NO_FILE : fileVersion(wal) };
  }

  /** The files as they are to be known later. */
  knownFiles(): KnownFiles {
    const { mxFrame, salt1, salt2 } = this.walIndex();
    return { ...this.identities, salts: mxFrame > 0 ? { salt1, salt2 } : null };
  }

  /** The end of the WAL at the last followWal, as a wal-index. */
  walIndex(): WalIndexHeader {
    return walIndexOfEnd(this.#mark, this.pageSizeBytes);
  }

  /** Follows the WAL to its present end. */
  followWal(): void {
    this.#mark = findWalEnd(this.walPath, this.#mark);
  }

  /** Which of the two was written since the last time that this was asked, the database first. */
  writtenFile(): "none" | "database" | "wal" {
    const now: Stamps = { database: fileStamp(this.databaseFd), wal: pathStampOrNull(this.walPath) };
    const before = this.#stamps;
    this.#stamps = now;
    if (before === null || !isSameStamp(before.database, now.database)) return "database";
    const isSameWal = before.wal !== null && now.wal !== null && isSameStamp(before.wal, now.wal);
    return isSameWal || before.wal === now.wal ? "none" : "wal";
  }

  /** Takes the files as they are, to read an image. False when the database file was written just now. */
  freeze(): boolean {
    this.followWal();
    this.acceptFile();
    const { mtimeMs } = fstatSync(this.databaseFd);
    return Math.abs(this.env.nowMs() - mtimeMs) >= SETTLED_MS;
  }

  /** Takes the database file as it is now. */
  acceptFile(): void {
    this.#accepted = fileStamp(this.databaseFd);
  }

  /** Whether what was taken by `freeze` is not there any more. */
  isRewritten(): boolean {
    if (this.#accepted !== null && !isSameStamp(this.#accepted, fileStamp(this.databaseFd))) return true;
    return !this.areFramesUnchanged(null, this.walIndex());
  }

  /** Whether the frames after a position are, up to the end that an index names, what they were. */
  areFramesUnchanged(after: WalPosition | null, index: WalIndexHeader): boolean {
    return index.mxFrame === 0 || readWalTail(this.walPath, { after }, index).kind === "tail";
  }

  /** Which file is another one than was opened. */
  changedFile(): ChangedFile {
    return isSameFile(fileIdentityOrNull(this.path), this.database) ? "none" : "database";
  }

  /** There is nothing to let go of. */
  release(): void {}

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    unlock(this.databaseFd, HOST_LOCK_BYTE, 1);
    closeDescriptor(this.database, this.databaseFd);
  }
}
