/** The room on a file system, at each limit. */
import { expect, test } from "bun:test";
import { statfsSync } from "node:fs";
import { join } from "node:path";
import {
  diskRoomOf,
  isPinHarmful,
  isReserveTouched,
  type RoomLevel,
  roomLevel,
} from "../../../src/local/folders/disk-room.ts";
import { tempFolder } from "../../support/temp.ts";

const MB = 2 ** 20;
const GB = 2 ** 30;

test("diskRoomOf reads the file system of a folder, and throws for none", () => {
  const folder = tempFolder("room");
  const { blocks, bsize } = statfsSync(folder);
  expect(diskRoomOf(folder).totalBytes).toBe(blocks * bsize);
  expect(() => diskRoomOf(join(folder, "none"))).toThrow("ENOENT");
});

test.each<[freeBytes: number, totalBytes: number, before: RoomLevel, level: RoomLevel]>([
  [512 * MB, 100 * GB, "roomy", "roomy"],
  [512 * MB - 1, 100 * GB, "roomy", "nearly-full"],
  [16 * MB, 100 * GB, "roomy", "nearly-full"],
  [16 * MB - 1, 100 * GB, "roomy", "full"],
  [0, 0, "roomy", "roomy"],
  [GB / 8, GB, "roomy", "roomy"],
  [GB / 8 - 1, GB, "roomy", "nearly-full"],
  [(64 * MB) / 64 - 1, 64 * MB, "roomy", "full"],
  [640 * MB - 1, 100 * GB, "nearly-full", "nearly-full"],
  [640 * MB, 100 * GB, "nearly-full", "roomy"],
  [20 * MB - 1, 100 * GB, "full", "full"],
  [20 * MB, 100 * GB, "full", "nearly-full"],
  [640 * MB - 1, 100 * GB, "full", "nearly-full"],
])("roomLevel of %d free of %d after %p is %p", (freeBytes, totalBytes, before, level) => {
  expect(roomLevel({ freeBytes, totalBytes }, before)).toBe(level);
});

test("the limits of a reserve and of a pin", () => {
  const room = (freeBytes: number, totalBytes = 10 * GB) => ({ freeBytes, totalBytes });
  expect([256 * MB, 256 * MB - 1].map((free) => isReserveTouched(room(free)))).toEqual([false, true]);
  expect([GB, GB - 1].map((free) => isPinHarmful(room(free)))).toEqual([false, true]);
  expect([50 * GB, 50 * GB - 1].map((free) => isPinHarmful(room(free, 1000 * GB)))).toEqual([false, true]);
});
