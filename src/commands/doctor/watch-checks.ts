/**
 * Checks whether running watches of this user replicate the databases, and whether these watches answer.
 */
import type { FoundDatabase } from "../../discovery/finder.ts";
import { type Condition, WalrustError } from "../../errors.ts";
import type { WatchAnswer } from "../../replication/control/control-client.ts";
import { namesakeAmongOrNull } from "../../replication/watch/namesake.ts";
import type { WatchStatus } from "../../replication/watch/watch-report.ts";
import { countOf } from "../shared/output.ts";
import { type Check, Checks } from "./check.ts";

/** The process id of a watch that replicates one of the databases, or null. */
export function watchOfOrNull(
  answers: readonly WatchAnswer[],
  databases: readonly FoundDatabase[],
): number | null {
  const paths = new Set(databases.map(({ path }) => path));
  const isOurs = ({ result }: WatchAnswer): boolean =>
    (result as WatchStatus | null)?.databases.some(({ path }) => paths.has(path)) === true;
  return answers.find(isOurs)?.pid ?? null;
}

/**
 * Reports each database whose name another watch uses for another file. @param location of the destination
 */
export function checkNamesakes(
  answers: readonly WatchAnswer[],
  databases: readonly FoundDatabase[],
  location: string,
): Check[] {
  return databases.flatMap((database) => {
    const checks = new Checks("database", database.path);
    const error = namesakeAmongOrNull(database, location, answers);
    if (error !== null) checks.failure("name", error);
    return checks.all;
  });
}

/** Checks the watches, from their answers to `status`. */
export function checkWatches(answers: readonly WatchAnswer[], databases: readonly FoundDatabase[]): Checks {
  const checks = new Checks("watch", null);
  const watched = new Map<string, string>();
  for (const { pid, result, error, isOlder } of answers) {
    if (error !== null && isOlder) checks.warning("answer", error.message, error.hint ?? "");
    else if (error !== null) checks.failure("answer", error);
    if (result === null) continue;
    const { databases: theirs, destination, version, storeConditions } = result as WatchStatus;
    const bad = theirs.filter(({ state }) => state === "stopped" || state === "failing");
    const text = `pid ${pid}, ${version}: ${countOf(theirs.length, "database")} to ${destination}`;
    if (bad.length === 0) checks.ok("answer", text);
    else {
      const names = bad.slice(0, 3).map(({ database }) => database);
      const message = `${text}, of which ${bad.length} fail or are stopped: ${names.join(", ")}`;
      checks.warning("answer", message, "`walrust status` shows the reasons, and what to do");
    }
    for (const { path } of theirs) watched.set(path, destination);
    const isOurs = databases.some(({ path }) => theirs.some((one) => one.path === path));
    if (isOurs) checkStoreConditions(storeConditions, checks);
  }
  const missing = databases.filter(({ path }) => !watched.has(path));
  if (databases.length === 0) return checks;
  if (missing.length === 0) checks.ok("replicated", "a running watch replicates every database");
  else {
    const all = countOf(databases.length, "database");
    const message = `no watch of this user replicates ${missing.length} of ${all}: ${missing[0]!.path}`;
    checks.warning("replicated", message, "Start `walrust watch`, or run this as the user of the watch");
  }
  return checks;
}

/** Takes over the conditions of the store that a watch of our databases has. */
function checkStoreConditions(conditions: readonly Condition[], checks: Checks): void {
  for (const { health, message, hint = "`walrust status` shows how it goes on" } of conditions) {
    if (health === "degraded") checks.warning("store", message, hint);
    else checks.failure("store", new WalrustError("storage", message, { hint }));
  }
}
