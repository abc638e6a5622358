/**
 * Finds the databases that are there now: those that are named on the command line or in walrust.toml, and
 * those that a glob matches at this moment.
 *
 * Guarantees:
 * 1. Each file is found once, under one name. A named path takes its file out of every glob.
 * 2. A database keeps its name and its place among the others for as long as it is there.
 * 3. A folder that cannot be read hides nothing: the databases that were found in it still count.
 * 4. Only a collision between named databases is an error for the caller. A match of a glob that cannot be
 *    taken is skipped with a reason, so that no tenant stops another.
 */
import type { ConfigFile } from "../config/config-file.ts";
import type { DatabaseEntry } from "../config/database-entries.ts";
import type { Sources } from "../config/resolve.ts";
import type { Env } from "../env.ts";
import { WalrustError } from "../errors.ts";
import { ownersInTheWay } from "../format/keys.ts";
import { type LocalPlaces, type Place, realParent } from "../local/places.ts";
import { keyProblemOrNull } from "../storage/contract/object-rules.ts";
import type { AttachTarget } from "./attach-target.ts";
import { type Candidate, globCandidates, type KnownCandidate, namedCandidate } from "./candidates.ts";
import { escapeGlob, matchesGlob, type OnUnreadable, splitGlob } from "./glob.ts";
import { below, claimNames, knownNameOf, type Nameless } from "./names.ts";
import { type Selector, selectorOfWord, selectorsOfFile } from "./selectors.ts";
import { notWatchedText, UniqueFiles } from "./unique-files.ts";

/** A database that is there. */
export interface FoundDatabase extends AttachTarget {
  /** Its entry in walrust.toml, or null. */
  readonly entry: DatabaseEntry | null;
  /** Whether a glob matched it. */
  readonly isDiscovered: boolean;
  /** The place of its local files, with the reason. */
  readonly place: Place;
}

/** A named database that is not there. */
export interface MissingDatabase {
  /** The path as it is named. */
  readonly given: string;
  /** The real path that it last had, or `given`. */
  readonly path: string;
  /** The name that it gets in the bucket when it is there, unless its local state is lost meanwhile. */
  readonly name: string;
  /** The path of another named database that has this name, or null. */
  readonly namesake: string | null;
  readonly error: WalrustError;
}

/** A named path without a file, before it has a name. */
interface AbsentPath {
  readonly given: string;
  readonly path: string;
  readonly entry: DatabaseEntry | null;
  readonly error: WalrustError;
}

/** The result of one search. */
export interface SearchResult {
  readonly databases: readonly FoundDatabase[];
  readonly missing: readonly MissingDatabase[];
  /** Globs that match nothing and have no `allow_empty`. */
  readonly emptyGlobs: readonly WalrustError[];
  /** Named databases that collide with another named one. */
  readonly collisions: readonly WalrustError[];
  /** Folders that cannot be read, and matches of globs that are not taken. */
  readonly skipped: readonly WalrustError[];
}

/** The databases to search for. */
export interface FinderOptions {
  /** Words of the command line. With any, walrust.toml adds no database, only settings. */
  readonly paths: readonly string[];
  readonly file: ConfigFile | null;
  readonly destination: string;
  /** Decides where the local files of each database lie. */
  readonly places: LocalPlaces;
}

/** Each so many searches resolve every link anew: a folder above may have become a link to the same files. */
const SEARCHES_PER_RESOLVING = 12;

/** Searches again and again. A database that stays unchanged keeps its object from search to search. */
export class DatabaseFinder {
  readonly #selectors: readonly Selector[];
  #hasSearched = false;
  #searchCount = 0;
  /** Real paths of named databases, by the path they are named by. */
  readonly #realPaths = new Map<string, string>();
  readonly #known = new Map<string, { readonly candidate: Candidate; readonly found: FoundDatabase }>();

  constructor(
    readonly options: FinderOptions,
    readonly env: Pick<Env, "turn">,
  ) {
    const { paths, file } = options;
    this.#selectors = paths.length > 0 ? paths.map(selectorOfWord) : selectorsOfFile(file);
  }

  /** Whether a later search can find databases that nobody named. */
  get hasGlobs(): boolean {
    return this.#selectors.some(({ isGlob }) => isGlob);
  }

  /** Whether a database at a real path would be found, if it were there. */
  covers(path: string): boolean {
    return this.#selectors.some(({ path: given, isGlob }) => {
      if (!isGlob) return (this.#realPaths.get(given) ?? realParent(given)) === path;
      const { fixed, rest } = splitGlob(given);
      return matchesGlob(`${escapeGlob(realParent(fixed))}/${rest}`, path);
    });
  }

  /**
   * Searches once.
   * @throws WalrustError code "database" when the first search cannot read the fixed folder of a glob
   */
  async find(): Promise<SearchResult> {
    this.options.places.refresh();
    const missing: AbsentPath[] = [];
    const emptyGlobs: WalrustError[] = [];
    const skipped: WalrustError[] = [];
    const files = new UniqueFiles();
    const isResolving = this.#searchCount++ % SEARCHES_PER_RESOLVING === 0;
    const known: KnownCandidate = (path) => (isResolving ? undefined : this.#known.get(path)?.candidate);
    const entries = this.options.paths.length === 0 ? null : await this.#entriesByPath();
    for (const selector of this.#selectors.filter(({ isGlob }) => !isGlob)) {
      const candidate = namedCandidate(selector, known);
      if (candidate instanceof WalrustError) missing.push(this.#absent(selector, candidate));
      else {
        this.#realPaths.set(selector.path, candidate.path);
        files.add({ ...candidate, ...entries?.get(candidate.path) });
      }
    }
    const matched: Candidate[] = [];
    for (const selector of this.#selectors.filter(({ isGlob }) => isGlob)) {
      const untrusted: WalrustError[] = [];
      const onUntrusted = (error: WalrustError): void => void untrusted.push(error);
      const onUnreadable = (folder: string, error: WalrustError): void => {
        skipped.push(error);
        matched.push(...this.#knownBelow(folder, selector));
      };
      const candidates = await this.#globCandidates(selector, known, onUnreadable, onUntrusted);
      skipped.push(...untrusted);
      matched.push(...candidates.map((one) => ({ ...one, ...entries?.get(one.path) })));
      const isEmpty = candidates.length === 0 && untrusted.length === 0;
      if (isEmpty && selector.entry?.allowEmpty !== true) emptyGlobs.push(emptyGlob(selector));
    }
    // A file that a glob held before stays with that glob, even if another one now matches it first.
    const isHeld = ({ path, place }: Candidate): boolean => this.#known.get(path)?.candidate.place === place;
    for (const candidate of matched.filter(isHeld)) files.add(candidate);
    for (const candidate of matched.filter((one) => !isHeld(one))) files.add(candidate);
    const { databases, collisions, skipped: nameless } = this.#name(files.candidates);
    this.#hasSearched = true;
    return {
      databases,
      missing: this.#nameMissing(missing, files.candidates),
      emptyGlobs,
      collisions: [...files.collisions, ...collisions],
      skipped: [...skipped, ...files.skipped, ...nameless],
    };
  }

  #absent({ path: given, entry }: Selector, error: WalrustError): AbsentPath {
    return { given, path: this.#realPaths.get(given) ?? given, entry, error };
  }

  /** Names the missing databases beside those that are there. */
  #nameMissing(missing: readonly AbsentPath[], candidates: readonly Candidate[]): MissingDatabase[] {
    if (missing.length === 0) return [];
    const present = candidates.map((candidate) => this.#nameless(candidate));
    const all = [...present, ...missing.map((one) => this.#namelessAbsent(one))];
    const claims = claimNames(all);
    return missing.map(({ given, path, error }, index) => {
      const { name, holder } = claims[candidates.length + index]!;
      return { given, path, name, namesake: holder === null ? null : all[holder]!.path, error };
    });
  }

  #namelessAbsent({ path: given, entry: own }: AbsentPath): Nameless {
    const { places, destination, file } = this.options;
    const path = realParent(given);
    const entry = own ?? file?.databases.find((one) => one.path === given || one.path === path) ?? null;
    const names = { name: entry?.name ?? null, prefix: entry?.prefix ?? null };
    // No file has the inode "": the state may be that of another file.
    const known = knownNameOf(places.of(path).paths, "", destination);
    return { path, relative: null, ...names, known, isHeld: false, isDiscovered: false };
  }

  /** A glob that cannot be read at all fails the first search; later it keeps the databases that it had. */
  async #globCandidates(
    selector: Selector,
    known: KnownCandidate,
    onUnreadable: OnUnreadable,
    onUntrusted: (error: WalrustError) => void,
  ): Promise<Candidate[]> {
    try {
      return await globCandidates(selector, this.env, onUnreadable, onUntrusted, known);
    } catch (error) {
      if (!this.#hasSearched || !(error instanceof WalrustError)) throw error;
      onUnreadable("", error);
      return [];
    }
  }

  /** The databases that a glob matched before, at or below a folder that cannot be read any more. */
  #knownBelow(folder: string, selector: Selector): Candidate[] {
    const known = [...this.#known.values()].map(({ candidate }) => candidate);
    return known.filter(({ place, path, matched = path }) => {
      return place === selector.place && (matched === folder || matched.startsWith(`${folder}/`));
    });
  }

  /** The entry of walrust.toml for each file; an entry that names a file counts before one with a glob. */
  async #entriesByPath(): Promise<Map<string, Pick<Candidate, "entry" | "relative">>> {
    const found = new Map<string, Pick<Candidate, "entry" | "relative">>();
    const selectors = selectorsOfFile(this.options.file);
    for (const selector of selectors.filter(({ isGlob }) => !isGlob)) {
      const candidate = namedCandidate(selector);
      if (!(candidate instanceof WalrustError)) found.set(candidate.path, candidate);
    }
    for (const selector of selectors.filter(({ isGlob }) => isGlob)) {
      for (const candidate of await globCandidates(selector, this.env, () => {})) {
        if (!found.has(candidate.path)) found.set(candidate.path, candidate);
      }
    }
    for (const [path, { entry, relative }] of found) found.set(path, { entry, relative });
    return found;
  }

  /** Names the candidates and forgets databases that are gone. */
  #name(candidates: readonly Candidate[]): Pick<SearchResult, "databases" | "collisions" | "skipped"> {
    const claims = claimNames(candidates.map((candidate) => this.#nameless(candidate)));
    const names = new Set(claims.map(({ name }) => name));
    const databases: FoundDatabase[] = [];
    const collisions: WalrustError[] = [];
    const skipped: WalrustError[] = [];
    for (const [index, { name, holder, isInherited }] of claims.entries()) {
      const candidate = candidates[index]!;
      const code = candidate.isDiscovered ? "database" : "usage";
      const refused = candidate.isDiscovered ? skipped : collisions;
      if (holder !== null) {
        const other = candidates[holder]!;
        const isOfRenamed = isInherited && candidate.isDiscovered;
        refused.push(isOfRenamed ? nameKept(other, candidate, name) : sameName(other, candidate, name));
        continue;
      }
      const owner = ownersInTheWay(name).find((one) => names.has(one));
      const problem = owner === undefined ? keyProblemOrNull(name) : `a file of ${owner} has that name`;
      if (problem === null) databases.push(this.#remember(candidate, name));
      else refused.push(badName(candidate, name, problem, code));
    }
    const present = new Set(databases.map(({ path }) => path));
    for (const path of this.#known.keys()) if (!present.has(path)) this.#known.delete(path);
    return { databases, collisions, skipped };
  }

  #nameless(candidate: Candidate): Nameless {
    const { path, relative, entry, isDiscovered } = candidate;
    const given = { path, relative, name: entry?.name ?? null, prefix: entry?.prefix ?? null, isDiscovered };
    return { ...given, ...this.#knownName(candidate) };
  }

  #knownName({ path, inode }: Candidate): Pick<Nameless, "known" | "isHeld"> {
    const { places, destination } = this.options;
    const held = this.#known.get(path);
    if (held !== undefined) return { known: { name: held.found.name, isOfFile: true }, isHeld: true };
    const { paths } = places.of(path);
    return { known: knownNameOf(paths, inode.slice(inode.indexOf(":") + 1), destination), isHeld: false };
  }

  #remember(candidate: Candidate, name: string): FoundDatabase {
    const { path, entry, isDiscovered } = candidate;
    const known = this.#known.get(path);
    const place = this.options.places.of(path, name);
    // The local files move when the trust in the database's folder changes.
    const isMoved = known?.found.paths.folder !== place.paths.folder;
    if (known !== undefined && known.found.name === name && !isMoved) return known.found;
    const found: FoundDatabase = { path, name, paths: place.paths, entry, isDiscovered, place };
    this.#known.set(path, { candidate, found });
    return found;
  }
}

/**
 * The entries of walrust.toml by the name of their database in the bucket: of databases whose files are here,
 * and of those whose entry gives the name.
 */
export async function entriesByName(
  { file }: Pick<Sources, "file">,
  destination: string,
  env: Pick<Env, "turn">,
  places: LocalPlaces,
): Promise<ReadonlyMap<string, DatabaseEntry>> {
  const entries = new Map<string, DatabaseEntry>();
  for (const entry of file?.databases ?? []) {
    if (entry.name !== null) entries.set(below(entry.prefix, entry.name), entry);
  }
  if (file === null || file.databases.length === 0) return entries;
  const finder = new DatabaseFinder({ paths: [], file, destination, places }, env);
  const { databases } = await finder.find();
  for (const { name, entry } of databases) if (entry !== null) entries.set(name, entry);
  return entries;
}

function sameName(a: Candidate, b: Candidate, name: string): WalrustError {
  const message = `${a.path} and ${b.path} would both be called ${name}${notWatchedText(b)}`;
  return new WalrustError(b.isDiscovered ? "database" : "usage", message, {
    hint: "Give one of them a name or a prefix in walrust.toml",
    context: { path: b.path },
  });
}

/** The folder of `holder` was renamed, and its database keeps the name that it had. */
function nameKept(holder: Candidate, { path }: Candidate, name: string): WalrustError {
  const message = `${path} is not watched: ${holder.path} has kept the name ${name} from its former place`;
  const hint = "Give one of them a name or a prefix in walrust.toml";
  return new WalrustError("database", message, { hint, context: { path } });
}

function badName(
  { path }: Candidate,
  name: string,
  problem: string,
  code: "usage" | "database",
): WalrustError {
  const message = `${path} cannot be called ${JSON.stringify(name)}: ${problem}`;
  const hint = "Rename the file or its folder, or give it a name in walrust.toml";
  return new WalrustError(code, message, { hint, context: { path } });
}

function emptyGlob({ place, path, entry }: Selector): WalrustError {
  const message = entry === null ? `${path} matches nothing` : `${place}: ${path} matches nothing`;
  return new WalrustError("config", message, {
    hint: "If its databases appear later, set allow_empty = true for it in walrust.toml",
  });
}
