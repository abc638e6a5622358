/**
 * The places of pushed replicas: one file for one name (`--db`), or `<folder>/<name>.db` for each (`--dir`).
 * A name that leads out of the folder, or that collides with another one, has no place.
 */
import { dirname, sep } from "node:path";
import { WalrustError } from "../../errors.ts";
import { keyProblemOrNull } from "../../storage/contract/object-rules.ts";
import { readReplicaState } from "../replica/replica-state.ts";
import { resolvePlace } from "../restore/target-folder.ts";
import { planTargets } from "../restore-all/restore-targets.ts";
import { pushSourceOf } from "./pushed-replica.ts";

/** Where the replicas of a server lie. */
export type ReplicaPlaces =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "folder"; readonly path: string };

/** The folder that exists from the start, where received bodies are kept. */
export function bodyFolderOf({ kind, path }: ReplicaPlaces): string {
  return kind === "folder" ? path : dirname(path);
}

/** The name that the state file of a replica records; null without one, and for a replica of `replicate`. */
export function recordedNameOrNull(path: string): string | null {
  const reading = readReplicaState(resolvePlace(path).path);
  if (reading.kind !== "state") return null;
  const { source } = reading.state;
  const name = source.slice(pushSourceOf("").length);
  return source === pushSourceOf(name) ? name : null;
}

/**
 * The place of a name.
 * @param others the names that have a place already
 * @throws WalrustError code "usage" when the name has none
 */
export function placeOf({ kind, path }: ReplicaPlaces, name: string, others: readonly string[]): string {
  const problem = keyProblemOrNull(name);
  if (problem !== null) throw noPlace(name, problem);
  if (kind === "file") {
    const [other] = others.filter((one) => one !== name);
    if (other !== undefined) throw noPlace(name, `the file of this server is a replica of ${other}`);
    return path;
  }
  const targets = planTargets([...others.filter((one) => one !== name), name], path);
  const target = targets.at(-1)!;
  if (target.problem !== null) throw target.problem;
  const folder = resolvePlace(path).path;
  if (resolvePlace(target.path).path.startsWith(folder === sep ? sep : folder + sep)) return target.path;
  throw noPlace(name, "its place leads out of the folder through a link");
}

function noPlace(name: string, reason: string): WalrustError {
  return new WalrustError("usage", `${JSON.stringify(name)} has no replica here: ${reason}`, {
    context: { database: name },
  });
}
