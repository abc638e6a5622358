/**
 * A control group that limits the memory of the watch (cgroup v1 or v2). It counts what its processes use
 * from the moment they enter, so a process enters at its start.
 */
import { existsSync, mkdirSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const PLACES = [
  { root: "/sys/fs/cgroup/memory", limit: "memory.limit_in_bytes", none: "-1" },
  { root: "/sys/fs/cgroup", limit: "memory.max", none: "max" },
];

/** A control group. */
export class MemoryLimit {
  readonly #folder: string;
  readonly #limitPath: string;
  readonly #none: string;

  private constructor(folder: string, limitPath: string, none: string) {
    this.#folder = folder;
    this.#limitPath = limitPath;
    this.#none = none;
  }

  /** Makes a control group. @returns the group, or the reason why there is none */
  static make(): MemoryLimit | string {
    let reason = "no control group for memory";
    for (const { root, limit, none } of PLACES) {
      const folder = join(root, `walrust-chaos-${process.pid}`);
      try {
        mkdirSync(folder);
        const limitPath = join(folder, limit);
        if (existsSync(limitPath)) return new MemoryLimit(folder, limitPath, none);
        rmdirSync(folder);
      } catch (error) {
        reason = `cannot make a control group: ${error instanceof Error ? error.message : error}`;
      }
    }
    return reason;
  }

  /** Moves a process into the group. */
  enter(pid: number): void {
    writeFileSync(join(this.#folder, "cgroup.procs"), String(pid));
  }

  /** Limits the group. The kernel reclaims pages of files before it kills a process. */
  set(bytes: number): void {
    try {
      writeFileSync(this.#limitPath, String(bytes));
    } catch (error) {
      // The group uses more, and not enough can be reclaimed at once: the limit stays as it was.
      if ((error as { code?: string }).code !== "EBUSY") throw error;
    }
  }

  /** Ends the limit. */
  clear(): void {
    writeFileSync(this.#limitPath, this.#none);
  }

  /** Removes the group; its processes must have ended. */
  remove(): void {
    try {
      rmdirSync(this.#folder);
    } catch {
      // A process still ends: an empty group without processes costs nothing.
    }
  }
}
