/**
 * Compares the number of files that a watch needs to open with the limit of this process. Without a warning
 * at the start, a low limit shows up much later, as failures of single databases.
 */
import { readFileSync } from "node:fs";
import type { Env } from "../../env.ts";

/** The pin of one database holds a descriptor of the file and one of its -shm. */
const FILES_PER_DATABASE = 2;
/** Log, event loop, libraries, status server; spool files and WALs while they are read. */
const FILES_BESIDE = 100;

/**
 * PURE: the most files that a watch has open at once.
 * @param uploadCount concurrent uploads, each on a connection of its own
 */
export function openFilesNeeded(databaseCount: number, uploadCount: number): number {
  return databaseCount * FILES_PER_DATABASE + uploadCount + FILES_BESIDE;
}

/**
 * The soft limit on open files of a process, or null if unknown. Source: proc(5), limits.
 * @param pid absent: this process
 */
export function openFilesLimitOrNull(pid?: number): number | null {
  try {
    const limits = readFileSync(`/proc/${pid ?? "self"}/limits`, "utf8");
    const match = /^Max open files +(\d+|unlimited)/m.exec(limits);
    return match === null || match[1] === "unlimited" ? null : Number(match[1]);
  } catch {
    return null;
  }
}

/** Warns once when the databases need more open files than this process may have. */
export class OpenFilesWatch {
  #isWarned = false;

  constructor(
    readonly uploadCount: number,
    readonly env: Pick<Env, "log">,
    readonly limitOrNull: () => number | null = () => openFilesLimitOrNull(),
  ) {}

  /** Compares the limit with the number of databases that are watched now. */
  check(databaseCount: number): void {
    if (this.#isWarned) return;
    const limit = this.limitOrNull();
    const needed = openFilesNeeded(databaseCount, this.uploadCount);
    if (limit === null || limit >= needed) return;
    this.#isWarned = true;
    const databases = databaseCount === 1 ? "1 database needs" : `${databaseCount} databases need`;
    this.env.log.warn(`this process may open ${limit} files, and ${databases} up to ${needed}`, {
      hint: `Raise the limit: ulimit -n ${needed} before the start, or LimitNOFILE=${needed} in its unit`,
    });
  }
}
