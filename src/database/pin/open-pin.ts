/**
 * Opens a database in the mode that its other connections allow: with a pin, or without locks. It inspects
 * the other connections before our first connection opens, because our connection creates a -shm and recovers
 * the WAL while others may use the WAL.
 */
import { existsSync } from "node:fs";
import type { Env } from "../../env.ts";
import type { Condition } from "../../errors.ts";
import { requireCompanions } from "../connection/companion-files.ts";
import {
  closeDescriptor,
  descriptorIdentity,
  type FileIdentity,
  openDescriptor,
} from "../files/descriptors.ts";
import { fileAliasesOf } from "../files/file-aliases.ts";
import {
  type ConfirmationWaits,
  findOtherConnections,
  isWalOfStrangers,
  type OtherConnections,
  openShmOrNull,
  PATIENT,
} from "../files/other-connections.ts";
import { readWalIndexOrNull } from "../files/shm.ts";
import { walEndOfIndexOrNull } from "../wal/wal-end.ts";
import { NO_EVIDENCE, requireOwnWalAt, requireWalOfFileAt, type WalEvidence } from "../wal/wal-gate.ts";
import { LocklessPin } from "./lockless-pin.ts";
import { Pin } from "./pin.ts";
import { decidePinMode, type PinMode } from "./pin-mode.ts";
import { requirePinnable, resolvePath } from "./pinnable.ts";

/** An open database, with or without locks. */
export type AnyPin = Pin | LocklessPin;

/** An open database, and the condition to report to the operator, if any. */
export interface OpenedPin {
  readonly pin: AnyPin;
  readonly condition: Condition | null;
}

const CONFIRMATIONS = 3;
const CONFIRM_MS = 2;

/**
 * Opens the database at `path`.
 * @param evidence facts about its files from an earlier run or pin
 * @param hasUnseenCommits whether the WAL got commits during a pin that the wal-index did not show
 * @throws WalrustError as `Pin.open`
 */
export function openPin(
  path: string,
  env: Env,
  evidence: WalEvidence = NO_EVIDENCE,
  hasUnseenCommits = false,
): OpenedPin {
  const realPath = resolvePath(path);
  requirePinnable(realPath);
  const { kind, condition } = pinModeOf(realPath, env, hasUnseenCommits, PATIENT);
  const pin = kind === "pin" ? Pin.open(realPath, env, evidence) : LocklessPin.open(realPath, env, evidence);
  return { pin, condition };
}

/**
 * Judges the database at a real path as `openPin` does. Opens no connection, takes no lock and changes no
 * file.
 * @returns the condition under which it could be opened, or null
 * @throws WalrustError "database", "not-wal" or "foreign-wal", as `openPin`
 */
export function examinePin(path: string, env: Env, evidence: WalEvidence): Condition | null {
  requirePinnable(path);
  const { kind, condition } = pinModeOf(path, env, false, PATIENT);
  if (kind === "pin") {
    requireOwnWalAt(path, evidence);
    requireCompanions(path);
  } else requireWalOfFileAt(path, evidence);
  return condition;
}

/** The mode in which the database at a real path can be opened now. @throws WalrustError "database" */
export function pinModeOf(
  path: string,
  env: Env,
  hasUnseenCommits = false,
  patience?: ConfirmationWaits,
): PinMode {
  const users = findOtherConnections(path, env, patience);
  const fd = openDescriptor(path);
  const database = descriptorIdentity(fd);
  try {
    return decidePinMode({
      path,
      ...users,
      ...fileAliasesOf(fd, path),
      hasOtherEngine: existsSync(`${path}-tshm`),
      isWalGone: isWalGone(path, users, env),
      isForeignWalRead: users.isWalIndexForeign && isWalOfStrangers(path),
      hasUnseenCommits,
    });
  } finally {
    closeDescriptor(database, fd);
  }
}

/**
 * Whether the -wal that the shared wal-index belongs to is gone. Each reading opens the -shm again: the last
 * close of an application deletes both files, and its next connection makes new ones.
 */
function isWalGone(path: string, { isWalIndexShared }: OtherConnections, env: Env): boolean {
  if (!isWalIndexShared) return false;
  const databaseFd = openDescriptor(path);
  const database = descriptorIdentity(databaseFd);
  try {
    for (let time = 0; time < CONFIRMATIONS; time++) {
      if (time > 0) env.sleepSync(CONFIRM_MS);
      if (!hasFramesWithoutWal(path, database)) return false;
    }
    return true;
  } finally {
    closeDescriptor(database, databaseFd);
  }
}

/** Whether the wal-index at the path lists frames that no -wal at the path holds. */
function hasFramesWithoutWal(path: string, database: FileIdentity): boolean {
  const shmFd = openShmOrNull(path);
  if (shmFd === null) return false;
  try {
    const index = readWalIndexOrNull(shmFd);
    // A restart writes the new header of the WAL before the wal-index lists a frame of it.
    if (index === null || index.mxFrame === 0) return false;
    return walEndOfIndexOrNull(`${path}-wal`, index) === null;
  } finally {
    closeDescriptor(database, shmFd);
  }
}
