/**
 * Which databases there are now: those named on the command line or in walrust.toml, and those that globs
 * match at this moment. Each real file once: a name takes its file out of every glob.
 */
import { existsSync, realpathSync, statSync } from "node:fs";
import { resolve } from "node:path";
import type { ConfigFile } from "../config/config-file.ts";
import type { DatabaseEntry } from "../config/database-entries.ts";
import { placeText } from "../config/file-values.ts";
import type { Sources } from "../config/resolve.ts";
import { expandHome } from "../config/settings/home-path.ts";
import type { Env } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";
import { ownersInTheWay } from "../format/keys.ts";
import type { LocalPlaces, Place } from "../local/places.ts";
import { keyProblemOrNull } from "../storage/contract/object-rules.ts";
import type { AttachTarget } from "./attach-target.ts";
import { below, claimNames, knownNameOf, type Nameless } from "./names.ts";
import { escapeGlob, expandGlob, hasGlob, type OnUnreadable } from "./glob.ts";
import { foreignWayOrNull } from "./link-owner.ts";

/** A database that is there. */
export interface FoundDatabase extends AttachTarget {
  /** What walrust.toml says of it, or null. */
  readonly entry: DatabaseEntry | null;
  readonly isDiscovered: boolean;
  /** Where its files lie, and why. */
  readonly place: Place;
}

/** A named database that is not there. */
export interface MissingDatabase {
  readonly given: string;
  /** Its real path when it was last there; else as given. */
  readonly path: string;
  /** What walrust.toml says of it, or null. */
  readonly entry: DatabaseEntry | null;
  readonly error: WalrustError;
}

/** What a look around found. */
export interface Finding {
  readonly databases: readonly FoundDatabase[];
  /** Named, and not there. */
  readonly missing: readonly MissingDatabase[];
  /** Globs that match nothing, and may not. */
  readonly empty: readonly WalrustError[];
  /** Named databases that collide with another that is named. */
  readonly collisions: readonly WalrustError[];
  /**
   * Folders that could not be looked into (what was found there before still counts), and finds of globs
   * that are left out: no object can be named after them, another database has their name or their file, or
   * somebody led us to another user's file.
   */
  readonly unreadable: readonly WalrustError[];
}

/** What to look for. */
export interface FinderOptions {
  /** From the command line; if there are any, walrust.toml only says how they are replicated. */
  readonly paths: readonly string[];
  readonly file: ConfigFile | null;
  readonly destination: string;
  /** Where the files of each database lie. */
  readonly places: LocalPlaces;
}

/** Something to look for. */
interface Selector {
  /** How to call it in messages. */
  readonly place: string;
  readonly path: string;
  readonly isGlob: boolean;
  readonly entry: DatabaseEntry | null;
}

/** A file that was found. */
interface Candidate {
  readonly place: string;
  readonly path: string;
  readonly inode: string;
  readonly entry: DatabaseEntry | null;
  readonly relative: string | null;
  readonly isDiscovered: boolean;
  /** As the glob matched it: links are not resolved. */
  readonly matched?: string;
}

/** Looks again and again; what was found once keeps its object while it is there. */
export class DatabaseFinder {
  readonly #selectors: readonly Selector[];
  #hasLooked = false;
  /** Real paths of named databases, by how they are named. */
  readonly #realPaths = new Map<string, string>();
  readonly #known = new Map<string, { readonly candidate: Candidate; readonly found: FoundDatabase }>();

  constructor(
    readonly options: FinderOptions,
    readonly env: Pick<Env, "turn">,
  ) {
    const { paths, file } = options;
    this.#selectors = paths.length > 0 ? paths.map(selectorOfWord) : selectorsOf(file);
  }

  /** Whether looking again can find something else. */
  get hasGlobs(): boolean {
    return this.#selectors.some(({ isGlob }) => isGlob);
  }

  /**
   * Looks around.
   * @throws WalrustError code "database" when the fixed folder of a glob cannot be read the first time
   */
  async find(): Promise<Finding> {
    this.options.places.refresh();
    const missing: MissingDatabase[] = [];
    const empty: WalrustError[] = [];
    const unreadable: WalrustError[] = [];
    const sieve = new Sieve();
    const entries = this.options.paths.length === 0 ? null : await this.#entriesByPath();
    const named = this.#selectors.filter(({ isGlob }) => !isGlob);
    for (const selector of named) {
      const candidate = namedCandidate(selector);
      if (candidate instanceof WalrustError) missing.push(this.#missing(selector, candidate));
      else {
        this.#realPaths.set(selector.path, candidate.path);
        sieve.add({ ...candidate, ...entries?.get(candidate.path) });
      }
    }
    const globbed: Candidate[] = [];
    for (const selector of this.#selectors.filter(({ isGlob }) => isGlob)) {
      const foreign: WalrustError[] = [];
      const onUnreadable = (folder: string, error: WalrustError): void => {
        unreadable.push(error);
        globbed.push(...this.#knownBelow(folder, selector));
      };
      const candidates = await this.#globbed(selector, onUnreadable, (error) => foreign.push(error));
      unreadable.push(...foreign);
      globbed.push(...candidates.map((one) => ({ ...one, ...entries?.get(one.path) })));
      const isEmpty = candidates.length === 0 && foreign.length === 0;
      if (isEmpty && selector.entry?.allowEmpty !== true) empty.push(emptyGlob(selector));
    }
    // What is watched stays what it is, whatever other way to its file appears before it.
    const isHeld = ({ path, place }: Candidate): boolean => this.#known.get(path)?.candidate.place === place;
    for (const candidate of globbed.filter(isHeld)) sieve.add(candidate);
    for (const candidate of globbed.filter((one) => !isHeld(one))) sieve.add(candidate);
    const databases = this.#named(sieve, unreadable);
    unreadable.push(...sieve.leftOut);
    this.#hasLooked = true;
    return { databases, missing, empty, collisions: sieve.collisions, unreadable };
  }

  #missing({ path: given, entry }: Selector, error: WalrustError): MissingDatabase {
    return { given, path: this.#realPaths.get(given) ?? given, entry, error };
  }

  /**
   * A glob that cannot be looked at all is an error at first; later it keeps what it had, and the others go
   * on.
   */
  async #globbed(
    selector: Selector,
    onUnreadable: OnUnreadable,
    onForeign: (error: WalrustError) => void,
  ): Promise<Candidate[]> {
    try {
      return await globCandidates(selector, this.env, onUnreadable, onForeign);
    } catch (error) {
      if (!this.#hasLooked || !(error instanceof WalrustError)) throw error;
      onUnreadable("", error);
      return [];
    }
  }

  /** What a glob found at or below a place before that could not be looked at any more. */
  #knownBelow(folder: string, selector: Selector): Candidate[] {
    const known = [...this.#known.values()].map(({ candidate }) => candidate);
    return known.filter(({ place, path, matched = path }) => {
      return place === selector.place && (matched === folder || matched.startsWith(`${folder}/`));
    });
  }

  /** What walrust.toml says of each file it matches; what names a file comes before what globs it. */
  async #entriesByPath(): Promise<Map<string, Pick<Candidate, "entry" | "relative">>> {
    const found = new Map<string, Pick<Candidate, "entry" | "relative">>();
    const selectors = selectorsOf(this.options.file);
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

  /** Gives names; of two with one name the second is left out. */
  #named(sieve: Sieve, unreadable: WalrustError[]): FoundDatabase[] {
    const { destination } = this.options;
    const nameless = sieve.candidates.map((candidate) => ({
      path: candidate.path,
      relative: candidate.relative,
      name: candidate.entry?.name ?? null,
      prefix: candidate.entry?.prefix ?? null,
      isDiscovered: candidate.isDiscovered,
      ...this.#knownName(candidate, destination),
    }));
    const databases: FoundDatabase[] = [];
    const claims = claimNames(nameless);
    const names = new Set(claims.map(({ name }) => name));
    for (const [index, { name, holder, isInherited }] of claims.entries()) {
      const candidate = sieve.candidates[index]!;
      if (holder !== null) {
        const other = sieve.candidates[holder]!;
        // A tenant that was renamed has kept the name: who comes after it does not stop the others.
        if (isInherited && candidate.isDiscovered) unreadable.push(nameKept(other, candidate, name));
        else
          (candidate.isDiscovered ? sieve.leftOut : sieve.collisions).push(sameName(other, candidate, name));
        continue;
      }
      const owner = ownersInTheWay(name).find((one) => names.has(one));
      const problem = owner === undefined ? keyProblemOrNull(name) : `a file of ${owner} has that name`;
      if (problem !== null) {
        // Whoever makes a file with such a name below a glob does not stop the others.
        if (candidate.isDiscovered) {
          unreadable.push(noName(candidate, name, problem, "database"));
        } else sieve.collisions.push(noName(candidate, name, problem, "usage"));
        continue;
      }
      databases.push(this.#remember(candidate, name));
    }
    const present = new Set(databases.map(({ path }) => path));
    for (const path of this.#known.keys()) if (!present.has(path)) this.#known.delete(path);
    return databases;
  }

  #knownName({ path, inode }: Candidate, destination: string): Pick<Nameless, "known" | "isHeld"> {
    const held = this.#known.get(path);
    if (held !== undefined) return { known: { name: held.found.name, isOfFile: true }, isHeld: true };
    const { paths } = this.options.places.of(path);
    return { known: knownNameOf(paths, inode.slice(inode.indexOf(":") + 1), destination), isHeld: false };
  }

  #remember(candidate: Candidate, name: string): FoundDatabase {
    const { path, entry, isDiscovered } = candidate;
    const known = this.#known.get(path);
    const place = this.options.places.of(path, name);
    // Somebody else may write there now, or no more: its files lie elsewhere from here on.
    const isMoved = known?.found.paths.folder !== place.paths.folder;
    if (known !== undefined && known.found.name === name && !isMoved) return known.found;
    const found: FoundDatabase = { path, name, paths: place.paths, entry, isDiscovered, place };
    this.#known.set(path, { candidate, found });
    return found;
  }
}

/**
 * What walrust.toml says of databases, by what they are called in the bucket: those whose files are here, and
 * those that have a name there.
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

/** Keeps each file once. */
class Sieve {
  readonly candidates: Candidate[] = [];
  /** Of what is named. */
  readonly collisions: WalrustError[] = [];
  /** Of what globs found. */
  readonly leftOut: WalrustError[] = [];
  readonly #byPath = new Map<string, Candidate>();
  readonly #byInode = new Map<string, Candidate>();

  add(candidate: Candidate): void {
    const samePath = this.#byPath.get(candidate.path);
    const isTaken = samePath !== undefined && candidate.isDiscovered;
    // A glob leaves out what is named, and takes what several links lead to once.
    if (isTaken && (!samePath.isDiscovered || samePath.place === candidate.place)) return;
    const other = samePath ?? this.#byInode.get(candidate.inode);
    if (other !== undefined) {
      (candidate.isDiscovered ? this.leftOut : this.collisions).push(sameFile(other, candidate));
      return;
    }
    this.#byPath.set(candidate.path, candidate);
    this.#byInode.set(candidate.inode, candidate);
    this.candidates.push(candidate);
  }
}

function selectorOfWord(word: string): Selector {
  const literal = expandHome(word);
  const isGlob = hasGlob(word) && !existsSync(literal);
  const path = isGlob ? resolve(escapeGlob(process.cwd()), expandHome(word, escapeGlob)) : resolve(literal);
  return { place: word, path, isGlob, entry: null };
}

function selectorsOf(file: ConfigFile | null): Selector[] {
  if (file === null) return [];
  return file.databases.map((entry) => ({
    place: placeText(file, entry),
    path: entry.path,
    isGlob: entry.isGlob,
    entry,
  }));
}

function namedCandidate(selector: Selector): Candidate | WalrustError {
  const { place, path: given, entry } = selector;
  const what = entry === null ? given : `${given} (${place})`;
  try {
    const path = realpathSync(given);
    const stats = statSync(path);
    const foreign = foreignWayOrNull(given, path, stats);
    if (foreign !== null) return notFollowed(given, foreign);
    const { dev, ino } = stats;
    return { place, path, inode: `${dev}:${ino}`, entry, relative: null, isDiscovered: false };
  } catch (error) {
    return new WalrustError("database", `Cannot find ${what}: ${systemCode(error)}`, {
      hint: "The database must exist before it is watched",
      context: { path: given },
      cause: error,
    });
  }
}

async function globCandidates(
  selector: Selector,
  env: Pick<Env, "turn">,
  onUnreadable: OnUnreadable,
  onForeign: (error: WalrustError) => void = () => {},
): Promise<Candidate[]> {
  const { place, entry } = selector;
  const direct: Candidate[] = [];
  const linked: Candidate[] = [];
  for (const { path: matched, relative } of await expandGlob(selector.path, env, onUnreadable)) {
    const present = presentOrNull(matched, onUnreadable, onForeign);
    if (present === null) continue;
    const isLink = present.path !== matched;
    (isLink ? linked : direct).push({ ...present, place, entry, relative, isDiscovered: true, matched });
  }
  // Where a link and the file it leads to both match, the name comes from the file.
  return [...direct, ...linked];
}

/** Null for what is no database yet, is gone, or was reported. */
function presentOrNull(
  matched: string,
  onUnreadable: OnUnreadable,
  onForeign: (error: WalrustError) => void,
): { path: string; inode: string } | null {
  try {
    const path = realpathSync(matched);
    const stats = statSync(path);
    const { dev, ino, size } = stats;
    // An empty file is no database yet.
    if (size === 0) return null;
    const foreign = foreignWayOrNull(matched, path, stats);
    if (foreign === null) return { path, inode: `${dev}:${ino}` };
    onForeign(notFollowed(matched, foreign));
    return null;
  } catch (cause) {
    const code = systemCode(cause) ?? String(cause);
    // It went between the two looks; anything else does not say that it is gone.
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    const message = `Cannot look at ${matched}: ${code}`;
    const context = { path: matched };
    onUnreadable(matched, new WalrustError("database", message, { context, retryable: true, cause }));
    return null;
  }
}

function notFollowed(path: string, foreign: string): WalrustError {
  return new WalrustError("database", `${path} is not followed: ${foreign}`, {
    hint: "Name the database itself, or give the link to its owner (chown -h)",
    context: { path },
  });
}

function sameFile(a: Candidate, b: Candidate): WalrustError {
  const isSamePath = a.path === b.path;
  const [first, second] = isSamePath ? [a.place, b.place] : [a.path, b.path];
  const what = `${first} and ${second} are the same database${isSamePath ? ` ${a.path}` : ""}`;
  const left = isSamePath && b.isDiscovered ? "; the first counts" : leftOutText(b);
  return new WalrustError(b.isDiscovered ? "database" : "usage", `${what}${left}`, {
    hint: "Name each database once",
    context: { path: b.path },
  });
}

function sameName(a: Candidate, b: Candidate, name: string): WalrustError {
  const message = `${a.path} and ${b.path} would both be called ${name}${leftOutText(b)}`;
  return new WalrustError(b.isDiscovered ? "database" : "usage", message, {
    hint: "Give one of them a name or a prefix in walrust.toml",
    context: { path: b.path },
  });
}

/** A find of a glob does not stop the others. */
function leftOutText({ path, isDiscovered }: Candidate): string {
  return isDiscovered ? `; ${path} is not watched` : "";
}

function nameKept(holder: Candidate, { path }: Candidate, name: string): WalrustError {
  const what = `${path} is not watched: ${holder.path} has kept the name ${name} from where it was before`;
  const hint = "Give one of them a name or a prefix in walrust.toml";
  return new WalrustError("database", what, { hint, context: { path } });
}

function noName(
  { path }: Candidate,
  name: string,
  problem: string,
  code: "usage" | "database",
): WalrustError {
  return new WalrustError(
    code,
    `${path} would be called ${JSON.stringify(name)}, which cannot be: ${problem}`,
    {
      hint: "Rename the file or its folder, or give it a name in walrust.toml",
      context: { path },
    },
  );
}

function emptyGlob({ place, path, entry }: Selector): WalrustError {
  return new WalrustError(
    "config",
    entry === null ? `${path} matches nothing` : `${place}: ${path} matches nothing`,
    {
      hint: "If databases appear later, say allow_empty = true for it in walrust.toml",
    },
  );
}
