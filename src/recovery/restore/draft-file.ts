/**
 * The draft of a restored database: a file under a random temporary name beside its target, in a folder that
 * stays open from the first byte to the last rename.
 *
 * Invariants:
 * 1. Nothing has the target's name before `publish`, and the draft is removed unless it was published.
 * 2. The draft is private (0600) until `takeAccess`.
 * 3. `publish` keeps what lies at the target under another name; nothing is overwritten.
 */
import { rmSync } from "node:fs";
import type { Env } from "../../env.ts";
import { WalrustError } from "../../errors.ts";
import { DatabaseBuilder } from "./database-builder.ts";
import { assertFreeSpace } from "./free-space.ts";
import { newStamp } from "./kept-files.ts";
import { newDraftName, sweepDrafts } from "./leftover-drafts.ts";
import { accessForTarget, type FileAccess, type Ownership } from "./target-access.ts";
import { assertTargetFree, replaceTarget, tidyInterrupted } from "./target-file.ts";
import { TargetFolder } from "./target-folder.ts";

/** Another restore takes a draft for a leftover only in the moment between its creation and its lock. */
const TRIES_MAX = 5;

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
   * Makes an empty draft, and removes the drafts that killed restores of this target left.
   * @param targetPath the target, with all links resolved
   * @throws WalrustError code "database" when the folder or the file cannot be made
   */
  static create(targetPath: string, env: Env): DraftFile {
    const folder = TargetFolder.open(targetPath);
    try {
      sweepDrafts(folder);
      for (let tries = 1; ; tries++) {
        const draft = new DraftFile(folder, newDraftName(folder, env));
        if (draft.builder.hold()) return draft;
        draft.builder.close();
        if (tries === TRIES_MAX) throw new WalrustError("database", `Cannot lock a file in ${folder.path}`);
      }
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
    const wanted = accessForTarget(folder.statsOrNull(folder.name), folder.stats());
    const access = { ...this.builder.setAccess(wanted), from: wanted.from };
    this.builder.sync();
    return { access, wanted };
  }

  /** The stamp under which `publish` keeps what lies at the target. */
  newStamp(nowMs: number): string {
    return newStamp(this.#folder, nowMs);
  }

  /**
   * Gives the draft the target's name.
   * @returns where the file that was there is now, or null
   * @throws WalrustError code "database" when something else has the name afterwards
   */
  publish(stamp: string): string | null {
    tidyInterrupted(this.#folder);
    return replaceTarget(this.#folder, { name: this.#name, stats: this.builder.stats, logs: [] }, stamp);
  }

  /** Closes the draft, and removes it if it still has its temporary name. */
  close(): void {
    rmSync(this.#folder.at(this.#name), { force: true });
    this.builder.close();
    this.#folder.close();
  }
}
