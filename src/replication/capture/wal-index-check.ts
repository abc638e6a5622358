/**
 * Checks that the users of a database write the wal-index that the pin reads: no process uses the database
 * with another wal-index, and the wal-index shows all commits in the WAL. The first costs some queries of
 * locks every few seconds, the second one stat of the WAL.
 */
import { fileAliasesOf, mountsAt } from "../../database/files/file-aliases.ts";
import { type FileStamp, isSameStamp, pathStampOrNull } from "../../database/files/file-stamp.ts";
import {
  type ConfirmationWaits,
  PATIENT,
  settledConnectionsOf,
} from "../../database/files/other-connections.ts";
import type { Pin } from "../../database/pin/pin.ts";
import { aliasConditionOrNull, PIN_CONDITIONS } from "../../database/pin/pin-mode.ts";
import { isCheckDue, judgeCheck, NO_SUSPICION, suspect } from "../../database/wal/unseen-commits.ts";
import { type CommittedEnd, findWalEnd, walEndOfIndexOrNull } from "../../database/wal/wal-end.ts";
import type { Env } from "../../env.ts";
import type { Condition, ConditionSink } from "../../errors.ts";
import type { WalIndexHeader } from "../../format/wal-index.ts";

const USERS_INTERVAL_MS = 3_000;
const NAMES_INTERVAL_MS = 10_000;
/** The most restarts of an empty WAL before a frame is written into it. */
const RESTARTS_MAX = 64;

/** The check of one database. */
export class WalIndexCheck {
  /** The last stamp of the WAL in two fields, because hundreds of databases have one; null: there is none. */
  #sizeBytes: number | null = null;
  #modifiedMs = 0;
  #suspicion = NO_SUSPICION;
  #nextUsersMs = 0;
  #nextNamesMs = 0;
  /** The commits past the wal-index at the last question for a checkpoint. */
  #beyond: Beyond | null = null;

  constructor(
    readonly env: Env,
    readonly conditions: ConditionSink,
  ) {}

  /** Begins anew, with a new pin. */
  begin(): void {
    this.#sizeBytes = null;
    this.#suspicion = NO_SUSPICION;
    this.#nextUsersMs = 0;
    this.#beyond = null;
  }

  /** A capture explains all changes of the WAL up to this stamp. */
  captured(stamp: FileStamp): void {
    this.#sizeBytes = stamp.sizeBytes;
    this.#modifiedMs = stamp.modifiedMs;
    this.#suspicion = NO_SUSPICION;
  }

  /** Whether the WAL has changed without an explanation. */
  get isSuspicious(): boolean {
    return this.#suspicion.sinceMs !== null;
  }

  /** Has the next `poll` check the users, whenever it comes. */
  checkUsersNext(): void {
    this.#nextUsersMs = 0;
  }

  /** Checks the users of the database. @returns why the pin cannot be trusted any more, or null */
  poll(pin: Pin, nowMs: number): string | null {
    if (nowMs >= this.#nextUsersMs) {
      this.#nextUsersMs = nowMs + USERS_INTERVAL_MS;
      if (this.isUsedElsewhere(pin, PATIENT)) return "the database is used past its -shm";
    }
    if (nowMs >= this.#nextNamesMs) {
      this.#nextNamesMs = nowMs + NAMES_INTERVAL_MS;
      setPinCondition(
        aliasConditionOrNull(pin.path, fileAliasesOf(pin.databaseFd, pin.path, mountsAt(nowMs))),
        this.conditions,
      );
    }
    return null;
  }

  /**
   * Whether a checkpoint is safe: no process uses another wal-index, and this one names the last commit of
   * the WAL. When each commit waits for the disk, a writer has almost always written frames that the
   * wal-index does not show yet. So they do not count once the wal-index shows those of the last check.
   */
  mayCheckpoint(pin: Pin): boolean {
    if (this.isUsedElsewhere(pin)) return false;
    const before = this.#beyond;
    const index = pin.walIndex();
    if (index === null) return false;
    this.#beyond = beyondOrNull(pin.walPath, index);
    return this.#beyond === null || (before !== null && hasComeToShow(before, index));
  }

  /** Whether a process uses the database without the wal-index of this pin, so that no checkpoint is safe. */
  isUsedElsewhere(pin: Pin, patience?: ConfirmationWaits): boolean {
    return settledConnectionsOf(pin.databaseFd, pin.shmFd, this.env, patience).isWalIndexForeign;
  }

  /**
   * Whether the WAL holds commits that the wal-index does not show. Call it at each change of the WAL, and
   * once a second while `isSuspicious`.
   * @param capturedMs the time of the last capture
   */
  hasUnseenCommits(pin: Pin, nowMs: number, capturedMs: number): boolean {
    const stamp = pathStampOrNull(pin.walPath);
    const before = this.#sizeBytes;
    // At the first check the WAL may have changed since the wal-index was read.
    const isSame =
      stamp !== null &&
      before !== null &&
      isSameStamp(stamp, { sizeBytes: before, modifiedMs: this.#modifiedMs });
    const hasMoved = stamp !== null && !isSame;
    this.#sizeBytes = stamp?.sizeBytes ?? null;
    this.#modifiedMs = stamp?.modifiedMs ?? 0;
    this.#suspicion = suspect(this.#suspicion, { nowMs, hasMoved, capturedMs });
    if (!isCheckDue(this.#suspicion, nowMs)) return false;
    const verdict = judgeCheck(this.#suspicion, hasCommitsBeyond(pin), nowMs);
    this.#suspicion = verdict === "unseen" ? NO_SUSPICION : verdict;
    return verdict === "unseen";
  }
}

/** Why a pin is released whose WAL holds commits that its wal-index does not show. */
export const UNSEEN = "the WAL gets commits that its wal-index does not show";

/**
 * Whether the last valid commit of the WAL differs from the wal-index's, or the whole WAL does, so that no
 * checkpoint is safe. False when a process commits at this moment.
 */
export function hasCommitsBeyond(pin: Pin): boolean {
  const index = pin.walIndex();
  return index !== null && beyondOrNull(pin.walPath, index) !== null && isSameIndex(index, pin.walIndex());
}

/** Commits past a wal-index. */
interface Beyond {
  readonly index: WalIndexHeader;
  /** The last frame of the last commit; null when the WAL is another than the wal-index's. */
  readonly frameCount: number | null;
}

/** The commits past a wal-index, or null when it names the last valid commit of the WAL. */
function beyondOrNull(walPath: string, index: WalIndexHeader): Beyond | null {
  const mark = walEndOfIndexOrNull(walPath, index);
  if (mark === null) {
    const isEmpty = index.mxFrame === 0 && isLeftover(findWalEnd(walPath, null), index);
    return isEmpty ? null : { index, frameCount: null };
  }
  const end = findWalEnd(walPath, mark);
  const { frameCount, checksum1 } = end?.cursor ?? { frameCount: 0, checksum1: 0 };
  const isEnd = frameCount === index.mxFrame && (frameCount === 0 || checksum1 === index.frameChecksum1);
  return isEnd ? null : { index, frameCount };
}

/** Whether a wal-index now shows commits that were past it, so that their writer uses it. */
function hasComeToShow({ index: before, frameCount }: Beyond, index: WalIndexHeader | null): boolean {
  const isSameWal = index !== null && index.salt1 === before.salt1 && index.salt2 === before.salt2;
  if (!isSameWal || frameCount === null || frameCount <= before.mxFrame) return false;
  return index.mxFrame >= frameCount && index.changeCount !== before.changeCount;
}

/**
 * Whether frames of an empty WAL precede its restarts: each restart adds one to the first salt.
 */
function isLeftover(end: CommittedEnd | null, { salt1 }: WalIndexHeader): boolean {
  if (end === null || end.cursor.frameCount === 0) return true;
  const restarts = (salt1 - end.header.salt1) >>> 0;
  return restarts >= 1 && restarts <= RESTARTS_MAX;
}

function isSameIndex(a: WalIndexHeader, b: WalIndexHeader | null): boolean {
  return b !== null && a.mxFrame === b.mxFrame && a.salt1 === b.salt1 && a.changeCount === b.changeCount;
}

/** Raises the condition of a pin, and clears the conditions that the pin does not have. */
export function setPinCondition(condition: Condition | null, sink: ConditionSink): void {
  for (const code of PIN_CONDITIONS) if (condition?.code !== code) sink.clear(code);
  if (condition !== null) sink.raise(condition);
}
