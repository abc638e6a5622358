/**
 * Asks the running watches of this user on this machine, wherever their sockets lie.
 */
import { resolveOptions } from "../../config/resolve.ts";
import { STORE_OPTIONS } from "../../config/settings/settings.ts";
import { usersOfFiles } from "../../database/files/file-users.ts";
import { type HostLockHolder, hostLockHolderOrNull } from "../../database/files/host-lock-holder.ts";
import { DatabaseFinder } from "../../discovery/finder.ts";
import { databasePathsIn } from "../../local/folders/state-home.ts";
import { type LocalPlaces, stateHomeOf } from "../../local/places.ts";
import { announcedPaths } from "../../replication/control/announcements.ts";
import { askEveryWatch, type WatchAnswer } from "../../replication/control/control-client.ts";
import type { WatchRequest } from "../../replication/control/control-request.ts";
import type { WatchStatus } from "../../replication/watch/watch-report.ts";
import { localPlaces, runtimeFolders } from "./local-places.ts";
import { openDestination } from "./open-destination.ts";
import type { Invocation } from "./verb.ts";

/** A watch answers a question about its state at once. */
const ANSWER_LIMIT_MS = 15_000;
/** A person waits for a status, and a watch acknowledges within milliseconds. */
const STATUS_ACKNOWLEDGE_LIMIT_MS = 5_000;

/**
 * Asks all watches of this user beside each other.
 * @param answerLimitMs a watch that has not answered by then counts as hanging
 * @param morePaths databases that may name a socket outside the runtime folders, beside the known ones
 * @returns their answers, by process id
 */
export async function askOwnWatches(
  invocation: Invocation,
  request: WatchRequest,
  answerLimitMs = ANSWER_LIMIT_MS,
  morePaths: readonly string[] = [],
): Promise<WatchAnswer[]> {
  const { env, signal } = invocation;
  const places = localPlaces(invocation);
  const paths = new Set([...(await knownPaths(invocation, places)), ...morePaths]);
  const stateFolders = [...paths].map((path) => places.of(path).paths.folder);
  const limit = request.verb === "status" ? { acknowledgeLimitMs: STATUS_ACKNOWLEDGE_LIMIT_MS } : {};
  const asker = { env, signal, answerLimitMs, ...limit };
  return await askEveryWatch(request, asker, runtimeFolders(invocation), stateFolders);
}

/**
 * Databases of this machine that another walrust has while none of the answers is about them.
 * @param answers of all watches of this user
 */
export async function silentHolders(
  invocation: Invocation,
  answers: readonly WatchAnswer[],
): Promise<HostLockHolder[]> {
  const told = answers.flatMap(({ result }) => (result as WatchStatus | null)?.databases ?? []);
  const toldPaths = new Set(told.map(({ path }) => path));
  const announced = announcedPaths(runtimeFolders(invocation));
  const known = new Set([...(await knownPaths(invocation, localPlaces(invocation))), ...announced]);
  const paths = [...known].filter((path) => !toldPaths.has(path)).sort();
  if (paths.length === 0) return [];
  const users = usersOfFiles(paths);
  // A watch that does not answer at its socket is reported for all of its databases.
  const silentPids = new Set(answers.filter(({ error }) => error !== null).map(({ pid }) => pid));
  return paths.flatMap((path) => {
    const holder = hostLockHolderOrNull(path, users.get(path) ?? []);
    return holder === null || silentPids.has(holder.pid ?? 0) ? [] : [holder];
  });
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
