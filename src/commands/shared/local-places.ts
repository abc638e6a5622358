/**
 * Resolves the folders for local files and sockets from flags, environment and configuration file, and finds
 * the databases of this user on this machine.
 */
import { resolveStore } from "../../config/config.ts";
import { CACHE_OPTIONS, STATE_OPTIONS } from "../../config/settings/settings.ts";
import { DatabaseFinder } from "../../discovery/finder.ts";
import { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import { databasePathsIn } from "../../local/folders/state-home.ts";
import { LocalPlaces, stateHomeOf } from "../../local/places.ts";
import { announcedPaths } from "../../replication/control/announcements.ts";
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
