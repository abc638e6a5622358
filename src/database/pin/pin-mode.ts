/**
 * PURE: decides from the other connections to a database whether it is pinned or followed without locks.
 *
 * A pin relies on one wal-index that all connections share. If a connection maps another wal-index, or writes
 * a WAL that is not at the path, our locks protect nothing. A recovery by us could end in a checkpoint under
 * a writer, and a wal-index that we keep alive would hide commits from the next connection. Such a database
 * is followed without locks and without a connection (lockless-pin.ts).
 */
import type { Condition } from "../../errors.ts";
import type { FileAliases } from "../files/file-aliases.ts";
import type { OtherConnections } from "../files/other-connections.ts";

/** The facts of the decision. */
export interface PinModeFacts extends OtherConnections, FileAliases {
  readonly path: string;
  /** The wal-index file of another engine, `-tshm`, lies beside the database. */
  readonly hasOtherEngine: boolean;
  /** The WAL of the wal-index was deleted: it is not the file at the path. */
  readonly isWalGone: boolean;
  /** The processes that map another wal-index write the WAL at the path. */
  readonly isForeignWalRead: boolean;
  /** The WAL held commits that the wal-index never showed, even after another pin. */
  readonly hasUnseenCommits: boolean;
}

/** The mode, with its condition. "pin": with locks. "lockless": without locks. */
export interface PinMode {
  readonly kind: "pin" | "lockless";
  /** The condition to report to the operator, or null. */
  readonly condition: Condition | null;
}

/** The codes of these conditions: a database has at most one at a time. */
export const PIN_CONDITIONS = ["not-shared", "more-than-one-name"] as const;

/** Decides the mode. */
export function decidePinMode(facts: PinModeFacts): PinMode {
  const { path } = facts;
  const isNamedTwice = facts.linkCount > 1 || facts.isMounted;
  if (facts.hasOtherEngine) return lockless(`${path}-tshm is a wal-index that SQLite does not use`, ENGINE);
  if (facts.isWalIndexForeign && facts.isForeignWalRead) {
    return lockless(`${path} is open in a process that does not use ${path}-shm (it was deleted)`, RESTART);
  }
  if (facts.isWalIndexForeign && isNamedTwice) {
    return lockless(`${path} is open under another of its names (${aliasText(facts)})`, ONE_NAME);
  }
  if (facts.isWalIndexForeign) {
    const how = "they were deleted under it, or it opened another name of the file";
    return lockless(`${path} is open in a process that does not use ${path}-shm and -wal (${how})`, REOPEN);
  }
  if (facts.isWalGone) {
    return lockless(
      `${path}-wal was deleted while the application writes to it: no file has its commits`,
      CLOSE,
    );
  }
  if (facts.hasUnseenCommits) {
    return lockless(`${path}-wal gets commits that its wal-index does not show`, UNKNOWN);
  }
  return { kind: "pin", condition: aliasConditionOrNull(path, facts) };
}

/** The condition of a file with more than one name, or null. */
export function aliasConditionOrNull(path: string, names: FileAliases): Condition | null {
  if (names.linkCount <= 1 && !names.isMounted) return null;
  const reads = "walrust reads the -wal of this name only";
  const message = `${path} has more than one name (${aliasText(names)}), and ${reads}`;
  return { code: "more-than-one-name", health: "unhealthy", message, hint: ONE_NAME };
}

/** Whether commits are in a -wal that walrust cannot read, so that nothing captures them. */
export function hidesCommits({ code, hint }: Condition): boolean {
  return code === "not-shared" && (hint === CLOSE || hint === REOPEN || hint === ONE_NAME);
}

const ENGINE =
  "Switch multiprocess_wal off in the application (Turso), and delete the file when no process uses it";
const ONE_NAME =
  "Use one name everywhere: mount the folder instead of the file, and replace hard links by symbolic links " +
  "or copies. SQLite keeps a -wal for each name";
const RESTART = "Restart the application with SIGTERM, and never delete -shm or -wal of a database in use";
const CLOSE =
  "Restart the application with SIGTERM, not with SIGKILL: its last connection to close writes the commits " +
  "into the database file";
const REOPEN = `${CLOSE}. Where a container mounts the file alone, mount its folder`;
const UNKNOWN = "Restart the application, and find the program that writes the WAL without SQLite's locks";

function aliasText({ linkCount, isMounted }: FileAliases): string {
  return isMounted ? "the file is a mount of its own" : `${linkCount} hard links`;
}

function lockless(found: string, hint: string): PinMode {
  const message = `${found}; walrust follows it without locks`;
  return { kind: "lockless", condition: { code: "not-shared", health: "unhealthy", message, hint } };
}
