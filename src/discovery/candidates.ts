/**
 * Candidates: the files that a selector leads to at this moment, with links resolved. A file that is only
 * reached over an untrusted link is reported instead (link-trust.ts).
 */
import { type BigIntStats, realpathSync, type Stats, statSync } from "node:fs";
import type { DatabaseEntry } from "../config/database-entries.ts";
import { answerText, permissionHintOrNull } from "../database/files/regular-file.ts";
import type { Env } from "../env.ts";
import { systemCode, WalrustError } from "../errors.ts";
import { expandGlob, type OnUnreadable } from "./glob.ts";
import { linkDistrustOrNull } from "./link-trust.ts";
import type { Selector } from "./selectors.ts";

/** A file that a selector leads to. */
export interface Candidate {
  /** The selector's place. */
  readonly place: string;
  /** Real path. */
  readonly path: string;
  /** `device:inode` */
  readonly inode: string;
  readonly entry: DatabaseEntry | null;
  /** The path below the fixed folder of the glob that matched, or null. */
  readonly relative: string | null;
  /** Whether a glob matched it. */
  readonly isDiscovered: boolean;
  /** The path as the glob matched it, links not resolved. */
  readonly matched?: string;
}

/**
 * The candidate that an earlier search found at a real path, if any. Its links need no resolving again while
 * one stat shows the same file, with no other name, at a path without links.
 */
export type KnownCandidate = (path: string) => Candidate | undefined;

const NOTHING_KNOWN: KnownCandidate = () => undefined;

/** The file that a path leads to, or the error that there is none. */
export function namedCandidate(
  { place, path: given, entry }: Selector,
  known = NOTHING_KNOWN,
): Candidate | WalrustError {
  try {
    const { path, inode, distrust } = resolve(given, known);
    if (distrust !== null) return notFollowed(given, distrust);
    return { place, path, inode, entry, relative: null, isDiscovered: false };
  } catch (error) {
    const shown = entry === null ? given : `${given} (${place})`;
    return new WalrustError("database", `Cannot find ${shown}: ${answerText(error)}`, {
      hint: permissionHintOrNull(given, error) ?? "The database must exist before it is watched",
      context: { path: given },
      cause: error,
    });
  }
}

/** A file that a path leads to, and why the way there is not followed, or null. */
interface Resolved {
  readonly path: string;
  /** `device:inode` */
  readonly inode: string;
  readonly sizeBytes: number;
  readonly distrust: string | null;
}

/** Resolves the links of a path. @throws the system's error when there is no file */
function resolve(given: string, known: KnownCandidate): Resolved {
  const before = known(given);
  const found = before === undefined ? null : statSync(given);
  if (found !== null && found.nlink === 1 && before?.inode === inodeOf(found, exactStats(given)))
    return { path: given, inode: before.inode, sizeBytes: found.size, distrust: null };
  const path = realpathSync(given);
  const stats = statSync(path);
  const distrust = linkDistrustOrNull(given, path, stats);
  return { path, inode: inodeOf(stats, exactStats(path)), sizeBytes: stats.size, distrust };
}

/**
 * Device and inode number as a text, exact to the last digit. Some file systems number files in all 64 bits,
 * such as an overlay with the layer in the highest bits; doubles round such numbers.
 * @param readExact reads the same stats as bigints
 */
export function inodeOf(
  { dev, ino }: Pick<Stats, "dev" | "ino">,
  readExact: () => Pick<BigIntStats, "dev" | "ino">,
): string {
  if (Number.isSafeInteger(dev) && Number.isSafeInteger(ino)) return `${dev}:${ino}`;
  const exact = readExact();
  return `${exact.dev}:${exact.ino}`;
}

function exactStats(path: string): () => BigIntStats {
  return () => statSync(path, { bigint: true });
}

/**
 * The files that a glob matches. A file that is matched both directly and over a link comes directly first,
 * so that it is named after its own path.
 * @param onUnreadable receives each folder or file that cannot be read
 * @param onUntrusted receives an error for each match that is reached over an untrusted link
 * @throws WalrustError as `expandGlob`
 */
export async function globCandidates(
  selector: Selector,
  env: Pick<Env, "turn">,
  onUnreadable: OnUnreadable,
  onUntrusted: (error: WalrustError) => void = () => {},
  known = NOTHING_KNOWN,
): Promise<Candidate[]> {
  const { place, entry } = selector;
  const direct: Candidate[] = [];
  const linked: Candidate[] = [];
  for (const { path: matched, relative } of await expandGlob(selector.path, env, onUnreadable)) {
    const present = presentOrNull(matched, onUnreadable, onUntrusted, known);
    if (present === null) continue;
    const isLink = present.path !== matched;
    (isLink ? linked : direct).push({ ...present, place, entry, relative, isDiscovered: true, matched });
  }
  return [...direct, ...linked];
}

/** The file behind a match. Null: it is empty, gone, or was reported. */
function presentOrNull(
  matched: string,
  onUnreadable: OnUnreadable,
  onUntrusted: (error: WalrustError) => void,
  known: KnownCandidate,
): Pick<Candidate, "path" | "inode"> | null {
  try {
    const { path, inode, sizeBytes, distrust } = resolve(matched, known);
    // An empty file is no database yet.
    if (sizeBytes === 0) return null;
    if (distrust === null) return { path, inode };
    onUntrusted(notFollowed(matched, distrust));
    return null;
  } catch (cause) {
    const code = systemCode(cause) ?? String(cause);
    // The file was deleted after the glob matched it. No other error proves that it is gone.
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    const hint = permissionHintOrNull(matched, cause);
    const context = { path: matched };
    const details = { ...(hint === null ? {} : { hint }), context, retryable: true, cause };
    onUnreadable(
      matched,
      new WalrustError("database", `Cannot read ${matched}: ${answerText(cause)}`, details),
    );
    return null;
  }
}

function notFollowed(path: string, distrust: string): WalrustError {
  return new WalrustError("database", `${path} is not followed: ${distrust}`, {
    hint: "Name the database itself, or give the link to its owner (chown -h)",
    context: { path },
  });
}
