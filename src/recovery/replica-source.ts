/**
 * The source of a replica as a person writes it, `s3://bucket/prefix/name` or `file:///folder/name`, taken
 * apart into a destination and the name of a database below it. The last segment is the name: a name with a
 * slash works because what stands before it is just a longer prefix.
 */
import { basename, dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { parseDestination } from "../storage/destination.ts";

/** Where a replica's objects are. */
export interface ReplicaSource {
  /** A destination, to open a store with. */
  readonly destination: string;
  /** The key of the database below it; empty when the levels lie at its root. */
  readonly name: string;
  /** Both in one, normalised: what the state file remembers. */
  readonly url: string;
}

/** Takes a source apart. @throws WalrustError "usage" when it is no destination */
export function parseReplicaSource(text: string): ReplicaSource {
  const parsed = parseDestination(text);
  if (parsed.kind === "s3") {
    const { bucket, prefix } = parsed;
    const slash = prefix.lastIndexOf("/");
    const destination = slash < 0 ? `s3://${bucket}` : `s3://${bucket}/${prefix.slice(0, slash)}`;
    const url = prefix === "" ? `s3://${bucket}` : `s3://${bucket}/${prefix}`;
    return { destination, name: prefix.slice(slash + 1), url };
  }
  const folder = dirname(parsed.path);
  const url = pathToFileURL(parsed.path).href;
  if (folder === "/") return { destination: url, name: "", url };
  return { destination: pathToFileURL(folder).href, name: basename(parsed.path), url };
}
