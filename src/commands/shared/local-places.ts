/**
 * Resolves the folders for local files and sockets from flags, environment and configuration file, and finds
 * the databases of this user on this machine, and the folders that they were replicated to.
 */
import { resolveStore } from "../../config/config.ts";
import { CACHE_OPTIONS, STATE_OPTIONS } from "../../config/settings/settings.ts";
import { DatabaseFinder } from "../../discovery/finder.ts";
import { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import { databasePathsIn } from "../../local/folders/state-home.ts";
import { LocalPlaces, stateHomeOf } from "../../local/places.ts";
import { acknowledgedTxid } from "../../local/spooled-history.ts";
import { readState } from "../../local/state.ts";
import { announcedPaths } from "../../replication/control/announcements.ts";
import type { EarlierUse, FindEarlierUse } from "../../storage/file/file-root.ts";
import { type Invocation, settingsOf } from "./verb.ts";

/** The folders for the local files of each database. @throws WalrustError code "usage" or "config" */
export function localPlaces(invocation: Invocation): LocalPlaces {
  const state = settingsOf(invocation, STATE_OPTIONS);
  const cache = settingsOf(invocation, { path: CACHE_OPTIONS.path });
  return new LocalPlaces({ state, cache, variables: invocation.sources.environment });
}

/** The folders for the sockets of watches. */
export function runtimeFolders(invocation: Invocation): RuntimeFolders {
  const state = settingsOf(invocation, STATE_OPTIONS);
  return new RuntimeFolders({ state, variables: invocation.sources.environment });
}

/**
 * The databases of walrust.toml, those with a folder in the state home, and those that a watch of this user
 * has announced: the real paths, in order, each with its name in walrust.toml or null.
 * @throws WalrustError code "database" when the fixed folder of a glob cannot be read
 */
export async function localPaths(
  invocation: Invocation,
  places: LocalPlaces,
): Promise<Map<string, string | null>> {
  const named = await configuredNames(invocation, places);
  const others = [
    ...databasePathsIn(stateHomeOf(places.choice)),
    ...announcedPaths(runtimeFolders(invocation)),
  ];
  const paths = [...new Set([...named.keys(), ...others])].sort();
  return new Map(paths.map((path) => [path, named.get(path) ?? null]));
}

/** The names of the databases of walrust.toml, by path. */
async function configuredNames(
  { sources, env }: Invocation,
  places: LocalPlaces,
): Promise<Map<string, string>> {
  const destination = resolveStore(sources).bucket.value ?? "";
  const options = { paths: [], file: sources.file, destination, places };
  const { databases } = await new DatabaseFinder(options, env).find();
  return new Map(databases.map(({ path, name }) => [path, name]));
}

/**
 * Finds a database of this user that was replicated to a folder before. A folder that is missing or empty
 * then is on a disk that is not mounted: no command makes the folder anew.
 * @param words paths and globs of the command line, if the verb takes any
 */
export function earlierUseOf(invocation: Invocation, words: readonly string[] = []): FindEarlierUse {
  return async (destination) => {
    // Of its own: a search reads all folders anew, and a watch searches at the same time.
    const places = localPlaces(invocation);
    for (const path of await pathsOf(invocation, words, destination, places)) {
      const earlier = earlierUseOrNull(path, destination, places);
      if (earlier !== null) return earlier;
    }
    return null;
  };
}

async function pathsOf(
  invocation: Invocation,
  words: readonly string[],
  destination: string,
  places: LocalPlaces,
): Promise<Set<string>> {
  const { sources, env } = invocation;
  const options = { paths: words, file: sources.file, destination, places };
  // A folder that cannot be read takes only its own databases out of the search.
  const named = await new DatabaseFinder(options, env).find().catch(() => null);
  const others = await localPaths(invocation, places).catch(() => new Map<string, string | null>());
  const all = [...(named?.databases ?? []), ...(named?.missing ?? [])].map(({ path }) => path);
  return new Set([...all, ...others.keys()]);
}

/** The use that the local state of one database proves, or null. */
function earlierUseOrNull(path: string, destination: string, places: LocalPlaces): EarlierUse | null {
  const reading = readState(places.of(path).paths);
  const owner =
    reading.kind === "state" ? reading.state : reading.kind === "lost" ? reading.owner : undefined;
  if (owner === undefined || owner.destination !== destination) return null;
  const { name } = owner;
  const isUsed = acknowledgedTxid(places.of(path, name).paths, { destination, name }) !== 0;
  return isUsed ? { path, name } : null;
}
