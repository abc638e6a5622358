/**
 * Where the files of this user's databases lie on this machine, and the sockets of its watches: from the
 * flags, the environment and the configuration file.
 */
import { CACHE_OPTIONS, STATE_OPTIONS } from "../../config/settings/settings.ts";
import { LocalPlaces } from "../../local/places.ts";
import { RuntimeFolders } from "../../local/runtime-folder.ts";
import { type Invocation, settingsOf } from "./verb.ts";

/** Where the files of each database lie. @throws WalrustError code "usage" or "config" */
export function localPlaces(invocation: Invocation): LocalPlaces {
  const { path: stateDir = null } = settingsOf(invocation, STATE_OPTIONS);
  const { path: cacheDir = null } = settingsOf(invocation, { path: CACHE_OPTIONS.path });
  return new LocalPlaces({ stateDir, cacheDir, variables: invocation.sources.environment });
}

/** Where a watch of this user can be asked. */
export function runtimeFolders(invocation: Invocation): RuntimeFolders {
  const { path: stateDir = null } = settingsOf(invocation, STATE_OPTIONS);
  return new RuntimeFolders({ stateDir, variables: invocation.sources.environment });
}
