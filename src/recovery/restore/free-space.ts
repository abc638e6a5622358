/**
 * Checks the free space of a disk before the first page of a database is written. A disk that fills up stops
 * everything else on it.
 *
 * The size of a database is a claim of its object. A claim that the object cannot hold is damage, however
 * much space is free, and growth-limit.ts refuses it. A file system that compresses may take more than it
 * reports as free, so there the size of the objects counts.
 */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { WalrustError } from "../../errors.ts";
import { CLAIMED_SIZE_MAX } from "../object/growth-limit.ts";

/** The claimed size of a database, and its progress. */
export interface SpaceClaim {
  /** Size of the database, as the newest object claims. */
  readonly databaseBytes: number;
  /** Bytes of the database that are on the disk already. */
  readonly writtenBytes: number;
  /** Size of the objects that are not yet applied. */
  readonly objectBytes: number;
}

/** The space of a disk, as `statfs` reports it. */
export interface Disk {
  /** 0 when the file system does not report it. */
  readonly blocks: number;
  readonly freeBytes: number;
  readonly type: number;
}

/** LZ4 expands one byte to at most this many. */
const EXPANSION_MAX = 255;

/** btrfs, ZFS, F2FS and bcachefs, by `f_type` of statfs(2). */
const COMPRESSING_TYPES: ReadonlySet<number> = new Set([0x9123683e, 0x2fc12fc1, 0xf2f52010, 0xca451a4e]);

/** The needed bytes if fewer are free, else null. Pure. */
export function shortageOrNull(claim: SpaceClaim, disk: Disk): number | null {
  const { databaseBytes, writtenBytes, objectBytes } = claim;
  const missingBytes = databaseBytes - writtenBytes;
  // The limit of growth-limit.ts: as many pages that no object holds as pages that came.
  const believedBytes = CLAIMED_SIZE_MAX + 2 * EXPANSION_MAX * objectBytes;
  if (disk.blocks === 0 || missingBytes > believedBytes) return null;
  const isCompressing = COMPRESSING_TYPES.has(disk.type >>> 0);
  const neededBytes = isCompressing ? Math.min(missingBytes, objectBytes) : missingBytes;
  return neededBytes > disk.freeBytes ? neededBytes : null;
}

/**
 * Checks that the rest of a database fits on its disk.
 * @param openPath the path by which the database is opened
 * @param shownPath its path in messages
 * @throws WalrustError code "database", retryable
 */
export function assertFreeSpace(claim: SpaceClaim, openPath: string, shownPath = openPath): void {
  const disk = diskOf(dirname(openPath));
  const neededBytes = disk === null ? null : shortageOrNull(claim, disk);
  if (disk === null || neededBytes === null) return;
  const folder = dirname(shownPath);
  const what = `${megabytes(neededBytes)} more are needed, ${megabytes(disk.freeBytes)} are free`;
  throw new WalrustError("database", `There is no room in ${folder}: ${what}`, {
    hint: "Free some space there, or choose another disk (-o, --local; for verify and compact TMPDIR)",
    context: { path: folder },
    retryable: true,
  });
}

/** Long writes stop when less than this is free. */
const FREE_BYTES_MIN = 256 * 1024 * 1024;

/**
 * Checks during a write of unknown size that some space remains free for others.
 * @throws WalrustError code "database", retryable
 */
export function assertSpaceLeft(path: string): void {
  const disk = diskOf(dirname(path));
  if (disk === null || disk.blocks === 0 || disk.freeBytes >= FREE_BYTES_MIN) return;
  const what = `${megabytes(disk.freeBytes)} are free, expected ${megabytes(FREE_BYTES_MIN)}`;
  throw new WalrustError("database", `Cannot write all of ${path}: ${what}`, {
    hint: "Free some space there; the replica stays at its state until then",
    context: { path },
    retryable: true,
  });
}

function diskOf(folder: string): Disk | null {
  try {
    const { bavail, bsize, blocks, type } = statfsSync(folder);
    return { blocks, freeBytes: bavail * bsize, type };
  } catch {
    // The write to the folder will report the fault.
    return null;
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
