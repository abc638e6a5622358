/**
 * The pin: locks on two descriptors that keep every process from destroying WAL frames that are not captured
 * yet. A pin keeps no SQLite connection open. lock-bytes.ts lists the bytes, README.md gives the reasons.
 *
 * Invariants while the state is not "released":
 * 1. The SHARED range and the dead-man switch are held: the application's last connection to close neither
 *    checkpoints nor deletes the WAL, and the next connection to open keeps the wal-index.
 * 2. Frozen (byte 123): no page goes from the WAL into the database file. The WAL restarts at most once, and
 *    only if the database file held every frame of it when the freeze was taken.
 * 3. Marked (one of bytes 124 to 127): the WAL does not restart; checkpoints go as far as the mark.
 * 4. Freeze or mark is dropped only while the other is held, except by `dropFreezeAndMark` and `release`.
 * The host lock (one walrust for each database) lasts from `open` to `close`, in any state.
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
  identityOf,
  isSameFile,
  openDescriptor,
  readHeaderOf,
} from "../files/descriptors.ts";
import { type FileStamp, OverwriteDetector } from "../files/file-stamp.ts";
import { type StoredIdentity, storedIdentity } from "../files/file-version.ts";
import {
  DEAD_MAN_BYTE,
  FREEZE_BYTE,
  HOST_LOCK_BYTE,
  markByte,
  SHARED_LENGTH,
  SHARED_START,
  WRITER_BYTE,
} from "../files/lock-bytes.ts";
import { isLockedByOther, lockExclusive, lockShared, unlock } from "../files/ofd-lock.ts";
import { isOpenAt } from "../files/regular-file.ts";
import { isForeignCheckpointRunning, readWalIndexOrNull } from "../files/shm.ts";
import { assertStillJudged, NO_EVIDENCE, requireOwnWal, type WalEvidence } from "../wal/wal-gate.ts";
import type { KnownFiles } from "../wal/wal-ownership.ts";
import {
  busyError,
  replacedError,
  requireNoHotJournal,
  requirePinnable,
  requireWal,
  resolvePath,
  takeHostLock,
} from "./pinnable.ts";
import { isMark, markOf, readerSlotOrNull, recentSlotOrNull, slotsByPreference } from "./read-mark.ts";
import { yieldToCheckpoint } from "./yield-to-checkpoint.ts";

/** The locks that the pin holds: the freeze (with or without a mark), a mark alone, or neither. */
export type PinState = "frozen" | "marked" | "released";

/** The first file that is missing or replaced since it was pinned. */
export type ChangedFile = "none" | "database" | "wal" | "shm";

const OPEN_BUSY_TIMEOUT_MS = 1000;
const FREEZE_TRIES_MAX = 100;
const MARK_TRIES_MAX = 5;

/** The locks that protect the history of one live database. All methods are synchronous. */
export class Pin {
  /** Distinguishes a pin from a LocklessPin, which holds no lock of SQLite's. */
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
    /** Identities of the pinned files, to recognize the files later. */
    readonly identities: { readonly database: StoredIdentity; readonly wal: StoredIdentity },
  ) {}

  /**
   * Pins the database at `path`, frozen. SQLite first recovers it if necessary, and creates missing -wal and
   * -shm. The pin holds the SHARED range from before our connection opens until after it has closed. So the
   * close never writes the WAL into the file, even when opening fails.
   * @param evidence facts about the files from an earlier run or pin
   * @throws WalrustError "database" (missing, no database, hot journal, network mount), "not-wal", "locked"
   *   (by another walrust), "foreign-wal" (retryable: the -wal belongs to another file), "database-busy"
   *   (retryable: another process holds a lock that the pin needs)
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

  /** Judges the WAL, and then lets SQLite open it. The caller holds the SHARED range. */
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

  /** Opens the -shm. Our own connection is reading, so all files exist and belong together. */
  static #openFiles(path: string, databaseFd: number, database: FileIdentity): Pin {
    const shmFd = openDescriptor(`${path}-shm`);
    try {
      const stats = statSync(`${path}-wal`, { bigint: true, throwIfNoEntry: false });
      if (stats === undefined) throw replacedError(path);
      const header = readHeaderOf(databaseFd);
      requireWal(path, header);
      const shm = descriptorIdentity(shmFd);
      const wal = identityOf(stats);
      const identities = {
        database: storedIdentity(fstatSync(databaseFd, { bigint: true })),
        wal: storedIdentity(stats),
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

  /** The current header of the wal-index, or null while it is being written or is broken. */
  walIndex(): WalIndexHeader | null {
    return readWalIndexOrNull(this.shmFd);
  }

  /** Whether the database file holds all of the WAL: a checkpoint then needs the read marks only. */
  isBackfilled(): boolean {
    const index = this.walIndex();
    return index !== null && index.backfilled >= index.mxFrame;
  }

  /** The first of database, -shm and -wal that is missing or replaced at its path. */
  changedFile(): ChangedFile {
    if (!isSameFile(fileIdentityOrNull(this.path), this.database)) return "database";
    if (!isSameFile(fileIdentityOrNull(this.shmPath), this.shm)) return "shm";
    if (!isSameFile(fileIdentityOrNull(this.walPath), this.wal)) return "wal";
    return "none";
  }

  /** Takes the freeze in addition to a mark. False while a checkpoint is writing the database file. */
  freeze(): boolean {
    if (!this.#isAttached) return false;
    if (this.#isFrozen) return true;
    this.#isFrozen = lockShared(this.shmFd, FREEZE_BYTE, 1);
    // An overwritten file counts as overwritten until `acceptFile` is called.
    if (this.#isFrozen && !this.#overwrites.isOverwritten) this.acceptFile();
    return this.#isFrozen;
  }

  /** The database file at the last check; null before the first. */
  get stamp(): FileStamp | null {
    return this.#overwrites.stamp;
  }

  /** Accepts the database file as it is now. Call it before reading all of the file under the freeze. */
  acceptFile(): void {
    this.#overwrites.accept(this.databaseFd, this.walIndex());
  }

  /** Whether another program than SQLite wrote the database file since it was frozen or accepted. */
  isRewritten(): boolean {
    if (this.state === "released") return this.#overwrites.isOverwritten;
    return this.#overwrites.check(this.databaseFd, this.#isFrozen, () => this.walIndex());
  }

  /**
   * Drops the freeze if a mark is held; otherwise the frames would be unprotected, and the freeze stays.
   * @returns whether the pin is without a freeze
   */
  thaw(): boolean {
    if (this.#isFrozen && this.#markSlot !== null) {
      unlock(this.shmFd, FREEZE_BYTE, 1);
      this.#isFrozen = false;
    }
    return !this.#isFrozen;
  }

  /**
   * Opens a connection to the pinned files and reads once. SQLite opens -wal and -shm with that first read.
   * The identities of all three files are compared before the connection opens and after the read: a file
   * that is moved to one of the paths later is not a file of this connection.
   * @throws WalrustError "database-busy" when a file was replaced, or another program wrote the database file
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

  /** Whether -wal and -shm are the pinned files, even if the database file was moved. */
  isWalInPlace(): boolean {
    const isShm = isSameFile(fileIdentityOrNull(this.shmPath), this.shm);
    return isShm && isSameFile(fileIdentityOrNull(this.walPath), this.wal);
  }

  /**
   * Whether no other process has the database open. A process that lost its lock on the database file still
   * holds the dead-man switch of the -shm.
   */
  isAlone(): boolean {
    if (isLockedByOther(this.databaseFd, SHARED_START, SHARED_LENGTH, "exclusive")) return false;
    return !isLockedByOther(this.shmFd, DEAD_MAN_BYTE, 1, "exclusive");
  }

  /** Takes the lock of writers: nobody commits until `unlockWriter`. @returns whether the lock was free */
  tryLockWriter(): boolean {
    return this.#isAttached && lockExclusive(this.shmFd, WRITER_BYTE, 1);
  }

  unlockWriter(): void {
    unlock(this.shmFd, WRITER_BYTE, 1);
  }

  /**
   * Replaces the freeze by a mark near the newest commit: that of a reader before, or else a short connection
   * begins a read, and the pin locks the slot of that reader.
   * @returns false, with all locks as before, if the database file holds the whole WAL or no slot is free
   */
  mark(): boolean {
    if (this.#takeRecentMark()) return this.thaw();
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

  /** Takes the mark that a reader has left near the end of the WAL. */
  #takeRecentMark(): boolean {
    if (!this.#isAttached || this.#markSlot !== null) return false;
    const index = this.changedFile() !== "none" || this.isRewritten() ? null : this.walIndex();
    const slot = recentSlotOrNull(index);
    return index !== null && slot !== null && this.#takeSlot(slot, markOf(index, slot));
  }

  /** As `mark`, through a connection that is in no transaction; keeps the freeze. */
  takeMark(connection: Connection): boolean {
    if (!this.#isAttached) return false;
    for (let attempt = 0; attempt < MARK_TRIES_MAX; attempt++) {
      connection.beginRead();
      try {
        const index = this.walIndex();
        if (index === null) continue;
        if (index.backfilled >= index.mxFrame) return false;
        const isHeld = (slot: number) => isLockedByOther(this.shmFd, markByte(slot), 1, "exclusive");
        const slot = readerSlotOrNull(index, isHeld);
        if (slot !== null && this.#takeSlot(slot, markOf(index, slot))) return true;
      } finally {
        connection.rollback();
      }
    }
    return false;
  }

  /**
   * Locks any free slot, at any value, as the last resort: this alone keeps the WAL from restarting.
   */
  takeAnyMark(): boolean {
    if (!this.#isAttached) return false;
    if (this.#markSlot !== null) return true;
    const slots = slotsByPreference(this.walIndex());
    this.#markSlot = slots.find((slot) => lockShared(this.shmFd, markByte(slot), 1)) ?? null;
    return this.#markSlot !== null;
  }

  /**
   * Drops the mark if the freeze is held. Capture between `freeze` and `unmark`: the next writer may restart
   * a WAL that the database file holds completely.
   * @returns whether the pin is without a mark
   */
  unmark(): boolean {
    if (this.#markSlot !== null && this.#isFrozen) this.#dropSlot();
    return this.#markSlot === null;
  }

  /**
   * Drops freeze and mark, and keeps the SHARED range and the dead-man switch. Call it only while no
   * uncaptured frame can be destroyed: under a write lock, with everything captured.
   */
  dropFreezeAndMark(): void {
    if (this.#isFrozen) unlock(this.shmFd, FREEZE_BYTE, 1);
    this.#isFrozen = false;
    this.#dropSlot();
  }

  /** Takes the freeze, or any mark if the freeze is taken. @returns whether the pin holds one of the two */
  takeFreezeOrMark(): boolean {
    return this.freeze() || this.takeAnyMark();
  }

  /** Drops all locks but the host lock: the application may do anything with the database. */
  release(): void {
    this.dropFreezeAndMark();
    if (!this.#isAttached) return;
    this.#isAttached = false;
    unlock(this.shmFd, DEAD_MAN_BYTE, 1);
    unlock(this.databaseFd, SHARED_START, SHARED_LENGTH);
  }

  /**
   * Takes all locks again after `release`, or freeze or mark after a yield that failed.
   * @returns false when the files were replaced (close this pin and open a new one), or another process holds
   * a lock (try again)
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

  /** Judges the WAL, and then lets SQLite recover it. The caller holds the SHARED range. */
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

  /** Identities and salts of the pinned files, as evidence for a later pin. */
  knownFiles(): KnownFiles {
    const index = this.walIndex();
    const isNamed = index !== null && index.mxFrame > 0;
    return { ...this.identities, salts: isNamed ? { salt1: index.salt1, salt2: index.salt2 } : null };
  }

  /**
   * Whether another process runs a FULL, RESTART or TRUNCATE checkpoint that waits for our locks. For other
   * processes that look alike see `isForeignCheckpointRunning`.
   */
  foreignCheckpointWaits(): boolean {
    if (this.state === "released" || !isForeignCheckpointRunning(this.shmFd)) return false;
    return this.#markSlot !== null || !this.isBackfilled();
  }

  /** Yields to a foreign checkpoint if one waits (yield-to-checkpoint.ts). @returns whether the pin holds */
  yieldToCheckpoint(capture: () => void, env: Env, timeoutMs?: number): boolean {
    return yieldToCheckpoint(this, capture, env, timeoutMs);
  }

  /** Ends the pin and the host lock. The descriptors close when no connection of ours is open. */
  close(): void {
    if (!this.#isOpen) return;
    this.release();
    this.#isOpen = false;
    unlock(this.databaseFd, HOST_LOCK_BYTE, 1);
    closeDescriptor(this.database, this.shmFd);
    closeDescriptor(this.database, this.databaseFd);
  }

  /**
   * Takes the dead-man switch and the freeze, and checks the files again. Our connection is reading, and the
   * caller holds the SHARED range. When it throws, it holds neither lock.
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

  /** Locks a slot and keeps the lock if the slot still has this mark; then unlocks the slot held before. */
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
}
