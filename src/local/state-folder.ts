/**
 * The state folder of one database: the names of the files in it, and how it is made. places.ts decides where
 * the folder lies.
 */
import { basename, dirname, join } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import { makeOwnFolder, ownFolderDistrustOrNull } from "./folder-trust.ts";
import { closeFolderToOthers, readOwnOrNull, replaceOwn, sweepTemps } from "./own-file.ts";

/** Paths of the local files of one database. */
export interface StateFolder {
  readonly folder: string;
  readonly statePath: string;
  readonly sumsPath: string;
  readonly spoolFolder: string;
  /** The folders whose place the user chose. */
  readonly chosen?: readonly string[] | undefined;
}

/** File in a folder of the state home: the real path of the database that the folder belongs to. */
const DATABASE_PATH_FILE = "database";
/** Twice the longest path of Linux. */
const PATH_SIZE_MAX = 8_192;

/**
 * The real path of the database that a folder of the state home belongs to, or null.
 * @throws WalrustError when the file cannot be trusted
 */
export function readDatabasePathOrNull(folder: string): string | null {
  return readOwnOrNull(join(folder, DATABASE_PATH_FILE), PATH_SIZE_MAX)?.trimEnd() ?? null;
}

/** The paths derived from a folder when they are needed, because hundreds of databases have them. */
class DerivedPaths implements StateFolder {
  constructor(
    readonly folder: string,
    readonly ownSpoolFolder: string | null,
    readonly chosen: readonly string[] | undefined,
  ) {}

  get statePath(): string {
    return join(this.folder, "state.json");
  }

  get sumsPath(): string {
    return join(this.folder, "pages.sum");
  }

  get spoolFolder(): string {
    return this.ownSpoolFolder ?? join(this.folder, "ltx");
  }
}

/**
 * The paths in `folder`.
 * @param spoolFolder the folder of captured files, if it is not in `folder`
 * @param chosen the folders whose place the user chose
 */
export function stateFolderAt(folder: string, spoolFolder?: string, chosen?: readonly string[]): StateFolder {
  return new DerivedPaths(folder, spoolFolder ?? null, chosen);
}

/** The state folder beside a database, trusted or not. @param databasePath its real path */
export function stateFolderOf(databasePath: string, spoolFolder?: string): StateFolder {
  return stateFolderAt(join(dirname(databasePath), `.${basename(databasePath)}-walrust`), spoolFolder);
}

/** Failures that end by themselves: there is no room, or there are no descriptors left. */
const PASSING: ReadonlySet<string> = new Set(["ENOSPC", "EDQUOT", "EMFILE", "ENFILE"]);

/**
 * Makes the folders, sets their mode to 0700, and removes temporary files of killed processes. Only the
 * holder of the host lock may call this.
 * @param databasePath recorded in a folder that does not lie beside the database
 * @throws WalrustError code "database" when the folders cannot be made or cannot be trusted
 */
export function createStateFolder(paths: StateFolder, databasePath?: string): void {
  try {
    for (const folder of [paths.folder, paths.spoolFolder]) {
      const distrust = makeOwnFolder(folder, paths.chosen?.includes(folder));
      if (distrust !== null) throw untrusted(folder, distrust);
      closeFolderToOthers(folder);
    }
    sweepTemps(paths.folder);
    if (databasePath !== undefined && dirname(paths.folder) !== dirname(databasePath)) {
      replaceOwn(join(paths.folder, DATABASE_PATH_FILE), `${databasePath}\n`);
    }
  } catch (error) {
    if (error instanceof WalrustError) throw error;
    const code = systemCode(error) ?? String(error);
    const retryable = PASSING.has(code);
    throw new WalrustError("database", `Cannot create the state folder ${paths.folder}: ${code}`, {
      hint: retryable
        ? "The disk or the limit on open files is full; walrust continues as soon as there is room"
        : "Make the folder writable, or choose another with --state-dir: it holds the position",
      retryable,
      cause: error,
    });
  }
}

/** The error of `createStateFolder` for folders that cannot be trusted, or null. Makes nothing. */
export function stateFolderRefusalOrNull({ folder, spoolFolder, chosen }: StateFolder): WalrustError | null {
  for (const one of [folder, spoolFolder]) {
    const distrust = ownFolderDistrustOrNull(one, chosen?.includes(one));
    if (distrust !== null) return untrusted(one, distrust);
  }
  return null;
}

function untrusted(folder: string, distrust: string): WalrustError {
  return new WalrustError("database", `Cannot keep state in ${folder}: ${distrust}`, {
    hint: "Choose a folder that only this user can change: --state-dir PATH, and --cache-dir if it is used",
    context: { folder },
  });
}
