/**
 * The root folder of a file:// destination: whether it is there, and whether it may be made.
 *
 * Invariants:
 * 1. A root is made once at most, by a put, and only if nobody has replicated to it before. A root that
 *    disappears later is on a disk that is not mounted, or was moved away.
 * 2. The mount point of a disk that is not mounted is an empty folder of another file system. It counts as
 *    missing: before the first look if a database was replicated there, and later if the file system has
 *    changed.
 * 3. A folder inside the root shows that somebody wants a new backup there: it is the way out of (2).
 */
import { opendir, stat } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { WalrustError } from "../../errors.ts";
import { fileError, isAbsent, makeDirectories } from "./file-calls.ts";

/** A database whose local state says that the destination holds its objects. */
export interface EarlierUse {
  /** Path of the database. */
  readonly path: string;
  /** Its name in the destination. */
  readonly name: string;
}

/** Finds a database that was replicated to a destination before, or null. @param destination its URL */
export type FindEarlierUse = (destination: string) => Promise<EarlierUse | null>;

/** A folder that a new file system has by itself. */
const OWN_OF_FILE_SYSTEM = "lost+found";

/** The root of one store. */
export class FileRoot {
  /** The file system of the root when the store last found it, or null before the store has found it. */
  #device: number | null = null;
  /** The answer of `findEarlierUse`, which is asked once. */
  #earlier: Promise<EarlierUse | null> | null = null;
  #making: Promise<void> | null = null;
  readonly #url: string;

  constructor(
    readonly path: string,
    readonly findEarlierUse: FindEarlierUse = async () => null,
  ) {
    this.#url = pathToFileURL(path).href;
  }

  /** Checks that the root is there. @throws WalrustError "missing-bucket" or "storage" */
  async check(): Promise<void> {
    const device = await this.#deviceOrNull();
    if (device === null) throw await this.#missing("the directory does not exist");
    const known = this.#device;
    if (device === known) return;
    if (await this.#isMountPoint(known !== null)) throw await this.#missing("the directory holds no backup");
    this.#device = device;
  }

  /** Checks that the root is there, and makes a new root. @throws as `check` */
  async checkOrMake(): Promise<void> {
    if (this.#device !== null) return await this.check();
    // A second put that waits for the first must not make the root again after it has disappeared.
    this.#making ??= this.#make().finally(() => {
      this.#making = null;
    });
    await this.#making;
  }

  /** Checks the root if the store has not found it yet. @throws as `check` */
  async find(): Promise<void> {
    if (this.#device === null) await this.check();
  }

  async #make(): Promise<void> {
    const isThere = (await this.#deviceOrNull()) !== null;
    if (!isThere && (await this.#earlierUse()) === null) await makeDirectories(this.path);
    await this.check();
  }

  async #deviceOrNull(): Promise<number | null> {
    try {
      const stats = await stat(this.path);
      return stats.isDirectory() ? stats.dev : null;
    } catch (error) {
      if (isAbsent(error)) return null;
      throw fileError("read", this.path, error);
    }
  }

  /**
   * Whether the root looks like the mount point of a disk that is not mounted.
   * @param wasElsewhere whether the store found the root on another file system before
   */
  async #isMountPoint(wasElsewhere: boolean): Promise<boolean> {
    if (!(await this.#holdsNothing())) return false;
    return wasElsewhere || (await this.#earlierUse()) !== null;
  }

  /** Whether no folder is inside the root. A file there may say that the disk is not mounted. */
  async #holdsNothing(): Promise<boolean> {
    try {
      for await (const entry of await opendir(this.path)) {
        if (!entry.isFile() && entry.name !== OWN_OF_FILE_SYSTEM) return false;
      }
      return true;
    } catch (error) {
      if (isAbsent(error)) return true;
      throw fileError("read", this.path, error);
    }
  }

  async #earlierUse(): Promise<EarlierUse | null> {
    this.#earlier ??= this.findEarlierUse(this.#url);
    return await this.#earlier;
  }

  async #missing(state: string): Promise<WalrustError> {
    const problem = `Cannot use ${this.#url}: ${state}`;
    const earlier = await this.#earlierUse();
    if (earlier === null) {
      return new WalrustError("missing-bucket", problem, {
        hint: "Check the path, and whether the disk is mounted.",
      });
    }
    const { path, name } = earlier;
    const folder = join(this.path, name).replaceAll("'", "'\\''");
    return new WalrustError("missing-bucket", `${problem}, but ${path} was replicated there`, {
      hint: `Mount the disk. If the backups were removed for good, begin new ones: mkdir -p '${folder}'`,
      context: { replicatedFrom: path },
    });
  }
}
