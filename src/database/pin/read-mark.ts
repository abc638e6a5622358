/**
 * PURE: chooses among the four read marks of a wal-index.
 *
 * Each of the slots 1 to 4, held shared, prevents a restart of the WAL at any value, because a restart needs
 * all four exclusively. A value up to mxFrame also limits how far checkpoints go. So a wrong choice is never
 * unsafe: it only changes how far checkpoints go.
 */

import { READ_MARK_UNUSED, type WalIndexHeader } from "../../format/wal-index.ts";
import { MARK_SLOTS } from "../files/lock-bytes.ts";

/** Whether the value of a slot is a mark: the slot is used, and the value is a frame of this WAL. */
export function isMark(value: number, mxFrame: number): boolean {
  return value !== READ_MARK_UNUSED && value <= mxFrame;
}

/**
 * The slot of a reader that has just begun: the highest mark of a held slot, and of equal marks the last,
 * which SQLite chooses. Null when no reader is at a mark (a reader that needs no WAL is at slot 0).
 */
export function readerSlotOrNull(index: WalIndexHeader, isHeld: (slot: number) => boolean): number | null {
  let best: number | null = null;
  for (const slot of MARK_SLOTS) {
    const value = markOf(index, slot);
    if (!isMark(value, index.mxFrame) || !isHeld(slot)) continue;
    if (best === null || value >= markOf(index, best)) best = slot;
  }
  return best;
}

/**
 * The slot with the highest mark, if a checkpoint up to there leaves no more than half of the frames that are
 * not copied yet. Each reader and each writer that begins moves a free slot to the end of the WAL.
 */
export function recentSlotOrNull(index: WalIndexHeader | null): number | null {
  if (index === null || index.backfilled >= index.mxFrame) return null;
  const { mxFrame, backfilled } = index;
  const [best] = slotsByPreference(index);
  const mark = best === undefined ? READ_MARK_UNUSED : markOf(index, best);
  const isRecent = isMark(mark, mxFrame) && mxFrame - mark <= (mxFrame - backfilled) / 2;
  return isRecent ? best! : null;
}

/** All slots in order of preference: marks first, the highest first. */
export function slotsByPreference(index: WalIndexHeader | null): number[] {
  const slots: number[] = [...MARK_SLOTS];
  if (index === null) return slots;
  const rank = (slot: number): number =>
    isMark(markOf(index, slot), index.mxFrame) ? markOf(index, slot) : -1;
  return slots.sort((a, b) => rank(b) - rank(a));
}

/** The value in a slot. */
export function markOf(index: WalIndexHeader, slot: number): number {
  return index.readMarks[slot] ?? READ_MARK_UNUSED;
}
