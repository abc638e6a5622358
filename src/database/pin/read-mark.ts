/**
 * Choosing among the four read marks of a wal-index. Pure.
 *
 * Any of the slots 1 to 4, held shared, forbids a restart of the WAL whatever its value is (a restart needs
 * all four exclusively); a value up to mxFrame also limits how far checkpoints go. So a wrong choice among
 * them is never unsafe: it only lets checkpoints go less far, or further.
 */

import { READ_MARK_UNUSED, type WalIndexHeader } from "../../format/wal-index.ts";
import { MARK_SLOTS } from "../files/lock-bytes.ts";

/** Whether a slot's value is a mark: used, and a frame of this WAL. */
export function isMark(value: number, mxFrame: number): boolean {
  return value !== READ_MARK_UNUSED && value <= mxFrame;
}

/**
 * The slot a reader that began just now is at: the highest mark among those somebody holds; of equal ones the
 * last, as SQLite chooses. Null when no reader is at a mark (a reader that needs no WAL is at slot 0).
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

/** The slots in the order in which one is taken when any will do: marks first, the highest first. */
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
