/**
 * Candidates: the files that a selector leads to at this moment, with links resolved. A file that is only
 * reached over an untrusted link is reported instead (link-trust.ts).
 */
import { realpathSync, statSync } from "node:fs";
import type { DatabaseEntry } from "../config/database-entries.ts";
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

/** The file that a path leads to, or the error that there is none. */
export function namedCandidate({ place, path: given, entry }: Selector): Candidate | WalrustError {
  try {
    const path = realpathSync(given);
    const stats = statSync(path);
    const distrust = linkDistrustOrNull(given, path, stats);
    if (distrust !== null) return notFollowed(given, distrust);
    const { dev, ino } = stats;
    return { place, path, inode: `${dev}:${ino}`, entry, relative: null, isDiscovered: false };
  } catch (error) {
    const shown = entry === null ? given : `${given} (${place})`;
    return new WalrustError("database", `Cannot find ${shown}: ${systemCode(error)}`, {
      hint: "The database must exist before it is watched",
      context: { path: given },
      cause: error,
    });
  }
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
): Promise<Candidate[]> {
  const { place, entry } = selector;
  const direct: Candidate[] = [];
  const linked: Candidate[] = [];
  for (const { path: matched, relative } of await expandGlob(selector.path, env, onUnreadable)) {
    const present = presentOrNull(matched, onUnreadable, onUntrusted);
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
): Pick<Candidate, "path" | "inode"> | null {
  try {
    const path = realpathSync(matched);
    const stats = statSync(path);
    const { dev, ino, size } = stats;
    // An empty file is no database yet.
    if (size === 0) return null;
    const distrust = linkDistrustOrNull(matched, path, stats);
    if (distrust === null) return { path, inode: `${dev}:${ino}` };
    onUntrusted(notFollowed(matched, distrust));
    return null;
  } catch (cause) {
    const code = systemCode(cause) ?? String(cause);
    // The file was deleted after the glob matched it. No other error proves that it is gone.
    if (code === "ENOENT" || code === "ENOTDIR") return null;
    const message = `Cannot read ${matched}: ${code}`;
    const context = { path: matched };
    onUnreadable(matched, new WalrustError("database", message, { context, retryable: true, cause }));
    return null;
  }
}

function notFollowed(path: string, distrust: string): WalrustError {
  return new WalrustError("database", `${path} is not followed: ${distrust}`, {
    hint: "Name the database itself, or give the link to its owner (chown -h)",
    context: { path },
  });
}
