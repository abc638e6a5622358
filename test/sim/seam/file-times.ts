/**
 * The times of files on the simulated clock. The kernel stamps files with its own clock, which the simulation
 * neither controls nor repeats. So each file of the world carries a marker as its real time of modification.
 * A file with another time was written since: it gets the simulated time, and the marker again.
 *
 * `look` at a file after each step that may have written it, so that the simulated time is that of the write.
 */
import { type BigIntStats, type Stats, statSync, utimesSync } from "node:fs";

const MARKER_S = 1_000_000_000;
const MARKER_MS = MARKER_S * 1_000;

interface Times {
  modifiedNs: bigint;
  changedNs: bigint;
  readonly bornNs: bigint;
}

let rootPath = "";
let clockMs: () => number = () => 0;
let tick = 0n;
const byInode = new Map<string, Times>();

/** Begins a world below a folder, on a wall clock in ms since the epoch. */
export function simulateTimes(root: string, nowMs: () => number): void {
  rootPath = root;
  clockMs = nowMs;
  tick = 0n;
  byInode.clear();
}

/** Whether a path belongs to the world. */
export function isInWorld(path: string): boolean {
  return rootPath !== "" && path.startsWith(rootPath);
}

/** Stamps the file at a path with the present time if it was written since the last look. */
export function look(path: string): void {
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats?.isFile() === true) timesOf(stats, path);
}

/** Replaces the times of attributes that were just read. */
export function withSimulatedTimes<S extends Stats | BigIntStats>(stats: S, path: string): S {
  if (!isInWorld(path) || !stats.isFile()) return stats;
  const { modifiedNs, changedNs, bornNs } = timesOf(stats, path);
  const target = stats as unknown as Record<string, unknown>;
  if (typeof stats.ino === "bigint") {
    Object.assign(target, { mtimeNs: modifiedNs, ctimeNs: changedNs, birthtimeNs: bornNs });
    const ms = { mtimeMs: modifiedNs / 1_000_000n, ctimeMs: changedNs / 1_000_000n };
    Object.assign(target, ms, { birthtimeMs: bornNs / 1_000_000n });
  } else {
    const ms = { mtimeMs: Number(modifiedNs) / 1e6, ctimeMs: Number(changedNs) / 1e6 };
    Object.assign(target, ms, { birthtimeMs: Number(bornNs) / 1e6 });
  }
  return stats;
}

function timesOf(stats: Stats | BigIntStats, path: string): Times {
  const inode = String(stats.ino);
  const known = byInode.get(inode);
  if (known !== undefined && Number(stats.mtimeMs) === MARKER_MS) return known;
  const nowNs = BigInt(Math.floor(clockMs())) * 1_000_000n + (tick++ % 1_000_000n);
  mark(path);
  if (known === undefined) {
    const times = { modifiedNs: nowNs, changedNs: nowNs, bornNs: nowNs };
    byInode.set(inode, times);
    return times;
  }
  known.modifiedNs = nowNs;
  known.changedNs = nowNs;
  return known;
}

function mark(path: string): void {
  try {
    utimesSync(path, MARKER_S, MARKER_S);
  } catch {
    // The file has lost its name since it was opened.
  }
}
