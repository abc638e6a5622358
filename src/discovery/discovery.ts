/**
 * The databases a watch has, each with its options: those at start, and what is found later. What cannot be
 * watched is told beside them.
 */
import { basename, dirname } from "node:path";
import type { DatabaseEntry } from "../config/database-entries.ts";
import type { Sources } from "../config/resolve.ts";
import { DatabaseFinder, type Finding, type FoundDatabase } from "./finder.ts";
import { below, stemOf } from "./names.ts";
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import type { LocalPlaces } from "../local/places.ts";
import type { DatabaseOptions } from "../replication/context/database-options.ts";
import type { WatchTarget } from "../replication/context/watch-target.ts";
import type { Found, LeftOut } from "../replication/watch/unwatchable-status.ts";
import { databaseOptions } from "../commands/watch/watch-options.ts";

/** Finds the databases of a watch. */
export class WatchTargets {
  readonly #finder: DatabaseFinder;
  readonly #options = new Map<DatabaseEntry, DatabaseOptions>();
  readonly #targets = new WeakMap<FoundDatabase, WatchTarget>();
  #said: ReadonlySet<string> = new Set();
  readonly #saidIgnored = new Set<string>();

  constructor(
    readonly sources: Sources,
    paths: readonly string[],
    destination: string,
    places: LocalPlaces,
    readonly env: Env,
  ) {
    this.#finder = new DatabaseFinder({ paths, file: sources.file, destination, places }, env);
  }

  /** Whether only what is named can be found. */
  get isNamedOnly(): boolean {
    return !this.#finder.hasGlobs;
  }

  /**
   * The databases at start, and those that are named and missing.
   * @throws WalrustError: nothing is named, two that are named collide, a glob matches nothing, or all that
   * are named are missing
   */
  async first(): Promise<Found & Pick<Finding, "missing">> {
    const finding = await this.#finder.find();
    const { databases, missing, empty, collisions } = finding;
    this.#sayNew(finding.unreadable);
    const wrong = collisions[0] ?? empty[0];
    if (wrong !== undefined) throw wrong;
    if (databases.length === 0 && this.isNamedOnly) throw missing[0]?.error ?? nothingNamed();
    return { ...this.#found(finding), missing };
  }

  /** The databases now. What collides with another is left out, and said. */
  async again(): Promise<Found> {
    const finding = await this.#finder.find();
    this.#sayNew([...finding.collisions, ...finding.unreadable]);
    return this.#found(finding);
  }

  #found({ databases, missing, collisions, unreadable }: Finding): Found {
    const absent = missing.map(({ path, entry, error }): LeftOut => {
      const name = below(entry?.prefix ?? null, entry?.name ?? stemOf(basename(path)));
      return { path, name, isMissing: true, error };
    });
    for (const { place } of databases) this.#sayIgnored(place.ignored);
    const targets = databases.map((found) => this.#targetOf(found));
    return { targets, leftOut: [...absent, ...[...collisions, ...unreadable].map(leftOutFor)] };
  }

  /** State that is not trusted, once for each folder. */
  #sayIgnored(ignored: string | null): void {
    if (ignored === null || this.#saidIgnored.has(ignored)) return;
    this.#saidIgnored.add(ignored);
    const hint =
      "Remove the ignored folder. To keep state beside the database, let only one user write there";
    this.env.log.warn(ignored, { hint });
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

/** What an error leaves out, which names it in its context. */
function leftOutFor(error: WalrustError): LeftOut {
  const { path, folder } = error.context;
  const place = String(path ?? folder ?? error.message);
  const name =
    path === undefined ? basename(place) : `${basename(dirname(place))}/${stemOf(basename(place))}`;
  return { path: place, name, isMissing: false, error };
}

/** The error when there is nothing to do. */
export function nothingNamed(): WalrustError {
  return new WalrustError("usage", "No database is named", {
    hint: "Name one: walrust watch app.db -b URL; or write [[databases]] into walrust.toml",
  });
}
