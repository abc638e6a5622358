/**
 * Finds the files that a path pattern names: the databases of hundreds of tenants, looked at every few
 * seconds.
 *
 * The tree below the pattern's fixed folder is walked once for all alternatives of the pattern: every folder
 * carries the set of pattern segments that may come next, so it is read at most once and every file is found
 * at most once. A plain name costs one `stat` and no listing: `/var/lib/ * /app.db` (without the blanks)
 * lists `/var/lib` and nothing below it.
 *
 * Invariants:
 * 1. What cannot be looked into is an error or is reported, never "no match": a caller lets go of databases
 *    that are gone, and must not take a denied folder for an empty one.
 * 2. Only regular files are found, never SQLite's companions or what walrust itself leaves.
 * 3. `**` follows no symlinked folder, and every other segment takes one step down: the walk ends.
 */
import { type Dirent, lstatSync, readdirSync, type Stats, statSync } from "node:fs";
import { escapeGlob, type GlobSegment, parseGlob, splitGlob } from "../config/glob-pattern.ts";
import type { Env } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";

export { escapeGlob, hasGlob, splitGlob, unescapeGlob } from "../config/glob-pattern.ts";

const ENTRIES_MAX = 1_000_000;
const ENTRIES_PER_TURN = 256;

/** A file that a pattern names. */
export interface GlobMatch {
  /** Absolute, as matched: symlinks and `..` are not resolved. */
  readonly path: string;
  /** The path below the pattern's fixed folder. */
  readonly relative: string;
}

/**
 * Told once of each folder below the fixed one that cannot be looked into (or link that cannot be followed),
 * instead of ending the search.
 */
export type OnUnreadable = (folder: string, error: WalrustError) => void;

/**
 * Finds the regular files that a pattern names, sorted by path. A folder that is missing holds no match.
 * @param pattern the language of glob-pattern.ts; a relative one begins at the working directory
 * @param onUnreadable default: an error. What was known below such a folder is not gone, only not seen.
 * @throws WalrustError code "database" naming a folder that cannot be looked into, or when there is too much
 * to look at; "config" for a pattern with too many alternatives
 */
export async function expandGlob(
  pattern: string,
  env: Pick<Env, "turn">,
  onUnreadable?: OnUnreadable,
): Promise<GlobMatch[]> {
  const absolute = pattern.startsWith("/") ? pattern : `${escapeGlob(process.cwd())}/${pattern}`;
  const { fixed, rest } = splitGlob(absolute);
  if (fixed.split("/").some(isStateFolder)) return [];
  const walk = new GlobWalk(pattern, fixed, env, onUnreadable);
  return walk.run(parseGlob(rest).map((segments) => linkSteps(segments)));
}

/** A segment, and what must follow below it; null: the file itself. */
interface Step {
  readonly segment: GlobSegment;
  readonly next: Step | null;
}

/** A folder to look into, and what may come next there. */
interface Visit {
  readonly folder: string;
  readonly steps: readonly Step[];
}

/** What an entry of a folder is for the pattern. */
interface Reach {
  isFile: boolean;
  readonly steps: Step[];
}

type EntryKind = "file" | "folder" | "link" | "other" | "unknown";

class GlobWalk {
  readonly #pattern: string;
  readonly #fixed: string;
  readonly #env: Pick<Env, "turn">;
  readonly #onUnreadable: OnUnreadable | undefined;
  readonly #open: Visit[] = [];
  /** What has been reported. */
  readonly #unreadable = new Set<string>();
  readonly #matches: GlobMatch[] = [];
  #entryCount = 0;

  constructor(pattern: string, fixed: string, env: Pick<Env, "turn">, onUnreadable?: OnUnreadable) {
    this.#pattern = pattern;
    this.#fixed = fixed;
    this.#env = env;
    this.#onUnreadable = onUnreadable;
  }

  async run(steps: readonly Step[]): Promise<GlobMatch[]> {
    this.#open.push({ folder: this.#fixed, steps });
    for (let visit = this.#open.pop(); visit !== undefined; visit = this.#open.pop()) {
      await this.#look(visit);
    }
    return this.#matches.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  }

  async #look({ folder, steps }: Visit): Promise<void> {
    const reachable = withSkippedDeep(steps);
    const named = new Map<string, Reach>();
    for (const { segment, next } of reachable) {
      if (segment.kind !== "name") continue;
      const reach = named.get(segment.name) ?? { isFile: false, steps: [] };
      add(reach, next);
      named.set(segment.name, reach);
    }
    if ([...reachable].some((step) => step.segment.kind !== "name")) {
      for (const entry of this.#tryIn(folder, () => readdirSync(folder, { withFileTypes: true })) ?? []) {
        if (this.#isTurnDue()) await this.#env.turn();
        const reach = named.get(entry.name) ?? { isFile: false, steps: [] };
        named.delete(entry.name);
        this.#match(folder, entry, reachable, reach);
      }
    }
    // What is not in the listing may exist all the same: `..`, other cases on some file systems.
    for (const [name, reach] of named) {
      if (this.#isTurnDue()) await this.#env.turn();
      this.#arrive(folder, name, reach, "unknown");
    }
  }

  #match(folder: string, entry: Dirent, reachable: ReadonlySet<Step>, reach: Reach): void {
    const { name } = entry;
    const isHidden = name.startsWith(".");
    for (const { segment, next } of reachable) {
      if (segment.kind !== "match" || (isHidden && !segment.isForHidden)) continue;
      if (segment.glob.match(name)) add(reach, next);
    }
    let kind = kindOf(entry);
    if (!isHidden && (kind === "folder" || kind === "unknown")) {
      const deep = [...reachable].filter((step) => step.segment.kind === "deep");
      if (deep.length > 0 && kind === "unknown") {
        const stats = this.#tryIn(folder, () => lstatSync(below(folder, name)));
        kind = stats === null ? "other" : kindOf(stats);
      }
      if (kind === "folder") for (const step of deep) if (!reach.steps.includes(step)) reach.steps.push(step);
    }
    this.#arrive(folder, name, reach, kind);
  }

  /**
   * Takes the file, or goes into the folder. `kind` "unknown" and "link" are looked at only if it matters.
   */
  #arrive(folder: string, name: string, reach: Reach, kind: EntryKind): void {
    const isFile = reach.isFile && !isLeftover(name);
    const isFolder = reach.steps.length > 0 && !isOwnFolder(name);
    if (!isFile && !isFolder) return;
    const path = below(folder, name);
    let found = kind;
    // A folder on the way to something is not looked at: what is below it will be.
    if ((kind === "unknown" || kind === "link") && (isFile || kind === "link")) {
      const stats = this.#tryIn(folder, () => statSync(path), path);
      if (stats === null) return;
      found = kindOf(stats);
    }
    if (isFile && found === "file") this.#matches.push({ path, relative: this.#relative(path) });
    if (isFolder && (found === "folder" || found === "unknown")) {
      this.#open.push({ folder: path, steps: reach.steps });
    }
  }

  #relative(path: string): string {
    return path.slice(this.#fixed === "/" ? 1 : this.#fixed.length + 1);
  }

  /**
   * Null when nothing is there, or when it was reported that `place` cannot be looked into.
   * @param path what is followed, if it may be a link: one that leads to what is denied is itself the place
   */
  #tryIn<T>(folder: string, look: () => T, path?: string): T | null {
    try {
      return look();
    } catch (cause) {
      const place = path !== undefined && isLink(path) ? path : folder;
      const code = systemCode(cause) ?? String(cause);
      // ELOOP: a symlink to itself leads nowhere, like one whose target is missing.
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return null;
      const error = new WalrustError("database", `Cannot look for databases at ${place}: ${code}`, {
        hint:
          code === "EACCES" || code === "EPERM"
            ? `Let walrust's user read ${place} and the folders above it, or narrow ${this.#pattern}`
            : `Check the file system of ${place}`,
        context: { folder: place, code },
        retryable: true,
        cause,
      });
      if (this.#onUnreadable === undefined || place === this.#fixed) throw error;
      if (!this.#unreadable.has(place)) this.#onUnreadable(place, error);
      this.#unreadable.add(place);
      return null;
    }
  }

  #isTurnDue(): boolean {
    this.#entryCount++;
    if (this.#entryCount > ENTRIES_MAX) {
      throw new WalrustError("database", `${this.#pattern} looks at more than ${ENTRIES_MAX} files`, {
        hint: "Narrow the pattern: name the folders of the databases instead of **",
        context: { pattern: this.#pattern },
      });
    }
    return this.#entryCount % ENTRIES_PER_TURN === 0;
  }
}

function linkSteps(segments: readonly GlobSegment[]): Step {
  let step: Step | null = null;
  for (const segment of segments.toReversed()) step = { segment, next: step };
  return step!;
}

/** The steps with, for each `**`, what follows it: any depth includes none. */
function withSkippedDeep(steps: readonly Step[]): Set<Step> {
  const reachable = new Set(steps);
  for (const step of reachable)
    if (step.segment.kind === "deep" && step.next !== null) reachable.add(step.next);
  return reachable;
}

function add(reach: Reach, next: Step | null): void {
  if (next === null) reach.isFile = true;
  else if (!reach.steps.includes(next)) reach.steps.push(next);
}

function below(folder: string, name: string): string {
  return folder === "/" ? `/${name}` : `${folder}/${name}`;
}

function isLink(path: string): boolean {
  try {
    return lstatSync(path).isSymbolicLink();
  } catch {
    return false;
  }
}

function kindOf(entry: Dirent | Stats): EntryKind {
  // A name that is not UTF-8 arrives with U+FFFD and leads nowhere: only a look tells.
  if ("name" in entry && entry.name.includes("\uFFFD")) return "unknown";
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "folder";
  if (entry.isSymbolicLink()) return "link";
  const isOther = entry.isSocket() || entry.isFIFO() || entry.isCharacterDevice() || entry.isBlockDevice();
  // Some file systems do not say in a listing what an entry is.
  return isOther ? "other" : "unknown";
}

/** The state folder of a database, in place or moved aside by a restore. */
function isStateFolder(name: string): boolean {
  return /^\..+-walrust(\.pre-restore-.+)?$/s.test(name);
}

/**
 * A state folder, or the temporary folder of a `verify --restore` or `compact` with TMPDIR below the glob.
 */
function isOwnFolder(name: string): boolean {
  return isStateFolder(name) || /^walrust-(verify|compact)-[0-9A-Za-z]{6}$/.test(name);
}

/**
 * Files that are no database to watch: SQLite's companions, what a restore moved aside or is building, the
 * state of a replica and the file its newer state is built as.
 */
function isLeftover(name: string): boolean {
  return (
    /-(wal|shm|journal)$/.test(name) ||
    name.includes(".pre-restore-") ||
    /^\..+\.restore-[0-9a-f]{12}$/s.test(name) ||
    /^\..+\.bootstrap$/s.test(name) ||
    /-replica-state(\.tmp)?$/.test(name)
  );
}
