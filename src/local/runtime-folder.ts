/**
 * Where the socket of a running watch lies, and where others of the same user look for it: never beside a
 * database, for tools that copy a folder of data stop at a socket, and its owner may be somebody else.
 *
 * In this order: `$RUNTIME_DIRECTORY`, `$XDG_RUNTIME_DIR/walrust`, for root `/run/walrust`, the state home. A
 * watch takes the first that it can make and that is ours alone. A command need not have the environment of
 * the watch, and looks in all of them, and in `/run/walrust` for every user: a service has its folder there.
 */
import { join } from "node:path";
import { distrustOrNull, makeOwnFolder } from "./folder-trust.ts";
import { type PlaceChoice, realParent, SYSTEM_STATE_HOME, stateHomeOf } from "./places.ts";

const SYSTEM_FOLDER = "/run/walrust";

/** The folders of one user. */
export class RuntimeFolders {
  constructor(readonly choice: Pick<PlaceChoice, "stateDir" | "variables">) {}

  /** Without anything chosen, in the surroundings of this process. */
  static standard(variables: PlaceChoice["variables"] = process.env): RuntimeFolders {
    return new RuntimeFolders({ stateDir: null, variables });
  }

  /** The folder for a new socket, made if need be; null when none can be had that is ours alone. */
  ownOrNull(): string | null {
    return this.#candidates(false).find(isMade) ?? null;
  }

  /** The folders in which a watch of this user may have left a socket: those that are ours alone. */
  present(): string[] {
    return this.#candidates(true).filter((folder) => distrustOrNull(folder) === null);
  }

  #candidates(isLookup: boolean): string[] {
    const { variables } = this.choice;
    // systemd names all of RuntimeDirectory=, the first one first.
    const [service] = (variables["RUNTIME_DIRECTORY"] ?? "").split(":");
    const session = variables["XDG_RUNTIME_DIR"];
    const isRoot = (process.geteuid?.() ?? 0) === 0;
    const folders = [
      service?.startsWith("/") ? realParent(service) : null,
      // Not resolved: whoever owns the session's folder could make it a link to a folder of ours.
      session?.startsWith("/") ? join(realParent(session), "walrust") : null,
      isRoot || isLookup ? realParent(SYSTEM_FOLDER) : null,
      stateHomeOf(this.choice),
      // A service's state home is another than that of its user at a shell.
      ...(isLookup ? [realParent(SYSTEM_STATE_HOME), stateHomeOf({ stateDir: null, variables: {} })] : []),
    ];
    return [...new Set(folders.filter((folder) => folder !== null))];
  }
}

function isMade(folder: string): boolean {
  try {
    return makeOwnFolder(folder) === null;
  } catch {
    // Not for this user: the next one.
    return false;
  }
}
