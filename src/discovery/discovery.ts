/**
 * Discovers the databases of a watch: once at its start, and again while it runs. Logs each database or
 * folder that cannot be watched, once for as long as the reason stays the same.
 */
import { basename, dirname } from "node:path";
import { deletedInUseError, usersOfDeleted } from "../database/deleted-users.ts";
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import { StandingFindings } from "../storage/contract/trouble.ts";
import type { Discovered, Unwatchable } from "./discovered.ts";
import {
  DatabaseFinder,
  type FinderOptions,
  type FoundDatabase,
  type MissingDatabase,
  type SearchResult,
} from "./finder.ts";
import { stemOf } from "./names.ts";

/** The first discovery of a watch. */
export interface FirstDiscovery extends Discovered<FoundDatabase> {
  readonly missing: readonly MissingDatabase[];
}

/** The discoveries of one watch. */
export class Discovery {
  readonly #finder: DatabaseFinder;
  readonly #refused = new StandingFindings();
  readonly #ignored = new StandingFindings();
  /** Whether a process may have had a deleted database open when the watch began. */
  #mayHoldDeleted = true;

  constructor(
    options: FinderOptions,
    readonly env: Pick<Env, "log" | "turn">,
  ) {
    this.#finder = new DatabaseFinder(options, env);
  }

  /** Whether every database of the watch is named, so that a later discovery finds no new ones. */
  get isNamedOnly(): boolean {
    return !this.#finder.hasGlobs;
  }

  /**
   * Discovers the databases at start.
   * @param mayBeMissing whether the watch waits for named databases that are missing
   * @throws WalrustError when nothing is named, two named databases collide, a glob matches nothing, or every
   * named database is missing and none may be
   */
  async first(mayBeMissing = false): Promise<FirstDiscovery> {
    const result = await this.#finder.find();
    const { databases, missing, emptyGlobs, collisions, skipped } = result;
    const deleted = this.#deletedInUse(result);
    this.#logNew([...skipped, ...deleted]);
    const fatal = collisions[0] ?? emptyGlobs[0];
    if (fatal !== undefined) throw fatal;
    const isNothing = databases.length === 0 && !(mayBeMissing && missing.length > 0);
    if (isNothing && this.isNamedOnly) throw missing[0]?.error ?? nothingNamed();
    return { ...this.#discovered(result, deleted), missing };
  }

  /** Discovers the databases now. A named database that collides with another is left out and logged. */
  async again(): Promise<Discovered<FoundDatabase>> {
    const result = await this.#finder.find();
    const deleted = this.#deletedInUse(result);
    this.#logNew([...result.collisions, ...result.skipped, ...deleted]);
    return this.#discovered(result, deleted);
  }

  /**
   * The databases that were deleted before the watch began, and that a process still has open. Those of a
   * running watch stay with their watchers.
   */
  #deletedInUse({ databases, missing }: SearchResult): WalrustError[] {
    if (!this.#mayHoldDeleted) return [];
    const known = new Set([...databases, ...missing].map(({ path }) => path));
    const users = usersOfDeleted((path) => !known.has(path) && this.#finder.covers(path));
    this.#mayHoldDeleted = users.size > 0;
    return [...users].map(([path, of]) => deletedInUseError(path, of));
  }

  #discovered(
    { databases, missing, collisions, skipped }: SearchResult,
    deleted: readonly WalrustError[],
  ): Discovered<FoundDatabase> {
    this.#logIgnored(databases);
    const refused = [...collisions, ...skipped].map(refusedDatabase);
    // Its commits are in no file, so the bucket falls behind.
    const held = deleted.map((error) => ({ ...refusedDatabase(error), isMissing: true }));
    return { targets: databases, unwatchable: [...missing.map(missingDatabase), ...refused, ...held] };
  }

  /** Logs once for each folder that its state is not trusted. */
  #logIgnored(databases: readonly FoundDatabase[]): void {
    const ignored = databases.flatMap(({ place }) => (place.ignored === null ? [] : [place.ignored]));
    const hint =
      "Remove the ignored folder. To keep state beside the database, let only one user write there";
    for (const message of this.#ignored.replace(ignored).begun) this.env.log.warn(message, { hint });
  }

  /** Logs the reasons that the last discovery did not have. */
  #logNew(errors: readonly WalrustError[]): void {
    const byMessage = new Map(errors.map((error) => [error.message, error]));
    for (const message of this.#refused.replace(byMessage.keys()).begun) {
      const { hint, code } = byMessage.get(message)!;
      this.env.log.warn(code === "usage" ? `not watched: ${message}` : message, { hint });
    }
  }
}

function missingDatabase({ path, name, error }: MissingDatabase): Unwatchable {
  return { path, name, isMissing: true, error };
}

/** A database or folder by the error that refuses it, whose context holds the path. */
function refusedDatabase(error: WalrustError): Unwatchable {
  const { path, folder } = error.context;
  const place = String(path ?? folder ?? error.message);
  const name =
    path === undefined ? basename(place) : `${basename(dirname(place))}/${stemOf(basename(place))}`;
  return { path: place, name, isMissing: false, error };
}

/** The error for a command line and a walrust.toml that name no database. */
export function nothingNamed(): WalrustError {
  return new WalrustError("usage", "No database is named", {
    hint: "Name one: walrust watch app.db -b URL; or write [[databases]] into walrust.toml",
  });
}
