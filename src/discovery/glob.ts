/**
 * Finds the files that a glob matches: the databases of hundreds of tenants, every few seconds.
 *
 * The walk below the glob's fixed folder covers all alternatives of the pattern at once. Each folder carries
 * the set of segments that may come next, so it is read at most once, and each file is found at most once. A
 * plain name costs one `stat` and no listing: `/var/lib/ * /app.db` (without the blanks) lists `/var/lib` and
 * nothing below it.
 *
 * Invariants:
 * 1. A folder that cannot be read is thrown or reported, never taken for an empty one: the caller stops
 *    replicating databases that no glob matches any more.
 * 2. Only regular files are found: neither SQLite's -wal, -shm and -journal nor the files of walrust itself.
 * 3. The walk ends: `**` follows no symbolic link to a folder, and any other segment takes one step down.
 */
import { type Dirent, lstatSync, readdirSync, type Stats, statSync } from "node:fs";
import { escapeGlob, type GlobSegment, parseGlob, splitGlob } from "../config/glob-pattern.ts";
import type { Env } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";

export { escapeGlob, hasGlob, splitGlob, unescapeGlob } from "../config/glob-pattern.ts";

const ENTRIES_MAX = 1_000_000;
const ENTRIES_PER_TURN = 256;

/** A file that a glob matches. */
export interface GlobMatch {
  /** Absolute, as matched; symbolic links and `..` are not resolved. */
  readonly path: string;
  /** The path below the glob's fixed folder. */
  readonly relative: string;
}

/**
 * Receives, once, each folder below the fixed one that cannot be read, and each link that cannot be followed.
 * The search then goes on.
 */
export type OnUnreadable = (folder: string, error: WalrustError) => void;

/**
 * Finds the regular files that a glob matches, sorted by path. A missing folder holds no match.
 * @param pattern in the language of glob-pattern.ts; a relative one begins at the working directory
 * @param onUnreadable without it, an unreadable folder ends the search with an error
 * @throws WalrustError code "database" naming a folder that cannot be read, or when the walk meets too many
 * files; "config" for a pattern with too many alternatives
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

/** Whether a glob would match a file at an absolute path, if one were there. */
export function matchesGlob(pattern: string, path: string): boolean {
  const names = path.split("/").filter((name) => name !== "");
  return parseGlob(pattern).some((segments) => matchesNames(segments, names));
}

function matchesNames(segments: readonly GlobSegment[], names: readonly string[]): boolean {
  const [segment, ...below] = segments;
  const [name, ...rest] = names;
  if (segment === undefined || name === undefined) return segment === undefined && name === undefined;
  if (segment.kind === "name") return segment.name === name && matchesNames(below, rest);
  const isHidden = name.startsWith(".");
  if (segment.kind === "deep")
    return matchesNames(below, names) || (!isHidden && matchesNames(segments, rest));
  return (!isHidden || segment.isForHidden) && segment.glob.match(name) && matchesNames(below, rest);
}

/** A segment and the segment below it; null: the segment matches the file itself. */
interface Step {
  readonly segment: GlobSegment;
  readonly next: Step | null;
}

/** A folder to read, and the segments that may match in it. */
interface Visit {
  readonly folder: string;
  readonly steps: readonly Step[];
}

/** The use of one entry of a folder: as a match, and as a folder on the way to matches. */
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
  /** Folders and links that were reported. */
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
      await this.#read(visit);
    }
    return this.#matches.sort((a, b) => (a.path < b.path ? -1 : a.path > b.path ? 1 : 0));
  }

  async #read({ folder, steps }: Visit): Promise<void> {
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
    // A name may exist without being listed: `..`, or another case on some file systems.
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

  /** Takes the file, or queues the folder. A kind "unknown" or "link" is resolved only where it matters. */
  #arrive(folder: string, name: string, reach: Reach, kind: EntryKind): void {
    const isFile = reach.isFile && !isLeftover(name);
    const isFolder = reach.steps.length > 0 && !isOwnFolder(name);
    if (!isFile && !isFolder) return;
    const path = below(folder, name);
    let found = kind;
    // An unknown folder on the way needs no stat: its entries will show whether it is one.
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
   * Runs a file operation. Null: nothing is there, or the folder (or link) was reported as unreadable.
   * @param path the path that the operation follows, if it may be a link: the report then names the link
   */
  #tryIn<T>(folder: string, operation: () => T, path?: string): T | null {
    try {
      return operation();
    } catch (cause) {
      const place = path !== undefined && isLink(path) ? path : folder;
      const code = systemCode(cause) ?? String(cause);
      // ELOOP: a symbolic link to itself leads nowhere, like one whose target is missing.
      if (code === "ENOENT" || code === "ENOTDIR" || code === "ELOOP") return null;
      const error = new WalrustError("database", `Cannot look for databases at ${place}: ${code}`, {
        hint:
          code === "EACCES" || code === "EPERM"
            ? `Let the user of walrust read ${place} and the folders above it, or narrow ${this.#pattern}`
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
      throw new WalrustError("database", `${this.#pattern} covers more than ${ENTRIES_MAX} files`, {
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

/** The steps, and for each `**` also the step after it: any depth includes none. */
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
  // A name that is not UTF-8 arrives with U+FFFD and cannot be opened: only a stat shows the kind.
  if ("name" in entry && entry.name.includes("\uFFFD")) return "unknown";
  if (entry.isFile()) return "file";
  if (entry.isDirectory()) return "folder";
  if (entry.isSymbolicLink()) return "link";
  const isOther = entry.isSocket() || entry.isFIFO() || entry.isCharacterDevice() || entry.isBlockDevice();
  // The listings of some file systems do not give the kind of an entry.
  return isOther ? "other" : "unknown";
}

/** Whether this is the state folder of a database, in place or moved aside by a restore. */
function isStateFolder(name: string): boolean {
  return /^\..+-walrust(\.pre-restore-.+)?$/s.test(name);
}

/** Whether this is a state folder, or a temporary folder of `verify --restore` or `compact`. */
function isOwnFolder(name: string): boolean {
  return isStateFolder(name) || /^walrust-(verify|compact)-[0-9A-Za-z]{6}$/.test(name);
}

/**
 * Whether this file belongs to a database and is none itself: SQLite's -wal, -shm and -journal, a file that a
 * restore moved aside or is building, and the files of a replica.
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
