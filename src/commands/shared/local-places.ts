/**
 * Resolves the folders for local files and sockets from flags, environment and configuration file.
 */
import { CACHE_OPTIONS, STATE_OPTIONS } from "../../config/settings/settings.ts";
import { RuntimeFolders } from "../../local/folders/runtime-folder.ts";
import { LocalPlaces } from "../../local/places.ts";
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
