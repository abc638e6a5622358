/**
 * The files that a restore or an undo replaced. Each database is kept beside the target as
 * `<name>.pre-restore-<time>`, with the -wal, -shm and -journal that it had.
 *
 * The time is the moment of the replacement, in the form 2026-03-01T12-00-00-000Z. After an undo, "-undo"
 * follows the time; an undo of the undo leaves the restored file at the path, and its stamp is that of a
 * restore. Each time is later than all before, even if the clock was set back, so the order of the
 * names is the order of the replacements.
 */
import type { TargetFolder } from "./target-folder.ts";

/** The files that SQLite keeps beside a database, by the ends of their names. */
export const COMPANIONS = ["-wal", "-shm", "-journal"] as const;

/** A file beside a database, or the database itself: the end of its name. */
export type Suffix = "" | (typeof COMPANIONS)[number];

/** The files of one replacement. */
export interface KeptFiles {
  /** The moment of the replacement, as the names spell it. */
  readonly stamp: string;
  /** The name of the database, which `suffixes` contains unless only files beside it were kept. */
  readonly name: string;
  readonly suffixes: ReadonlySet<Suffix>;
}

const STAMP = /^(\d{4}-\d\d-\d\dT\d\d)-(\d\d)-(\d\d)-(\d{3})Z(?:-undo)?$/;
/** The end of the stamps of undos. */
const UNDO = "-undo";

/** The name or path under which a target, or the folder of its state, is kept. */
export function keptName(name: string, stamp: string): string {
  return `${name}.pre-restore-${stamp}`;
}

/** The files that were kept for the target of a folder, newest first. Links and folders do not count. */
export function keptFiles(folder: TargetFolder): KeptFiles[] {
  const found = new Map<string, Set<Suffix>>();
  const prefix = keptName(folder.name, "");
  for (const name of folder.names()) {
    if (!name.startsWith(prefix) || folder.statsOrNull(name)?.isFile() !== true) continue;
    const suffix = COMPANIONS.find((end) => name.endsWith(end)) ?? "";
    const stamp = name.slice(prefix.length, name.length - suffix.length);
    if (!STAMP.test(stamp)) continue;
    const known = found.get(stamp);
    if (known === undefined) found.set(stamp, new Set([suffix]));
    else known.add(suffix);
  }
  const newestFirst = [...found].sort(([a], [b]) => (a < b ? 1 : -1));
  return newestFirst.map(([stamp, suffixes]) => ({ stamp, name: keptName(folder.name, stamp), suffixes }));
}

/** The stamp of a replacement that happens now: later than those of all kept files. */
export function newStamp(folder: TargetFolder, nowMs: number, by: "restore" | "undo" = "restore"): string {
  const [newest] = keptFiles(folder);
  const afterMs = newest === undefined ? 0 : timeOfStamp(newest.stamp) + 1;
  const time = new Date(Math.max(nowMs, afterMs)).toISOString().replace(/[:.]/g, "-");
  return by === "undo" ? `${time}${UNDO}` : time;
}

/** Whether an undo made the replacement with this stamp. */
export function isStampOfUndo(stamp: string): boolean {
  return stamp.endsWith(UNDO);
}

/** The time of a stamp, ms since the epoch. */
export function timeOfStamp(stamp: string): number {
  return Date.parse(stamp.replace(STAMP, "$1:$2:$3.$4Z"));
}
