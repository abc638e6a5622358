/**
 * How many files a watch needs to have open, and whether this process may. A limit that is too low shows as
 * failures of single databases much later; said at the start, it is one line of a unit file.
 */
import { readFileSync } from "node:fs";
import type { Env } from "../../env.ts";

/** The pin of one database: a descriptor of the file and one of its -shm. */
const FILES_PER_DATABASE = 2;
/** Log, event loop, libraries, status server; spool files and WALs while they are read. */
const FILES_BESIDE = 100;

/**
 * PURE: how many open files a watch needs at most.
 * @param uploadCount uploads at once, each on a connection of its own
 */
export function openFilesNeeded(databaseCount: number, uploadCount: number): number {
  return databaseCount * FILES_PER_DATABASE + uploadCount + FILES_BESIDE;
}

/** The soft limit on open files of this process, or null where it cannot be told. Source: proc(5), limits. */
export function openFilesLimitOrNull(): number | null {
  try {
    const match = /^Max open files +(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    return match === null || match[1] === "unlimited" ? null : Number(match[1]);
  } catch {
    return null;
  }
}

/** Warns once when there are more databases than this process may have files open for. */
export class OpenFilesWatch {
  #isSaid = false;

  constructor(
    readonly uploadCount: number,
    readonly env: Pick<Env, "log">,
    readonly limitOrNull: () => number | null = openFilesLimitOrNull,
  ) {}

  /** Looks at the number of databases that are watched now. */
  check(databaseCount: number): void {
    if (this.#isSaid) return;
    const limit = this.limitOrNull();
    const needed = openFilesNeeded(databaseCount, this.uploadCount);
    if (limit === null || limit >= needed) return;
    this.#isSaid = true;
    const databases = databaseCount === 1 ? "1 database needs" : `${databaseCount} databases need`;
    this.env.log.warn(`this process may open ${limit} files, and ${databases} up to ${needed}`, {
      hint: `Raise the limit: ulimit -n ${needed} before the start, or LimitNOFILE=${needed} in its unit`,
    });
  }
}
