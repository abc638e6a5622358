/**
 * The room on a file system. All limits on free space of a watch stand here:
 *
 * | free space | consequence |
 * | --- | --- |
 * | below 1 GB or 5 % | a pin that captures nothing is released, so that the application can shorten its WAL
 * |
 * | below 512 MB, or an eighth of a small disk | the watch is degraded (`disk-nearly-full`) |
 * | below 256 MB | no snapshot and no difference is written, unless it is small |
 * | below 16 MB, or a 64th of a small disk | the watch is unhealthy (`disk-full`): captures fail |
 *
 * A disk is small if the share is less than the number. Free is the space that a user without privileges has.
 */
import { statfsSync } from "node:fs";

/** With less, a watch writes no snapshot and no difference that takes much room. */
export const RESERVE_BYTES = 256 * 2 ** 20;

const PIN_BYTES = 2 ** 30;
const PIN_SHARE = 0.05;
const NEARLY_FULL_BYTES = 2 * RESERVE_BYTES;
const NEARLY_FULL_SHARE = 1 / 8;
const FULL_BYTES = 16 * 2 ** 20;
const FULL_SHARE = 1 / 64;
/** A level ends this far above its limit: a disk at the limit must not change its level at each look. */
const END_FACTOR = 1.25;

/** The room on a file system. */
export interface DiskRoom {
  readonly freeBytes: number;
  readonly totalBytes: number;
}

/** The levels of room, best first. */
export type RoomLevel = "roomy" | "nearly-full" | "full";

/** The room on the file system of a path. @throws the system's error */
export function diskRoomOf(path: string): DiskRoom {
  const { bavail, blocks, bsize } = statfsSync(path);
  return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
}

/** Whether a snapshot or a difference would take the last room. */
export function isReserveTouched({ freeBytes }: DiskRoom): boolean {
  return freeBytes < RESERVE_BYTES;
}

/** Whether a WAL that cannot be shortened may fill the disk. */
export function isPinHarmful({ freeBytes, totalBytes }: DiskRoom): boolean {
  return freeBytes < Math.max(PIN_BYTES, totalBytes * PIN_SHARE);
}

/** The level of a file system. @param before its level at the last look */
export function roomLevel({ freeBytes, totalBytes }: DiskRoom, before: RoomLevel = "roomy"): RoomLevel {
  const full = Math.min(FULL_BYTES, totalBytes * FULL_SHARE);
  const nearlyFull = Math.min(NEARLY_FULL_BYTES, totalBytes * NEARLY_FULL_SHARE);
  if (freeBytes < full * (before === "full" ? END_FACTOR : 1)) return "full";
  return freeBytes < nearlyFull * (before === "roomy" ? 1 : END_FACTOR) ? "nearly-full" : "roomy";
}
