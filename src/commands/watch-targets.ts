/**
 * The databases a watch has, each with its options: those at start, and what globs find later.
 */
import type { DatabaseEntry } from "../config/database-entries.ts";
import type { Sources } from "../config/resolve.ts";
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import type { DatabaseOptions, WatchTarget } from "../replication/watch-types.ts";
import { DatabaseFinder, type Finding, type FoundDatabase } from "./database-finder.ts";
import { databaseOptions } from "./watch-options.ts";

/** Finds the databases of a watch. */
export class WatchTargets {
  readonly #finder: DatabaseFinder;
  readonly #options = new Map<DatabaseEntry, DatabaseOptions>();
  readonly #targets = new WeakMap<FoundDatabase, WatchTarget>();
  #said: ReadonlySet<string> = new Set();

  constructor(
    readonly sources: Sources,
    paths: readonly string[],
    destination: string,
    cacheFolder: string | null,
    readonly env: Env,
  ) {
    this.#finder = new DatabaseFinder({ paths, file: sources.file, destination, cacheFolder }, env);
  }

  /** Whether there can be others later. */
  get canChange(): boolean {
    return this.#finder.hasGlobs;
  }

  /**
   * The databases at start, and those that are named and missing.
   * @throws WalrustError: nothing is named, two collide, a glob matches nothing, or all that are named are
   * missing
   */
  async first(): Promise<{ targets: WatchTarget[]; missing: Finding["missing"] }> {
    const finding = await this.#finder.find();
    const { databases, missing, empty, collisions } = finding;
    this.#sayNew(finding.unreadable);
    const wrong = collisions[0] ?? empty[0];
    if (wrong !== undefined) throw wrong;
    if (databases.length === 0 && !this.canChange) throw missing[0]?.error ?? nothingNamed();
    return { targets: databases.map((found) => this.#targetOf(found)), missing };
  }

  /** The databases now. What collides with another is left out, and said. */
  async again(): Promise<WatchTarget[]> {
    const { databases, collisions, unreadable } = await this.#finder.find();
    this.#sayNew([...collisions, ...unreadable]);
    return databases.map((found) => this.#targetOf(found));
  }

  /** Says what was not so at the last look: once while it stays so, and again when it comes back. */
  #sayNew(errors: readonly WalrustError[]): void {
    const said = this.#said;
    this.#said = new Set(errors.map(({ message }) => message));
    for (const { message, hint, code } of errors) {
      if (!said.has(message))
        this.env.log.warn(`${code === "usage" ? "left out: " : ""}${message}`, { hint });
    }
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

/** The error when there is nothing to do. */
export function nothingNamed(): WalrustError {
  return new WalrustError("usage", "No database is named", {
    hint: "Name one: walrust watch app.db -b URL; or write [[databases]] into walrust.toml",
  });
}
