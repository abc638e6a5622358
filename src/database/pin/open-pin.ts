/**
 * Opens a database the way its other users allow: with a pin, or loosely. Looks before any connection of ours
 * is open, because opening one makes a -shm and recovers the WAL, in the middle of what others do with it.
 */
import { existsSync } from "node:fs";
import type { Env } from "../../env.ts";
import type { Condition } from "../../errors.ts";
import { closeDescriptor, descriptorIdentity, openDescriptor } from "../files/descriptors.ts";
import { fileAliasesOf } from "../files/file-aliases.ts";
import {
  type ConfirmationWaits,
  findOtherConnections,
  type OtherConnections,
  PATIENT,
} from "../files/other-connections.ts";
import { readWalIndexOrNull } from "../files/shm.ts";
import { walEndOfIndexOrNull } from "../wal/wal-end.ts";
import { NO_EVIDENCE, type WalEvidence } from "../wal/wal-gate.ts";
import { LocklessPin } from "./lockless-pin.ts";
import { Pin } from "./pin.ts";
import { decidePinMode, type PinMode } from "./pin-mode.ts";
import { requirePinnable, resolvePath } from "./pinnable.ts";

/** A database that is held, with or without locks. */
export type AnyPin = Pin | LocklessPin;

/** A database that was opened, and what an operator should know of how. */
export interface OpenedPin {
  readonly pin: AnyPin;
  readonly condition: Condition | null;
}

const CONFIRMATIONS = 3;
const CONFIRM_MS = 2;

/**
 * Opens the database at `path`.
 * @param evidence what is known of its files from before
 * @param hasUnseenCommits whether the WAL got commits past the wal-index while it was pinned
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

/** How the database at a real path can be held now. @throws WalrustError code "database" */
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
      hasUnseenCommits,
    });
  } finally {
    closeDescriptor(database, fd);
  }
}

/**
 * Whether the wal-index that others use speaks of frames, and stays with it, that no -wal at the path has.
 */
function isWalGone(path: string, { isWalIndexShared }: OtherConnections, env: Env): boolean {
  if (!isWalIndexShared || !existsSync(`${path}-shm`)) return false;
  const databaseFd = openDescriptor(path);
  const database = descriptorIdentity(databaseFd);
  const shmFd = openDescriptor(`${path}-shm`);
  try {
    for (let time = 0; time < CONFIRMATIONS; time++) {
      if (time > 0) env.sleepSync(CONFIRM_MS);
      const index = readWalIndexOrNull(shmFd);
      // A restart writes the WAL's new header before the wal-index names a frame of it.
      if (index === null || index.mxFrame === 0) return false;
      if (walEndOfIndexOrNull(`${path}-wal`, index) !== null) return false;
    }
    return true;
  } finally {
    closeDescriptor(database, shmFd);
    closeDescriptor(database, databaseFd);
  }
}
