/**
 * Drafts that a killed restore left beside its target: each has the size of the database. A restore holds a
 * lock on its draft while it works, and removes every draft of the same target that nobody holds. The kernel
 * drops the lock at the end of the process, however it ends.
 *
 * A draft of another user, a link, a folder or a special file of such a name stays: no restore of ours made
 * it.
 */
import { closeSync, fstatSync, readdirSync, rmSync } from "node:fs";
import { lockExclusive, ofdLocksSupported } from "../../database/files/ofd-lock.ts";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { hex } from "../../format/chain.ts";
import { openOwnFileOrNull } from "../../local/own-file.ts";
import type { TargetFolder } from "./target-folder.ts";

/** SQLite locks only bytes from 2^30 on. */
const DRAFT_LOCK_BYTE = 0;

/** A new name for a draft of the target. */
export function newDraftName(folder: TargetFolder, env: Env): string {
  return `${draftPrefix(folder)}${hex(env.randomBytes(6))}`;
}

/**
 * Holds an open draft until its descriptor is closed.
 * @returns false when another restore took the new draft for a leftover; nothing was written yet
 */
export function holdDraft(fd: number): boolean {
  if (!ofdLocksSupported()) return true;
  return lockExclusive(fd, DRAFT_LOCK_BYTE, 1) && fstatSync(fd).nlink > 0;
}

/** Removes the drafts of the target that no process holds. Without locks, every draft stays. */
export function sweepDrafts(folder: TargetFolder): void {
  if (!ofdLocksSupported()) return;
  const prefix = draftPrefix(folder);
  const isDraft = (name: string): boolean =>
    name.startsWith(prefix) && /^[0-9a-f]{12}$/.test(name.slice(prefix.length));
  for (const name of readdirSync(folder.at(".")).filter(isDraft)) removeIfFree(folder.at(name));
}

function draftPrefix({ name }: TargetFolder): string {
  return `.${name}.restore-`;
}

function removeIfFree(path: string): void {
  try {
    const file = openOwnFileOrNull(path);
    if (file === null) return;
    try {
      if (lockExclusive(file.fd, DRAFT_LOCK_BYTE, 1)) rmSync(path, { force: true });
    } finally {
      closeSync(file.fd);
    }
  } catch (error) {
    // Not a file of ours: the restore itself does not need its name.
    if (!(error instanceof WalrustError)) throw error;
  }
}
