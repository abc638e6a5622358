/**
 * Gives each discovered database the settings that it is replicated with.
 */
import { type ReplicationConfig, resolveDatabaseConfig } from "../../config/config.ts";
import type { DatabaseEntry } from "../../config/database-entries.ts";
import type { Sources } from "../../config/resolve.ts";
import type { Discovered } from "../../discovery/discovered.ts";
import type { FoundDatabase } from "../../discovery/finder.ts";
import type { WatchTarget } from "../../replication/context/watch-target.ts";

/** The targets of one watch. Databases of one entry share one config object. */
export class WatchTargets {
  readonly #configs = new Map<DatabaseEntry, ReplicationConfig>();
  readonly #targets = new WeakMap<FoundDatabase, WatchTarget>();

  /** @param config the settings of databases whose entry overrides nothing */
  constructor(
    readonly sources: Sources,
    readonly config: ReplicationConfig,
  ) {}

  /** The databases of a discovery as targets; a database that is found again keeps its target. */
  of({ targets, unwatchable }: Discovered<FoundDatabase>): Discovered<WatchTarget> {
    return { targets: targets.map((found) => this.#targetOf(found)), unwatchable };
  }

  #targetOf(found: FoundDatabase): WatchTarget {
    const known = this.#targets.get(found);
    if (known !== undefined) return known;
    const { path, name, paths, entry, isDiscovered } = found;
    const config = entry === null || entry.overrides.size === 0 ? this.config : this.#configOf(entry);
    const target = { path, name, paths, isDiscovered, config };
    this.#targets.set(found, target);
    return target;
  }

  #configOf(entry: DatabaseEntry): ReplicationConfig {
    const known = this.#configs.get(entry);
    if (known !== undefined) return known;
    const config = Object.freeze({ ...this.config, ...resolveDatabaseConfig(this.sources, entry) });
    this.#configs.set(entry, config);
    return config;
  }
}
