/**
 * Resolves the folders for local files and sockets from flags, environment and configuration file.
 */
import { CACHE_OPTIONS, STATE_OPTIONS } from "../../config/settings/settings.ts";
import { LocalPlaces } from "../../local/places.ts";
import { RuntimeFolders } from "../../local/runtime-folder.ts";
import { type Invocation, settingsOf } from "./verb.ts";

/** The folders for the local files of each database. @throws WalrustError code "usage" or "config" */
export function localPlaces(invocation: Invocation): LocalPlaces {
  const { path: stateDir = null } = settingsOf(invocation, STATE_OPTIONS);
  const { path: cacheDir = null } = settingsOf(invocation, { path: CACHE_OPTIONS.path });
  return new LocalPlaces({ stateDir, cacheDir, variables: invocation.sources.environment });
}

/** The folders for the sockets of watches. */
export function runtimeFolders(invocation: Invocation): RuntimeFolders {
  const { path: stateDir = null } = settingsOf(invocation, STATE_OPTIONS);
  return new RuntimeFolders({ stateDir, variables: invocation.sources.environment });
}
