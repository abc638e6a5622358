/**
 * Reports disks with little room, before captures fail and while they do: one condition of the whole process
 * for each level, with the databases whose files lie there.
 *
 * Invariant: each look costs one statfs a file system, however many databases there are. The databases on
 * each file system are found once a minute, and when their number changes.
 */
import { statSync } from "node:fs";
import { dirname } from "node:path";
import type { ConditionCode, ConditionSink } from "../../errors.ts";
import { CONDITION_HEALTH } from "../../errors.ts";
import {
  type DiskRoom,
  diskRoomOf,
  RESERVE_BYTES,
  type RoomLevel,
  roomLevel,
} from "../../local/folders/disk-room.ts";

const LOOK_INTERVAL_MS = 2_000;
const GROUPING_INTERVAL_MS = 60_000;
/** The most names in a message. */
const NAMES_MAX = 3;

/** A database whose disks are checked. */
export interface DiskUser {
  readonly name: string;
  readonly target: {
    readonly path: string;
    readonly paths: { readonly folder: string; readonly spoolFolder: string };
  };
}

/** The parts of the file system that the check reads. */
export interface DiskSource {
  /** The device of a folder, or of the nearest folder above that exists; null where none may be entered. */
  placeOrNull(folder: string): DiskPlace | null;
  /** @throws the system's error */
  roomOf(folder: string): DiskRoom;
}

/** A folder on a file system. */
export interface DiskPlace {
  readonly device: number;
  readonly folder: string;
}

/** One file system. */
interface CheckedDisk {
  readonly folder: string;
  readonly databases: NameList;
  /** Databases whose state or captured files lie there. */
  readonly captures: NameList;
  level: RoomLevel;
  freeBytes: number;
}

/** Some names, and how many there are. */
interface NameList {
  readonly first: string[];
  count: number;
}

const SYSTEM: DiskSource = {
  placeOrNull: (folder) => {
    try {
      for (let at = folder; ; at = dirname(at)) {
        const stats = statSync(at, { throwIfNoEntry: false });
        if (stats !== undefined) return { device: stats.dev, folder: at };
        if (at === dirname(at)) return null;
      }
    } catch {
      // The folder may not be entered any more: the database reports that itself.
      return null;
    }
  },
  roomOf: diskRoomOf,
};

/** Checks the disks of a watch. */
export class DiskCheck {
  #disks = new Map<number, CheckedDisk>();
  #userCount = -1;
  #nextMs = Number.NEGATIVE_INFINITY;
  #nextGroupingMs = Number.NEGATIVE_INFINITY;

  constructor(
    readonly conditions: ConditionSink,
    readonly source: DiskSource = SYSTEM,
  ) {}

  /** Looks at each disk every 2 s. @param nowMs monotonic */
  poll(nowMs: number, users: readonly DiskUser[]): void {
    if (nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + LOOK_INTERVAL_MS;
    if (nowMs >= this.#nextGroupingMs || users.length !== this.#userCount) this.#group(nowMs, users);
    for (const disk of this.#disks.values()) this.#look(disk);
    this.#report("disk-full", "full");
    this.#report("disk-nearly-full", "nearly-full");
  }

  #group(nowMs: number, users: readonly DiskUser[]): void {
    this.#nextGroupingMs = nowMs + GROUPING_INTERVAL_MS;
    this.#userCount = users.length;
    const before = this.#disks;
    const places = new Map<string, DiskPlace | null>();
    this.#disks = new Map();
    const diskOf = (folder: string): CheckedDisk | null => {
      const place = places.has(folder) ? places.get(folder) : this.source.placeOrNull(folder);
      places.set(folder, place ?? null);
      if (!place) return null;
      const known = this.#disks.get(place.device);
      if (known !== undefined) return known;
      const { level = "roomy" } = before.get(place.device) ?? {};
      const disk = { folder: place.folder, databases: noNames(), captures: noNames(), level, freeBytes: 0 };
      this.#disks.set(place.device, disk);
      return disk;
    };
    for (const { name, target } of users) {
      const { path, paths } = target;
      addName(diskOf(dirname(path))?.databases, name);
      const own = new Set([diskOf(dirname(paths.folder)), diskOf(dirname(paths.spoolFolder))]);
      for (const disk of own) addName(disk?.captures, name);
    }
  }

  #look(disk: CheckedDisk): void {
    try {
      const room = this.source.roomOf(disk.folder);
      disk.freeBytes = room.freeBytes;
      disk.level = roomLevel(room, disk.level);
    } catch {
      // The folder is gone: the next grouping leaves it out.
      disk.level = "roomy";
    }
  }

  #report(code: ConditionCode & `disk-${string}`, level: RoomLevel): void {
    const short = [...this.#disks.values()].filter((disk) => disk.level === level);
    if (short.length === 0) return this.conditions.clear(code);
    const isFull = level === "full";
    const disks = short.map((disk) => `${placeText(disk)} has ${sizeText(disk.freeBytes)} left`).join("; ");
    const consequence = isFull
      ? "commits there are not captured until there is room"
      : `below ${sizeText(RESERVE_BYTES)} no snapshot is written, and on a full disk nothing is captured`;
    this.conditions.raise({
      code,
      health: CONDITION_HEALTH[code],
      message: `${disks}: ${consequence}`,
      hint: HINTS[isFull ? "full" : "nearly-full"],
    });
  }
}

const WAYS = "free some space, or put captured files and state elsewhere (--cache-dir, --state-dir)";
const HINTS = {
  full: `At once ${WAYS}; walrust continues by itself, and loses no commit`,
  "nearly-full": `Soon ${WAYS}`,
} as const;

function noNames(): NameList {
  return { first: [], count: 0 };
}

function addName(list: NameList | undefined, name: string): void {
  if (list === undefined) return;
  list.count++;
  if (list.first.length < NAMES_MAX) list.first.push(name);
}

/** A disk by what lies there: paths are not for every reader of /health. */
function placeText({ databases, captures }: CheckedDisk): string {
  if (databases.count > 0) return `the disk with the ${databaseText(databases)}`;
  return `the disk with the captured files of the ${databaseText(captures)}`;
}

function databaseText({ first, count }: NameList): string {
  const more = count - first.length;
  const noun = count === 1 ? "database" : "databases";
  return `${noun} ${first.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function sizeText(bytes: number): string {
  return bytes >= 2 ** 20 ? `${Math.floor(bytes / 2 ** 20)} MB` : `${Math.floor(bytes / 1024)} KB`;
}
