/**
 * The pin: locks on two descriptors that keep everybody from destroying WAL frames which are not captured
 * yet. No SQLite connection stays open for it. The bytes are in lock-bytes.ts, the reasoning in README.md.
 *
 * Invariants while the state is not "released":
 * 1. The SHARED range and the dead-man switch are held: the last connection of the application to close
 *    neither checkpoints nor deletes the WAL, and the next to open does not throw the wal-index away.
 * 2. Frozen (byte 123): no page goes from the WAL into the database file; the WAL restarts at most once, and
 *    only when every frame of it was in the database file already when the freeze was taken.
 * 3. Marked (one of bytes 124 to 127): the WAL does not restart; checkpoints go as far as the mark.
 * 4. One of the two is given up only once the other is held, except by `dropFreezeAndMark` and `release`,
 *    which say so.
 * The host lock (one walrust a database) lasts from `open` to `close`, released or not.
 *
 * A pin must never be used in a process that has SQLite connections of its own (see descriptors.ts).
 */
import { fstatSync, statSync } from "node:fs";
import type { Env } from "../../env.ts";
import { hasCode } from "../../errors.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";
import { type Connection, openConnection } from "../connection/connection.ts";
import {
  closeDescriptor,
  descriptorIdentity,
  type FileIdentity,
  fileIdentityOrNull,
  isSameFile,
  openDescriptor,
  readHeaderOf,
} from "../files/descriptors.ts";
import { OverwriteDetector } from "../files/file-stamp.ts";
import { fileVersion, type StoredIdentity } from "../files/file-version.ts";
import {
  DEAD_MAN_BYTE,
  FREEZE_BYTE,
  HOST_LOCK_BYTE,
  markByte,
  SHARED_LENGTH,
  SHARED_START,
} from "../files/lock-bytes.ts";
import { isLockedByOther, lockExclusive, lockShared, unlock } from "../files/ofd-lock.ts";
import { isOpenAt } from "../files/regular-file.ts";
import { isForeignCheckpointRunning, readWalIndexOrNull } from "../files/shm.ts";
import { assertStillJudged, NO_EVIDENCE, requireOwnWal, type WalEvidence } from "../wal/wal-gate.ts";
import type { KnownFiles } from "../wal/wal-ownership.ts";
import {
  busyError,
  lockedError,
  replacedError,
  requireNoHotJournal,
  requirePinnable,
  requireWal,
  resolvePath,
} from "./pinnable.ts";
import { isMark, markOf, readerSlotOrNull, slotsByPreference } from "./read-mark.ts";
import { yieldToCheckpoint } from "./yield-to-checkpoint.ts";

/** What the pin holds: the freeze (perhaps a mark as well), a mark alone, or neither. */
export type PinState = "frozen" | "marked" | "released";

/** Which file is no longer the one that was pinned. */
export type ChangedFile = "none" | "database" | "wal" | "shm";

const OPEN_BUSY_TIMEOUT_MS = 1000;
const FREEZE_TRIES_MAX = 100;
const MARK_TRIES_MAX = 5;

/** The lock that keeps one live database's history from being destroyed. Synchronous throughout. */
export class Pin {
  /** Its locks hold, other than those of a LocklessPin. */
  readonly isLockless = false;
  #isAttached = false;
  #isFrozen = false;
  #markSlot: number | null = null;
  #isOpen = true;
  readonly #overwrites = new OverwriteDetector();

  private constructor(
    /** The real path of the database. */
    readonly path: string,
    readonly databaseFd: number,
    readonly shmFd: number,
    readonly pageSizeBytes: number,
    private readonly database: FileIdentity,
    private readonly shm: FileIdentity,
    readonly wal: FileIdentity,
    /** The pinned files, so that they are known again later. */
    readonly identities: { readonly database: StoredIdentity; readonly wal: StoredIdentity },
  ) {}

  /**
   * Pins the database at `path`, frozen. SQLite recovers it first where that is needed, and creates what is
   * missing of -wal and -shm. The SHARED range is held from before our connection opens until after it has
   * closed, so that its close never writes the WAL into the file, however this ends.
   * @param evidence what is known of its files from before
   * @throws WalrustError "database" (missing, no database, hot journal, network mount), "not-wal", "locked"
   * (another
   *   walrust has it), "foreign-wal" (retryable: its -wal is not its own), "database-busy" (retryable:
   *   somebody holds a lock that we need)
   */
  static open(path: string, env: Env, evidence: WalEvidence = NO_EVIDENCE): Pin {
    const realPath = resolvePath(path);
    requirePinnable(realPath);
    const databaseFd = openDescriptor(realPath);
    const database = descriptorIdentity(databaseFd);
    let hasHostLock = false;
    let isHeld = false;
    try {
      hasHostLock = takeHostLock(realPath, databaseFd);
      requireWal(realPath, readHeaderOf(databaseFd));
      isHeld = lockShared(databaseFd, SHARED_START, SHARED_LENGTH);
      if (!isHeld) throw busyError(realPath, "the database file");
      return Pin.#openHeld(realPath, databaseFd, database, env, evidence);
    } catch (error) {
      if (isHeld) unlock(databaseFd, SHARED_START, SHARED_LENGTH);
      if (hasHostLock) unlock(databaseFd, HOST_LOCK_BYTE, 1);
      closeDescriptor(database, databaseFd);
      throw error;
    }
  }

  /** With the SHARED range held: judges the WAL, and lets SQLite open it. */
  static #openHeld(
    path: string,
    databaseFd: number,
    database: FileIdentity,
    env: Env,
    evidence: WalEvidence,
  ): Pin {
    const judged = requireOwnWal(path, databaseFd, evidence);
    const unlockShared = (): void => unlock(databaseFd, SHARED_START, SHARED_LENGTH);
    const options = { busyTimeoutMs: OPEN_BUSY_TIMEOUT_MS, expected: database, unlock: unlockShared };
    const connection = openConnection(path, options);
    try {
      connection.beginRead();
      assertStillJudged(judged);
      connection.requireBoundedSchema();
      const pin = Pin.#openFiles(path, databaseFd, database);
      try {
        pin.#takeAll(env);
      } catch (error) {
        closeDescriptor(database, pin.shmFd);
        throw error;
      }
      return pin;
    } finally {
      connection.close();
    }
  }

  /** Opens the -shm; our own connection is reading, so all files exist and belong together. */
  static #openFiles(path: string, databaseFd: number, database: FileIdentity): Pin {
    const shmFd = openDescriptor(`${path}-shm`);
    try {
      const stats = statSync(`${path}-wal`, { bigint: true, throwIfNoEntry: false });
      if (stats === undefined) throw replacedError(path);
      const header = readHeaderOf(databaseFd);
      requireWal(path, header);
      const shm = descriptorIdentity(shmFd);
      const wal = { device: stats.dev, inode: stats.ino };
      const identities = {
        database: fileVersion(fstatSync(databaseFd, { bigint: true })),
        wal: fileVersion(stats),
      };
      const pin = new Pin(path, databaseFd, shmFd, header.pageSizeBytes, database, shm, wal, identities);
      if (!isOpenAt(databaseFd, path)) throw replacedError(path);
      if (pin.changedFile() !== "none") throw replacedError(path);
      return pin;
    } catch (error) {
      closeDescriptor(database, shmFd);
      throw error;
    }
  }

  get walPath(): string {
    return `${this.path}-wal`;
  }

  get shmPath(): string {
    return `${this.path}-shm`;
  }

  get state(): PinState {
    if (this.#isFrozen) return "frozen";
    return this.#markSlot === null ? "released" : "marked";
  }

  /** Whether byte 123 is held. */
  get isFrozen(): boolean {
    return this.#isFrozen;
  }

  /** The slot (1 to 4) of the mark that is held, with or without the freeze; null when there is none. */
  get markSlot(): number | null {
    return this.#markSlot;
  }

  /**
   * The wal-index header as it is now, or null when it is in no state to be read (being written, or broken).
   */
  walIndex(): WalIndexHeader | null {
    return readWalIndexOrNull(this.shmFd);
  }

  /** Whether all of the WAL is in the database file: a checkpoint then needs no more than the read marks. */
  isBackfilled(): boolean {
    const index = this.walIndex();
    return index !== null && index.backfilled >= index.mxFrame;
  }

  /** Which file at the pinned paths is missing or another one than was pinned, the database first. */
  changedFile(): ChangedFile {
    if (!isSameFile(fileIdentityOrNull(this.path), this.database)) return "database";
    if (!isSameFile(fileIdentityOrNull(this.shmPath), this.shm)) return "shm";
    if (!isSameFile(fileIdentityOrNull(this.walPath), this.wal)) return "wal";
    return "none";
  }

  /**
   * Takes the freeze beside whatever is held; false when a checkpoint is writing the database file just now.
   */
  freeze(): boolean {
    if (!this.#isAttached) return false;
    if (this.#isFrozen) return true;
    this.#isFrozen = lockShared(this.shmFd, FREEZE_BYTE, 1);
    // A file that was written over stays so until somebody accepts it as it is.
    if (this.#isFrozen && !this.#overwrites.isOverwritten) this.acceptFile();
    return this.#isFrozen;
  }

  /** Takes the database file as it is now: for who is about to read all of it under the freeze. */
  acceptFile(): void {
    this.#overwrites.accept(this.databaseFd, this.walIndex());
  }

  /** Whether something that is not SQLite wrote the database file since it was frozen or accepted. */
  isRewritten(): boolean {
    if (this.state === "released") return this.#overwrites.isOverwritten;
    return this.#overwrites.check(this.databaseFd, this.#isFrozen, () => this.walIndex());
  }

  /**
   * Drops the freeze; without a mark it stays, for the frames would be unprotected. @returns whether it is
   * gone
   */
  thaw(): boolean {
    if (this.#isFrozen && this.#markSlot !== null) {
      unlock(this.shmFd, FREEZE_BYTE, 1);
      this.#isFrozen = false;
    }
    return !this.#isFrozen;
  }

  /**
   * Opens a connection to the pinned files, which has read once. The identity of all three is compared before
   * the connection opens and after its first read, when SQLite has opened -wal and -shm: whatever is moved to
   * their paths later is not what this connection works on.
   * @throws WalrustError "database-busy" when they were replaced, or something else wrote the database file
   */
  connect(): Connection {
    if (!this.#isAttached || this.changedFile() !== "none" || this.isRewritten())
      throw replacedError(this.path);
    const connection = openConnection(this.path, { busyTimeoutMs: 0, expected: this.database });
    try {
      connection.beginRead();
      connection.rollback();
      if (this.changedFile() !== "none" || this.isRewritten()) throw replacedError(this.path);
      return connection;
    } catch (error) {
      connection.close();
      throw error;
    }
  }

  /** Whether -wal and -shm are the pinned ones, wherever the database file is. */
  isWalInPlace(): boolean {
    const isShm = isSameFile(fileIdentityOrNull(this.shmPath), this.shm);
    return isShm && isSameFile(fileIdentityOrNull(this.walPath), this.wal);
  }

  /** Whether the last write to the -wal at its path came after the last one to the database file. */
  isWalNewer(): boolean {
    const wal = statSync(this.walPath, { bigint: true, throwIfNoEntry: false });
    return wal !== undefined && wal.mtimeNs > fstatSync(this.databaseFd, { bigint: true }).mtimeNs;
  }

  /** Whether the -wal file at its path has no content. */
  isWalEmpty(): boolean {
    return statSync(this.walPath, { throwIfNoEntry: false })?.size === 0;
  }

  /** Whether nobody else has the database file open. One that lost its lock on that still has the -shm. */
  isAlone(): boolean {
    if (isLockedByOther(this.databaseFd, SHARED_START, SHARED_LENGTH, "exclusive")) return false;
    return !isLockedByOther(this.shmFd, DEAD_MAN_BYTE, 1, "exclusive");
  }

  /**
   * Converts to a mark at the newest commit, or moves the mark there. A short connection begins a read, and
   * its slot is taken over. False, with everything still held as before, when there is no mark to be had: the
   * whole WAL is in the database file already, or all slots are busy.
   */
  mark(): boolean {
    try {
      const connection = this.connect();
      try {
        return this.takeMark(connection) && this.thaw();
      } finally {
        connection.close();
      }
    } catch (error) {
      if (hasCode(error, "database-busy")) return false;
      throw error;
    }
  }

  /** As `mark`, over a connection that is not in a transaction, and keeping the freeze if it is held. */
  takeMark(connection: Connection): boolean {
    if (!this.#isAttached) return false;
    for (let attempt = 0; attempt < MARK_TRIES_MAX; attempt++) {
      connection.beginRead();
      try {
        const index = this.walIndex();
        if (index === null) continue;
        if (index.backfilled >= index.mxFrame) return false;
        const slot = readerSlotOrNull(index, (candidate) => this.#isHeldByOther(candidate));
        if (slot !== null && this.#takeSlot(slot, markOf(index, slot))) return true;
      } finally {
        connection.rollback();
      }
    }
    return false;
  }

  /**
   * Takes any slot at all, at whatever mark it has: the WAL cannot restart then. For when nothing else is to
   * be had.
   */
  takeAnyMark(): boolean {
    if (!this.#isAttached) return false;
    if (this.#markSlot !== null) return true;
    const slots = slotsByPreference(this.walIndex());
    this.#markSlot = slots.find((slot) => lockShared(this.shmFd, markByte(slot), 1)) ?? null;
    return this.#markSlot !== null;
  }

  /**
   * Drops the mark; without the freeze it stays. Capture between taking the freeze and this: what is in the
   * database file already may be restarted over by the next writer. @returns whether it is gone
   */
  unmark(): boolean {
    if (this.#markSlot !== null && this.#isFrozen) this.#dropSlot();
    return this.#markSlot === null;
  }

  /**
   * Drops freeze and mark but keeps the SHARED range and the dead-man switch. Only while nothing uncaptured
   * can be destroyed: under a write lock with everything captured.
   */
  dropFreezeAndMark(): void {
    if (this.#isFrozen) unlock(this.shmFd, FREEZE_BYTE, 1);
    this.#isFrozen = false;
    this.#dropSlot();
  }

  /** Takes the freeze again, or failing that any mark. @returns whether either is held */
  takeFreezeOrMark(): boolean {
    return this.freeze() || this.takeAnyMark();
  }

  /** Lets go of everything but the descriptors and the host lock: the application may do what it likes. */
  release(): void {
    this.dropFreezeAndMark();
    if (!this.#isAttached) return;
    this.#isAttached = false;
    unlock(this.shmFd, DEAD_MAN_BYTE, 1);
    unlock(this.databaseFd, SHARED_START, SHARED_LENGTH);
  }

  /**
   * Takes everything again after `release`, or freeze or mark after a yield that failed. False when it cannot
   * be had: the files are others now (close this pin and open a new one), or somebody is in the way (try
   * again).
   * @throws WalrustError "not-wal" or "database" when the database may not be pinned any more
   */
  repin(env: Env): boolean {
    if (this.changedFile() !== "none") return false;
    if (this.#isAttached) return this.takeFreezeOrMark();
    requireWal(this.path, readHeaderOf(this.databaseFd));
    if (!lockShared(this.databaseFd, SHARED_START, SHARED_LENGTH)) return false;
    try {
      this.#repinHeld(env);
      return true;
    } catch (error) {
      unlock(this.databaseFd, SHARED_START, SHARED_LENGTH);
      if (hasCode(error, "database-busy")) return false;
      throw error;
    }
  }

  /** With the SHARED range held: lets SQLite recover the WAL, if it is still this file's own. */
  #repinHeld(env: Env): void {
    const judged = requireOwnWal(this.path, this.databaseFd, { known: this.knownFiles(), compared: null });
    const unlockShared = (): void => unlock(this.databaseFd, SHARED_START, SHARED_LENGTH);
    const options = { busyTimeoutMs: 0, expected: this.database, unlock: unlockShared };
    const connection = openConnection(this.path, options);
    try {
      connection.beginRead();
      assertStillJudged(judged);
      connection.requireBoundedSchema();
      if (this.changedFile() !== "none") throw replacedError(this.path);
      this.#takeAll(env);
    } finally {
      connection.close();
    }
  }

  /** The pinned files as they are to be known later. */
  knownFiles(): KnownFiles {
    const index = this.walIndex();
    const isNamed = index !== null && index.mxFrame > 0;
    return { ...this.identities, salts: isNamed ? { salt1: index.salt1, salt2: index.salt2 } : null };
  }

  /**
   * Whether a FULL, RESTART or TRUNCATE checkpoint of somebody else runs and needs what we hold (see shm.ts
   * for what else can look like one).
   */
  foreignCheckpointWaits(): boolean {
    if (this.state === "released" || !isForeignCheckpointRunning(this.shmFd)) return false;
    return this.#markSlot !== null || !this.isBackfilled();
  }

  /**
   * Lets a foreign blocking checkpoint through, if one waits: see yield-to-checkpoint.ts. @returns whether
   * the pin holds
   */
  yieldToCheckpoint(capture: () => void, env: Env, timeoutMs?: number): boolean {
    return yieldToCheckpoint(this, capture, env, timeoutMs);
  }

  /**
   * Ends the pin and the host lock. The descriptors are closed once no connection of ours is open beside
   * them.
   */
  close(): void {
    if (!this.#isOpen) return;
    this.release();
    this.#isOpen = false;
    unlock(this.databaseFd, HOST_LOCK_BYTE, 1);
    closeDescriptor(this.database, this.shmFd);
    closeDescriptor(this.database, this.databaseFd);
  }

  /**
   * Takes the dead-man switch and the freeze while our connection reads and the SHARED range is held, and
   * checks again. When it throws, neither is held.
   */
  #takeAll(env: Env): void {
    this.#isAttached = lockShared(this.shmFd, DEAD_MAN_BYTE, 1);
    try {
      if (!this.#isAttached) throw busyError(this.path, "its -shm file");
      for (let attempt = 0; attempt < FREEZE_TRIES_MAX && !this.freeze(); attempt++) env.sleepSync(1);
      if (!this.#isFrozen) throw busyError(this.path, "the WAL (a checkpoint is running)");
      requireNoHotJournal(this.path);
      requireWal(this.path, readHeaderOf(this.databaseFd));
      if (this.changedFile() !== "none") throw replacedError(this.path);
    } catch (error) {
      this.dropFreezeAndMark();
      this.#isAttached = false;
      unlock(this.shmFd, DEAD_MAN_BYTE, 1);
      throw error;
    }
  }

  /** Locks a slot and keeps it if it still has this mark; the slot held before is dropped then. */
  #takeSlot(slot: number, mark: number): boolean {
    if (slot !== this.#markSlot && !lockShared(this.shmFd, markByte(slot), 1)) return false;
    const index = this.walIndex();
    if (index === null || markOf(index, slot) !== mark || !isMark(mark, index.mxFrame)) {
      if (slot !== this.#markSlot) unlock(this.shmFd, markByte(slot), 1);
      return false;
    }
    if (slot !== this.#markSlot) this.#dropSlot();
    this.#markSlot = slot;
    return true;
  }

  #dropSlot(): void {
    if (this.#markSlot !== null) unlock(this.shmFd, markByte(this.#markSlot), 1);
    this.#markSlot = null;
  }

  #isHeldByOther(slot: number): boolean {
    return isLockedByOther(this.shmFd, markByte(slot), 1, "exclusive");
  }
}

/** One walrust a database. @throws WalrustError "locked" @returns true */
function takeHostLock(path: string, databaseFd: number): true {
  if (lockExclusive(databaseFd, HOST_LOCK_BYTE, 1)) return true;
  throw lockedError(path);
}
