/**
 * Where the local files of a database lie: beside it, if its folder is ours alone, else in the state home.
 *
 * Decided anew at each look around, from the owners and modes of folders: whoever finds a database asks here,
 * so that `watch`, `snapshot`, `restore` and `list` of one user come to the same folder. A state folder
 * that lies beside a database in a folder of somebody else is never read; that is told once.
 */
import { lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import { homeFolderOrNull } from "../env.ts";
import { systemCode } from "../errors.ts";
import { distrustOrNull, type FolderLook, rememberingLook } from "./folder-trust.ts";
import { type StateFolder, stateFolderAt, stateFolderOf } from "./state-folder.ts";

/** Variables of the environment that say where files may lie. */
export type PlaceVariables = Readonly<Record<string, string | undefined>>;

/** What the user chose. */
export interface PlaceChoice {
  /** `--state-dir`, or null. */
  readonly stateDir: string | null;
  /** `--cache-dir`, or null. */
  readonly cacheDir: string | null;
  readonly variables: PlaceVariables;
}

/** Where the files of one database lie. */
export interface Place {
  readonly paths: StateFolder;
  readonly kind: "beside" | "state-home";
  /** Why they lie in the state home, or null. */
  readonly reason: string | null;
  /** State that lies beside the database and is not trusted: what to tell, or null. */
  readonly ignored: string | null;
}

/** The state home of root. */
export const SYSTEM_STATE_HOME = "/var/lib/walrust";

/** The home of a user without one: nothing can be made in it, and the error names --state-dir. */
const NO_HOME = "/nonexistent";

const NAME_LENGTH_MAX = 40;

/** The places of all databases, for one user with one choice. */
export class LocalPlaces {
  #look: FolderLook = rememberingLook();
  #stateHome: string | null = null;
  #cacheHome: string | null = null;

  constructor(readonly choice: PlaceChoice) {}

  /** Without anything chosen, in the surroundings of this process. */
  static standard(variables: PlaceVariables = process.env): LocalPlaces {
    return new LocalPlaces({ stateDir: null, cacheDir: null, variables });
  }

  /** Forgets what folders looked like: before each look around. */
  refresh(): void {
    this.#look = rememberingLook();
    this.#stateHome = null;
    this.#cacheHome = null;
  }

  /**
   * Where the files of a database lie.
   * @param databasePath its real path
   * @param name what it is called in the bucket: captured files lie below `--cache-dir` by that
   */
  of(databasePath: string, name?: string): Place {
    const { stateDir, cacheDir } = this.choice;
    if (cacheDir !== null) this.#cacheHome ??= realParent(cacheDir);
    const spool = name === undefined || this.#cacheHome === null ? undefined : resolve(this.#cacheHome, name);
    const beside = stateFolderOf(databasePath, spool);
    const distrust = this.#besideDistrustOrNull(databasePath, beside.folder);
    if (stateDir === null && distrust === null) {
      return { paths: this.#chosen(beside), kind: "beside", reason: null, ignored: null };
    }
    this.#stateHome ??= stateHomeOf(this.choice);
    const folder = join(this.#stateHome, folderNameOf(databasePath));
    const ignored =
      distrust === null || !exists(beside.folder) ? null : ignoredText(beside.folder, folder, distrust);
    const reason = stateDir === null ? distrust : "--state-dir";
    return { paths: this.#chosen(stateFolderAt(folder, spool)), kind: "state-home", reason, ignored };
  }

  #chosen(paths: StateFolder): StateFolder {
    const { stateDir, cacheDir } = this.choice;
    if (stateDir === null && cacheDir === null) return paths;
    const { folder, spoolFolder } = paths;
    return { ...paths, chosen: [...(stateDir === null ? [] : [folder]), spoolFolder] };
  }

  #besideDistrustOrNull(databasePath: string, folder: string): string | null {
    const parent = dirname(databasePath);
    const distrust = distrustOrNull(parent, this.#look);
    if (distrust !== null) return `${parent}: ${distrust}`;
    // Made by somebody else when the folder was theirs.
    const own = distrustOrNull(folder, this.#look);
    return own === null || own === "ENOENT" ? null : `${folder}: ${own}`;
  }
}

/** The folder for the state of databases whose own folder is not ours. */
export function stateHomeOf({ stateDir, variables }: Pick<PlaceChoice, "stateDir" | "variables">): string {
  if (stateDir !== null) return realParent(resolve(stateDir));
  // systemd names all of StateDirectory=, the first one first.
  const [service] = (variables["STATE_DIRECTORY"] ?? "").split(":");
  if (service?.startsWith("/")) return realParent(service);
  if ((process.geteuid?.() ?? 0) === 0) return SYSTEM_STATE_HOME;
  const given = variables["XDG_STATE_HOME"];
  const home = variables["HOME"] || (homeFolderOrNull() ?? NO_HOME);
  return realParent(join(given?.startsWith("/") ? given : join(home, ".local", "state"), "walrust"));
}

/** `app.db-<16 hex digits of the SHA-256 of the real path>` */
function folderNameOf(databasePath: string): string {
  const shown = basename(databasePath)
    .replace(/[^A-Za-z0-9._-]/g, "_")
    .slice(0, NAME_LENGTH_MAX);
  const hash = new Bun.CryptoHasher("sha256").update(databasePath).digest("hex").slice(0, 16);
  return `${shown}-${hash}`;
}

/** A path with the links of the part that exists resolved: a link that the user chose is followed. */
export function realParent(path: string): string {
  let missing = "";
  for (let present = resolve(path); ; present = dirname(present)) {
    try {
      return join(realpathSync(present), missing);
    } catch (error) {
      if (systemCode(error) !== "ENOENT" || present === dirname(present)) return path;
      missing = join(basename(present), missing);
    }
  }
}

function exists(path: string): boolean {
  try {
    return lstatSync(path, { throwIfNoEntry: false }) !== undefined;
  } catch {
    // A name that is too long for a state folder, among others.
    return false;
  }
}

function ignoredText(found: string, used: string, distrust: string): string {
  return `the state in ${found} is ignored: other users can change it (${distrust}); ${used} is used instead`;
}
