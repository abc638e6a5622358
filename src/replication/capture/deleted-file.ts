/**
 * Keeps a database in the watch whose file is deleted while an application has it open. Nobody else can open
 * the file into which the application commits from then on, and its last process takes it along. A condition
 * reports the state until the application has closed the file, or another file is at the path.
 *
 * A deleted database that nobody has open leaves the watch: that is the usual end of a tenant.
 */
import { basename } from "node:path";
import {
  type DeletedUser,
  holdersText,
  rescueCommands,
  usersOfDeleted,
} from "../../database/deleted-users.ts";
import { descriptorIdentity, isSameFile } from "../../database/files/descriptors.ts";
import { commandOf } from "../../database/files/file-users.ts";
import { connectedProcesses } from "../../database/files/other-connections.ts";
import type { Condition } from "../../errors.ts";
import type { WatchContext } from "../context/watch-context.ts";
import { type Fate, fateOf, isDeletedInUse } from "./deleted-capture.ts";
import type { LiveDatabase } from "./live-database.ts";

/** The code of the condition. */
export const DELETED_IN_USE = "deleted-in-use";

/** The deleted databases that processes have open, by path. */
type DeletedUsers = ReadonlyMap<string, readonly DeletedUser[]>;

/** The databases of a fleet whose files are deleted while an application has them open. */
export class DeletedFiles {
  /** As found for the discovery of now: hundreds of databases may be deleted at once. */
  #users: DeletedUsers | null = null;
  /** Found deleted and in use by an earlier discovery. */
  readonly #seen = new WeakSet<LiveDatabase>();

  /** A discovery begins. */
  begin(): void {
    this.#users = null;
  }

  /**
   * A discovery found no file of a database: raises the condition if an application has the deleted file
   * open. An application that closes a file just after its deletion is no finding, so an unwritten file
   * counts from the second discovery on.
   * @returns whether an application has the file open
   */
  check(live: LiveDatabase, { conditions }: Pick<WatchContext, "conditions">): boolean {
    try {
      if (!isDeletedInUse(live)) return false;
      const isFirst = !this.#seen.has(live);
      this.#seen.add(live);
      const fate = fateOf(live);
      if (fate === "unwritten" && isFirst) return true;
      this.#users ??= usersOfDeleted(() => true);
      conditions.raise(conditionOf(live, fate, usersOf(live, this.#users)));
    } catch {
      // The next discovery asks again for a file that cannot be read now.
    }
    return true;
  }
}

/** Why a deleted database that nobody has open leaves the watch. */
export function goneReason(live: LiveDatabase | null): string {
  const gone = "its file is gone";
  try {
    const isLost = live !== null && !live.pin.isLockless && fateOf(live) === "lost";
    return isLost ? `${gone}, and so are its commits after ${pointText(live)}` : gone;
  } catch {
    return gone;
  }
}

/** The processes that write a deleted file although another one is at its path, as a part of a sentence. */
export function staleText(live: LiveDatabase | null): string {
  if (live === null || live.pin.changedFile() !== "database" || !isDeletedInUse(live)) return "";
  const users = usersOf(
    live,
    usersOfDeleted((path) => path === live.path),
  );
  return ` while the deleted one is open in ${holdersText(users)}`;
}

function conditionOf(live: LiveDatabase, fate: Fate, users: readonly DeletedUser[]): Condition {
  const { path, name } = live;
  const who = holdersText(users);
  const written = `${path} was deleted and is still written by ${who}`;
  const restore = `\`walrust restore ${name} -o ${path}\``;
  if (fate === "lost") {
    const message = `${written}: no file has its commits after ${pointText(live)}`;
    const saved = `${rescueCommands(users)}; then move saved.db to ${path}`;
    const hint =
      `The commits end with the process. To keep them, save them before you stop it: ${saved}. ` +
      `Otherwise stop the process, and run ${restore}`;
    return { code: DELETED_IN_USE, health: "unhealthy", message, hint };
  }
  if (fate === "captured") {
    const message = `${written}: only walrust still reads its commits (${basename(path)}-wal)`;
    const hint = `Stop the application with SIGTERM while walrust runs, then run ${restore}`;
    return { code: DELETED_IN_USE, health: "unhealthy", message, hint };
  }
  const message = `${path} was deleted and is still open in ${who}: no file will have its next commits`;
  const hint = `Stop the application, then run ${restore} if the database is still needed`;
  return { code: DELETED_IN_USE, health: "degraded", message, hint };
}

/** The newest capture: `TXID 12 (2026-01-15T10:30:00.000Z)`. */
function pointText({ state }: LiveDatabase): string {
  return state === null ? "the first" : `TXID ${state.txid} (${new Date(state.timeMs).toISOString()})`;
}

/** The processes with connections: by their descriptors where walrust may read these, else by their locks. */
function usersOf({ path, pin }: LiveDatabase, all: DeletedUsers): readonly DeletedUser[] {
  const file = descriptorIdentity(pin.databaseFd);
  const isOfFile = ({ deleted }: DeletedUser): boolean => deleted.some((one) => isSameFile(one, file));
  const readable = (all.get(path) ?? []).filter(isOfFile);
  const known = new Set(readable.map(({ pid }) => pid));
  const others = connectedProcesses(file).filter((pid) => !known.has(pid));
  const command = (pid: number): string => commandOf(`/proc/${pid}/comm`);
  return [
    ...readable,
    ...others.map((pid) => ({ pid, command: command(pid), deleted: [file], files: null })),
  ];
}
