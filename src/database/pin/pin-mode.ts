/**
 * PURE: how a database can be held, decided from who else uses it and how.
 *
 * A pin counts on one wal-index that everybody shares. Where somebody maps another one, or writes a WAL that
 * is not at the path, our locks protect nothing, a recovery of ours could end in a checkpoint under a writer,
 * and a wal-index that we keep alive would hide commits from the next to open. There the database is held
 * loosely: nothing is locked and no connection opened (lockless-pin.ts).
 */
import type { Condition } from "../../errors.ts";
import type { FileAliases } from "../files/file-aliases.ts";
import type { OtherConnections } from "../files/other-connections.ts";

/** What the decision is made from. */
export interface PinModeFacts extends OtherConnections, FileAliases {
  readonly path: string;
  /** A file of another engine's wal-index lies beside it: `-tshm`. */
  readonly hasOtherEngine: boolean;
  /** The WAL that the wal-index speaks of is not the file at the path: it was deleted. */
  readonly isWalGone: boolean;
  /** Commits were in the WAL that the wal-index never showed, though it was pinned again. */
  readonly hasUnseenCommits: boolean;
}

/** "pin": with locks. "lockless": without. */
export interface PinMode {
  readonly kind: "pin" | "lockless";
  /** What an operator should know, or null. */
  readonly condition: Condition | null;
}

/** The codes of the conditions that a grip can have: at most one at a time. */
export const PIN_CONDITIONS = ["not-shared", "more-than-one-name"] as const;

/** Decides how to hold a database. */
export function decidePinMode(facts: PinModeFacts): PinMode {
  const { path } = facts;
  const isNamedTwice = facts.linkCount > 1 || facts.isMounted;
  if (facts.hasOtherEngine)
    return loose(`${path}-tshm is an index of the WAL that SQLite does not use`, ENGINE);
  if (facts.isWalIndexForeign && isNamedTwice) {
    return loose(`${path} is open under another of its names (${aliasText(facts)})`, ONE_NAME);
  }
  if (facts.isWalIndexForeign) {
    const how = "the -shm was deleted under it, or it opened another name of the file";
    return loose(`${path} is open in a process that does not use ${path}-shm (${how})`, RESTART);
  }
  if (facts.isWalGone) {
    return loose(
      `${path}-wal was deleted while the application writes to it: no file has its commits`,
      CLOSE,
    );
  }
  if (facts.hasUnseenCommits) {
    return loose(`${path}-wal gets commits that SQLite's index of it does not show`, UNKNOWN);
  }
  return { kind: "pin", condition: aliasConditionOrNull(path, facts) };
}

/** The condition of a file with more than one name, or null. */
export function aliasConditionOrNull(path: string, names: FileAliases): Condition | null {
  if (names.linkCount <= 1 && !names.isMounted) return null;
  const seen = "walrust sees the -wal of this one only";
  const message = `${path} has more than one name (${aliasText(names)}), and ${seen}`;
  return { code: "more-than-one-name", health: "unhealthy", message, hint: ONE_NAME };
}

const ENGINE =
  "Switch multiprocess_wal off in the application (Turso). Delete the file when nothing uses it any more";
const ONE_NAME =
  "Use one name everywhere: mount the folder instead of the file, and replace hard links by symbolic links " +
  "or copies. SQLite keeps a -wal for each name";
const RESTART =
  "Restart the application with SIGTERM, and never delete -shm or -wal of a database in use. Where a " +
  "container mounts the file alone, mount its folder";
const CLOSE =
  "Restart the application with SIGTERM, not with SIGKILL: its last connection to close writes the commits " +
  "into the database file";
const UNKNOWN = "Restart the application, and look for a program that writes the WAL without SQLite's locks";

function aliasText({ linkCount, isMounted }: FileAliases): string {
  return isMounted ? "the file is a mount of its own" : `${linkCount} hard links`;
}

function loose(found: string, hint: string): PinMode {
  const message = `${found}; it is followed without locks`;
  return { kind: "lockless", condition: { code: "not-shared", health: "unhealthy", message, hint } };
}
