/**
 * Gives each discovered database the settings that it is replicated with.
 */
import type { DatabaseEntry } from "../../config/database-entries.ts";
import type { Sources } from "../../config/resolve.ts";
import type { Discovered } from "../../discovery/discovered.ts";
import type { FoundDatabase } from "../../discovery/finder.ts";
import type { DatabaseOptions } from "../../replication/context/database-options.ts";
import type { WatchTarget } from "../../replication/context/watch-target.ts";
import { databaseOptions } from "./watch-options.ts";

/** The targets of one watch. Databases of one entry share one options object. */
export class WatchTargets {
  readonly #options = new Map<DatabaseEntry, DatabaseOptions>();
  readonly #targets = new WeakMap<FoundDatabase, WatchTarget>();

  constructor(readonly sources: Sources) {}

  /** The databases of a discovery as targets; a database that is found again keeps its target. */
  of({ targets, unwatchable }: Discovered<FoundDatabase>): Discovered<WatchTarget> {
    return { targets: targets.map((found) => this.#targetOf(found)), unwatchable };
  }

  #targetOf(found: FoundDatabase): WatchTarget {
    const known = this.#targets.get(found);
    if (known !== undefined) return known;
    const { path, name, paths, entry, isDiscovered } = found;
    const options = entry === null || entry.overrides.size === 0 ? null : this.#optionsOf(entry);
    const target = { path, name, paths, isDiscovered, ...(options === null ? {} : { options }) };
    this.#targets.set(found, target);
    return target;
  }

  #optionsOf(entry: DatabaseEntry): DatabaseOptions {
    const known = this.#options.get(entry);
    if (known !== undefined) return known;
    const options = databaseOptions(this.sources, entry);
    this.#options.set(entry, options);
    return options;
  }
}
