/**
 * Opens a database the way its other users allow: with a pin, or loosely. Looks before any connection of ours
 * is open, because opening one makes a -shm and recovers the WAL, in the middle of what others do with it.
 */
import { existsSync } from "node:fs";
import type { Env } from "../../env.ts";
import type { Condition } from "../../errors.ts";
import { closeDescriptor, descriptorIdentity, openDescriptor } from "../files/descriptors.ts";
import { fileNamesOf } from "../files/file-aliases.ts";
import {
  type ConfirmationWaits,
  findOtherUsers,
  type OtherUsers,
  PATIENT,
} from "../files/other-connections.ts";
import { readWalIndexOrNull } from "../files/shm.ts";
import { markOfIndexOrNull } from "../wal/wal-end.ts";
import { NO_EVIDENCE, type WalEvidence } from "../wal/wal-gate.ts";
import { LoosePin } from "./lockless-pin.ts";
import { Pin } from "./pin.ts";
import { decideGrip, type Grip } from "./pin-mode.ts";
import { requirePinnable, resolvePath } from "./pinnable.ts";

/** A database that is held, with or without locks. */
export type AnyPin = Pin | LoosePin;

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
  const { kind, condition } = gripOf(realPath, env, hasUnseenCommits, PATIENT);
  const pin = kind === "pin" ? Pin.open(realPath, env, evidence) : LoosePin.open(realPath, env, evidence);
  return { pin, condition };
}

/** How the database at a real path can be held now. @throws WalrustError code "database" */
export function gripOf(path: string, env: Env, hasUnseenCommits = false, patience?: ConfirmationWaits): Grip {
  const users = findOtherUsers(path, env, patience);
  const fd = openDescriptor(path);
  const database = descriptorIdentity(fd);
  try {
    return decideGrip({
      path,
      ...users,
      ...fileNamesOf(fd, path),
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
function isWalGone(path: string, { isIndexShared }: OtherUsers, env: Env): boolean {
  if (!isIndexShared || !existsSync(`${path}-shm`)) return false;
  const databaseFd = openDescriptor(path);
  const database = descriptorIdentity(databaseFd);
  const shmFd = openDescriptor(`${path}-shm`);
  try {
    for (let time = 0; time < CONFIRMATIONS; time++) {
      if (time > 0) env.sleepSync(CONFIRM_MS);
      const index = readWalIndexOrNull(shmFd);
      // A restart writes the WAL's new header before the wal-index names a frame of it.
      if (index === null || index.mxFrame === 0) return false;
      if (markOfIndexOrNull(`${path}-wal`, index) !== null) return false;
    }
    return true;
  } finally {
    closeDescriptor(database, shmFd);
    closeDescriptor(database, databaseFd);
  }
}
