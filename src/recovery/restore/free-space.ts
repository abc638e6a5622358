/**
 * Whether a disk has room for a database, asked before the first page is written: a disk that runs full on
 * the way stops everything else on it, too.
 *
 * The size of a database is a claim of whoever wrote the object. A claim that the object cannot hold is not
 * judged here: it is damage (growth-limit.ts), whatever is free. File systems that compress may take a
 * database that is larger than what they call free: there the size of the objects counts instead.
 */
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { WalrustError } from "../../errors.ts";
import { CLAIMED_SIZE_MAX } from "../object/growth-limit.ts";

/** What a database is said to need, and what came of it. */
export interface SpaceClaim {
  /** Size of the database, as its newest object says. */
  readonly databaseBytes: number;
  /** What is on the disk of it already. */
  readonly writtenBytes: number;
  /** Size of the objects that are still to be applied. */
  readonly objectBytes: number;
}

/** What `statfs` tells of a disk. */
export interface Disk {
  /** 0 where the file system does not tell. */
  readonly blocks: number;
  readonly freeBytes: number;
  readonly type: number;
}

/** LZ4 makes at most so many bytes of one. */
const EXPANSION_MAX = 255;

/** btrfs, ZFS, F2FS and bcachefs, by `f_type` of statfs(2). */
const COMPRESSING_TYPES: ReadonlySet<number> = new Set([0x9123683e, 0x2fc12fc1, 0xf2f52010, 0xca451a4e]);

/** The bytes that are needed, when there are fewer; else null. Pure. */
export function shortageOrNull(claim: SpaceClaim, disk: Disk): number | null {
  const { databaseBytes, writtenBytes, objectBytes } = claim;
  const missingBytes = databaseBytes - writtenBytes;
  // As many pages that nobody wrote as pages that came: see growth-limit.ts.
  const believedBytes = CLAIMED_SIZE_MAX + 2 * EXPANSION_MAX * objectBytes;
  if (disk.blocks === 0 || missingBytes > believedBytes) return null;
  const isCompressing = COMPRESSING_TYPES.has(disk.type >>> 0);
  const neededBytes = isCompressing ? Math.min(missingBytes, objectBytes) : missingBytes;
  return neededBytes > disk.freeBytes ? neededBytes : null;
}

/**
 * Checks that what is missing of a database fits beside what is there.
 * @param openPath where the database is written
 * @param shownPath the same, for messages
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

/** Below this much free disk nothing goes on that writes more than a little. */
const FREE_BYTES_MIN = 256 * 1024 * 1024;

/**
 * Checks, while something is written whose size nobody knows before, that it leaves room for others.
 * @throws WalrustError code "database", retryable
 */
export function assertSpaceLeft(path: string): void {
  const disk = diskOf(dirname(path));
  if (disk === null || disk.blocks === 0 || disk.freeBytes >= FREE_BYTES_MIN) return;
  const what = `${megabytes(disk.freeBytes)} are free, expected ${megabytes(FREE_BYTES_MIN)}`;
  throw new WalrustError("database", `Cannot write all of ${path}: ${what}`, {
    hint: "Free some space there; until then the replica stays as it is",
    context: { path },
    retryable: true,
  });
}

function diskOf(folder: string): Disk | null {
  try {
    const { bavail, bsize, blocks, type } = statfsSync(folder);
    return { blocks, freeBytes: bavail * bsize, type };
  } catch {
    // Writing there will report the fault.
    return null;
  }
}

function megabytes(bytes: number): string {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
