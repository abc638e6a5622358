/**
 * Asks the running watches of this user on this machine, wherever their sockets lie.
 */
import { resolveOptions } from "../../config/resolve.ts";
import { STORE_OPTIONS } from "../../config/settings/settings.ts";
import { DatabaseFinder } from "../../discovery/finder.ts";
import { databasePathsIn } from "../../local/folders/state-home.ts";
import { type LocalPlaces, stateHomeOf } from "../../local/places.ts";
import { askEveryWatch, type WatchAnswer } from "../../replication/control/control-client.ts";
import type { WatchRequest } from "../../replication/control/control-request.ts";
import { localPlaces, runtimeFolders } from "./local-places.ts";
import { openDestination } from "./open-destination.ts";
import type { Invocation } from "./verb.ts";

/** A watch answers a question about its state at once. */
const ANSWER_LIMIT_MS = 15_000;

/**
 * Asks all watches of this user beside each other.
 * @param answerLimitMs a watch that has not answered by then counts as hanging
 * @returns their answers, by process id
 */
export async function askOwnWatches(
  invocation: Invocation,
  request: WatchRequest,
  answerLimitMs = ANSWER_LIMIT_MS,
): Promise<WatchAnswer[]> {
  const { env, signal } = invocation;
  const places = localPlaces(invocation);
  const stateFolders = (await knownPaths(invocation, places)).map((path) => places.of(path).paths.folder);
  const asker = { env, signal, answerLimitMs };
  return await askEveryWatch(request, asker, runtimeFolders(invocation), stateFolders);
}

/** The databases that may name a socket outside the runtime folders: of walrust.toml and the state home. */
async function knownPaths({ sources, env }: Invocation, places: LocalPlaces): Promise<string[]> {
  const options = { paths: [], file: sources.file, destination: "", places };
  // A glob that cannot be read keeps no watch from being asked.
  const found = await new DatabaseFinder(options, env).find().catch(() => null);
  const configured = found?.databases.map(({ path }) => path) ?? [];
  return [...new Set([...configured, ...databasePathsIn(stateHomeOf(places.choice))])];
}

/**
 * The destination that `-b`, the environment or walrust.toml narrows the watches to, as
 * `ObjectStore.location`; null if none is given. Another watch of this user must not stand in for the watch
 * of this configuration: a deploy would take its answer for the right one.
 * @param isFlagOnly whether only `-b` counts: a reload may be about a changed destination
 * @throws WalrustError code "usage" when the destination cannot be used
 */
export async function chosenLocationOrNull(
  invocation: Invocation,
  isFlagOnly = false,
): Promise<string | null> {
  const { bucket } = resolveOptions(invocation.sources, { bucket: STORE_OPTIONS.bucket });
  if (bucket.value === undefined || (isFlagOnly && bucket.origin.kind !== "flag")) return null;
  const store = openDestination(invocation);
  await store.close();
  return store.location;
}
