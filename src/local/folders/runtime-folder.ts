/**
 * Runtime folders: where a running watch puts its socket, and where other commands of the same user search
 * for sockets. A socket never lies beside a database, because tools that copy a folder of data stop at a
 * socket, and because the folder may belong to another user.
 *
 * The order is `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR/walrust`, for root `/run/walrust`, the state home. A
 * watch takes the first folder that it can make and that is ours alone. A command need not have the
 * environment of the watch: it searches all of them, and `/run/walrust` for every user, where services put
 * theirs.
 */
import { join } from "node:path";
import { distrustOrNull, makeOwnFolder } from "../folder-trust.ts";
import { NO_PATH, type PlaceChoice, realParent, SYSTEM_STATE_HOME, stateHomeOf } from "../places.ts";

const SYSTEM_FOLDER = "/run/walrust";

/** The runtime folders of one user. */
export class RuntimeFolders {
  constructor(readonly choice: Pick<PlaceChoice, "state" | "variables">) {}

  /** The folders without `--state-dir`, from the environment of this process. */
  static standard(variables: PlaceChoice["variables"] = process.env): RuntimeFolders {
    return new RuntimeFolders({ state: NO_PATH, variables });
  }

  /** The folder for a new socket, made if it is missing; null when no folder is ours alone. */
  ownOrNull(): string | null {
    return this.#candidates(false).find(isMade) ?? null;
  }

  /** The folders in which a watch of this user may have left a socket: those that are ours alone. */
  present(): string[] {
    return this.#candidates(true).filter((folder) => distrustOrNull(folder) === null);
  }

  #candidates(isLookup: boolean): string[] {
    const { variables } = this.choice;
    // systemd lists every RuntimeDirectory=, separated by colons.
    const [service] = (variables["RUNTIME_DIRECTORY"] ?? "").split(":");
    const session = variables["XDG_RUNTIME_DIR"];
    const isRoot = (process.geteuid?.() ?? 0) === 0;
    const folders = [
      service?.startsWith("/") ? realParent(service) : null,
      // The last name is not resolved: the owner of the session's folder could link it to a folder of ours.
      session?.startsWith("/") ? join(realParent(session), "walrust") : null,
      isRoot || isLookup ? realParent(SYSTEM_FOLDER) : null,
      stateHomeOf(this.choice),
      // A service has another state home than the same user has at a shell.
      ...(isLookup ? [realParent(SYSTEM_STATE_HOME), stateHomeOf({ state: NO_PATH, variables: {} })] : []),
    ];
    return [...new Set(folders.filter((folder) => folder !== null))];
  }
}

function isMade(folder: string): boolean {
  try {
    return makeOwnFolder(folder) === null;
  } catch {
    // This user cannot make the folder: the next candidate is tried.
    return false;
  }
}
