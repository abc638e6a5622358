/**
 * Places: where the local files of a database lie. They lie beside the database if its folder is ours alone,
 * and in the state home otherwise.
 *
 * The owners and modes of folders decide, anew at each scan. Every command asks here, so that `watch`,
 * `snapshot`, `restore` and `list` of one user find the same folder. State beside a database in a folder of
 * another user is never read; `Place.ignored` then holds a warning.
 */
import { lstatSync, realpathSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";
import type { CacheConfig, StateConfig } from "../config/config.ts";
import { homeFolderOrNull } from "../env.ts";
import { systemCode } from "../errors.ts";
import { cachingInspector, distrustOrNull, type InspectFolder } from "./folder-trust.ts";
import { type StateFolder, stateFolderAt, stateFolderOf } from "./state-folder.ts";

/** Environment variables that decide where files lie. */
export type PlaceVariables = Readonly<Record<string, string | undefined>>;

/** The user's choice of folders. */
export interface PlaceChoice {
  readonly state: StateConfig;
  readonly cache: Pick<CacheConfig, "path">;
  readonly variables: PlaceVariables;
}

/** Where the files of one database lie. */
export interface Place {
  readonly paths: StateFolder;
  readonly kind: "beside" | "state-home";
  /** Why the files lie in the state home, or null. */
  readonly reason: string | null;
  /** A warning about state beside the database that is not trusted, or null. */
  readonly ignored: string | null;
}

/** The state home of root. */
export const SYSTEM_STATE_HOME = "/var/lib/walrust";

/**
 * Stands for the home of a user without one: making a folder there fails, and the error names --state-dir.
 */
const NO_HOME = "/nonexistent";

/** Neither `--state-dir` nor `--cache-dir` is given. */
export const NO_PATH = { path: undefined } as const;

const NAME_LENGTH_MAX = 40;

/** The places of all databases of one user. */
export class LocalPlaces {
  #inspect: InspectFolder = cachingInspector();
  #stateHome: string | null = null;
  #cacheHome: string | null = null;

  constructor(readonly choice: PlaceChoice) {}

  /** The places without `--state-dir` and `--cache-dir`, from the environment of this process. */
  static standard(variables: PlaceVariables = process.env): LocalPlaces {
    return new LocalPlaces({ state: NO_PATH, cache: NO_PATH, variables });
  }

  /** Reads all folders anew from here on. Call before each scan. */
  refresh(): void {
    this.#inspect = cachingInspector();
    this.#stateHome = null;
    this.#cacheHome = null;
  }

  /**
   * The place of one database.
   * @param databasePath its real path
   * @param name its name in the bucket, and the name of its spool folder below `--cache-dir`
   */
  of(databasePath: string, name?: string): Place {
    const { state, cache } = this.choice;
    if (cache.path !== undefined) this.#cacheHome ??= realParent(cache.path);
    const spool = name === undefined || this.#cacheHome === null ? undefined : resolve(this.#cacheHome, name);
    const beside = stateFolderOf(databasePath, spool);
    const distrust = this.#besideDistrustOrNull(databasePath, beside.folder);
    if (state.path === undefined && distrust === null) {
      return { paths: this.#chosen(beside, spool), kind: "beside", reason: null, ignored: null };
    }
    this.#stateHome ??= stateHomeOf(this.choice);
    const folder = join(this.#stateHome, folderNameOf(databasePath));
    const ignored =
      distrust === null || !exists(beside.folder) ? null : ignoredText(beside.folder, folder, distrust);
    const reason = state.path === undefined ? distrust : "--state-dir";
    return { paths: this.#chosen(stateFolderAt(folder, spool), spool), kind: "state-home", reason, ignored };
  }

  #chosen(paths: StateFolder, spool: string | undefined): StateFolder {
    const { state, cache } = this.choice;
    if (state.path === undefined && cache.path === undefined) return paths;
    const { folder, spoolFolder } = paths;
    return stateFolderAt(folder, spool, [...(state.path === undefined ? [] : [folder]), spoolFolder]);
  }

  #besideDistrustOrNull(databasePath: string, folder: string): string | null {
    const parent = dirname(databasePath);
    const distrust = distrustOrNull(parent, this.#inspect);
    if (distrust !== null) return `${parent}: ${distrust}`;
    // Another user may have made the state folder while the folder around it was theirs.
    const own = distrustOrNull(folder, this.#inspect);
    return own === null || own === "ENOENT" ? null : `${folder}: ${own}`;
  }
}

/** The state home: the folder for the state of databases whose own folder is not ours. */
export function stateHomeOf({ state, variables }: Pick<PlaceChoice, "state" | "variables">): string {
  if (state.path !== undefined) return realParent(resolve(state.path));
  // systemd lists every StateDirectory=, separated by colons.
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

/** Resolves the links in the part of a path that exists. A link that the user chose is followed. */
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
    // ENAMETOOLONG, among others.
    return false;
  }
}

function ignoredText(found: string, used: string, distrust: string): string {
  return `the state in ${found} is ignored: other users can change it (${distrust}); ${used} is used instead`;
}
