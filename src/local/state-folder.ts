/**
 * The files of one database and the folder they lie in. The choice of the folder is up to places.ts.
 */
import { basename, dirname, join } from "node:path";
import { systemCode, WalrustError } from "../errors.ts";
import { makeOwnFolder } from "./folder-trust.ts";
import { closeFolderToOthers, readOwnOrNull, replaceOwn, sweepTemps } from "./own-file.ts";

/** Paths of a database's local files. */
export interface StateFolder {
  readonly folder: string;
  readonly statePath: string;
  readonly sumsPath: string;
  readonly spoolFolder: string;
  /** Those of the folders whose place the user chose. */
  readonly chosen?: readonly string[];
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

/** The files in `folder`. @param spoolFolder where captured files wait, if not in `folder` itself */
export function stateFolderAt(folder: string, spoolFolder?: string): StateFolder {
  return {
    folder,
    statePath: join(folder, "state.json"),
    sumsPath: join(folder, "pages.sum"),
    spoolFolder: spoolFolder ?? join(folder, "ltx"),
  };
}

/** The state folder beside a database, whether it can be trusted or not. @param databasePath its real path */
export function stateFolderOf(databasePath: string, spoolFolder?: string): StateFolder {
  return stateFolderAt(join(dirname(databasePath), `.${basename(databasePath)}-walrust`), spoolFolder);
}

/**
 * Makes the folders, takes them away from other users, and removes what a process that was killed left half
 * written. Only whoever has the host lock may call this.
 * @param databasePath written into a folder that does not lie beside the database
 * @throws WalrustError code "database" when that is not possible, or the folders cannot be trusted
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
    throw new WalrustError(
      "database",
      `Cannot create the state folder ${paths.folder}: ${systemCode(error)}`,
      {
        hint: "walrust keeps its position there: make it writable, or choose another folder with --state-dir",
        cause: error,
      },
    );
  }
}

function untrusted(folder: string, distrust: string): WalrustError {
  return new WalrustError("database", `Cannot keep state in ${folder}: ${distrust}`, {
    hint: "Choose a folder that only this user can change: --state-dir PATH, and --cache-dir if it is used",
    context: { folder },
  });
}
