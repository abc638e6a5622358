/**
 * The draft of a restored database: a file under a random temporary name beside its target, in a folder that
 * stays open from the first byte to the last rename.
 *
 * Invariants:
 * 1. Nothing has the target's name before `publish`, and the draft is removed unless it was published.
 * 2. The draft is private (0600) until `takeAccess`.
 * 3. `publish` moves what lies at the target aside; nothing is overwritten.
 */
import { rmSync } from "node:fs";
import type { Env } from "../../env.ts";
import { hex } from "../../format/chain.ts";
import { DatabaseBuilder } from "./database-builder.ts";
import { assertFreeSpace } from "./free-space.ts";
import { accessForTarget, type FileAccess, type Ownership } from "./target-access.ts";
import { assertTargetFree, moveAside, publish, statsOrNull } from "./target-file.ts";
import { TargetFolder } from "./target-folder.ts";

/** Owner and mode of a draft, as set and as intended. */
export interface DraftAccess {
  /** Owner and mode of the draft now. */
  readonly access: FileAccess;
  /** The intended owner and mode. Only root can give a file to another user. */
  readonly wanted: Ownership;
}

/** A restored database that does not have its name yet. The caller closes the draft. */
export class DraftFile {
  readonly #folder: TargetFolder;
  readonly #name: string;
  readonly builder: DatabaseBuilder;

  private constructor(folder: TargetFolder, name: string) {
    this.#folder = folder;
    this.#name = name;
    this.builder = new DatabaseBuilder(folder.shown(name), folder.at(name));
  }

  /**
   * Makes an empty draft.
   * @param targetPath the target, with all links resolved
   * @throws WalrustError code "database" when the folder or the file cannot be made
   */
  static create(targetPath: string, env: Env): DraftFile {
    const folder = TargetFolder.open(targetPath);
    try {
      return new DraftFile(folder, `.${folder.name}.restore-${hex(env.randomBytes(6))}`);
    } catch (error) {
      folder.close();
      throw error;
    }
  }

  /** The temporary path. */
  get path(): string {
    return this.#folder.shown(this.#name);
  }

  /** Checks that the disk has room for a database. @throws WalrustError code "database" */
  assertFreeSpace(databaseBytes: number, objectBytes: number): void {
    const { name, path } = this.#folder;
    assertFreeSpace({ databaseBytes, writtenBytes: 0, objectBytes }, this.#folder.at(name), path);
  }

  /**
   * Gives the complete draft the owner and mode of the file it replaces, or those that fit the folder, and
   * syncs it.
   * @throws WalrustError as `assertTargetFree`
   */
  takeAccess(force: boolean): DraftAccess {
    const folder = this.#folder;
    assertTargetFree(folder, force);
    const wanted = accessForTarget(statsOrNull(folder, folder.name), folder.stats());
    const access = { ...this.builder.setAccess(wanted), from: wanted.from };
    this.builder.sync();
    return { access, wanted };
  }

  /**
   * Gives the draft the target's name.
   * @returns where the file that was there is now, or null
   * @throws WalrustError code "database" when something else has the name afterwards
   */
  publish(nowMs: number): string | null {
    const previousPath = moveAside(this.#folder, nowMs);
    publish(this.#folder, this.#name, this.builder.stats);
    return previousPath;
  }

  /** Closes the draft, and removes it if it still has its temporary name. */
  close(): void {
    rmSync(this.#folder.at(this.#name), { force: true });
    this.builder.close();
    this.#folder.close();
  }
}
