/**
 * The source of a replica as a person writes it: a URL (`s3://bucket/prefix/name` or `file:///folder/name`),
 * or the name of a database in a destination.
 *
 * In a URL percent-escapes stand for the characters of a key, so that every name can be written. Its last
 * segment is the name: a name with a slash works because what stands before it is just a longer prefix. A
 * name that is given with a destination is taken as it is.
 */
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { hasCode, WalrustError } from "../../errors.ts";
import { keyProblemOrNull } from "../../storage/contract/object-rules.ts";
import { type Destination, parseDestination } from "../../storage/parse-destination.ts";

/** Where a replica's objects are. */
export interface ReplicaSource {
  /** A destination, to open a store with. */
  readonly destination: string;
  /** The key of the database below it; empty when the levels lie at its root. */
  readonly name: string;
  /** Both in one, normalised: what the state file remembers. */
  readonly url: string;
}

/** Takes a URL apart. @throws WalrustError "usage" when it is no destination */
export function parseReplicaSource(text: string): ReplicaSource {
  const parsed = parseUrl(text);
  if (parsed.kind === "s3") {
    const { bucket } = parsed;
    const prefix = decodePath(text, parsed.prefix);
    const slash = prefix.lastIndexOf("/");
    const parent = prefix.slice(0, Math.max(slash, 0));
    const url = s3Url(bucket, prefix);
    // A destination has no such characters: then the whole path is the name.
    if (/[?#@]/.test(parent)) return { destination: `s3://${bucket}`, name: prefix, url };
    return { destination: s3Url(bucket, parent), name: prefix.slice(slash + 1), url };
  }
  const folder = dirname(parsed.path);
  const url = pathToFileURL(parsed.path).href;
  if (folder === "/") return { destination: url, name: "", url };
  return { destination: pathToFileURL(folder).href, name: basename(parsed.path), url };
}

/**
 * The source that a name in a destination is.
 * @throws WalrustError "usage" when it can be no name, or the destination is none
 */
export function replicaSourceOf(destination: string, name: string): ReplicaSource {
  const parsed = parseDestination(destination);
  const problem = keyProblemOrNull(name);
  if (problem !== null) {
    throw new WalrustError("usage", `${JSON.stringify(name)} is no name of a database: ${problem}`, {
      hint: "`walrust list` shows the names",
    });
  }
  const url =
    parsed.kind === "s3"
      ? s3Url(parsed.bucket, parsed.prefix === "" ? name : `${parsed.prefix}/${name}`)
      : pathToFileURL(join(parsed.path, name)).href;
  return { destination, name, url };
}

function parseUrl(text: string): Destination {
  try {
    return parseDestination(text);
  } catch (error) {
    if (!hasCode(error, "usage") || !/[?#@]/.test(text)) throw error;
    throw new WalrustError("usage", error.message, {
      hint: "Write %40, %23 and %3F for @, # and ? in a name, or give the name and -b",
      cause: error,
    });
  }
}

function s3Url(bucket: string, path: string): string {
  return path === "" ? `s3://${bucket}` : `s3://${bucket}/${path}`;
}

function decodePath(text: string, path: string): string {
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch (cause) {
    throw new WalrustError("usage", `Cannot use ${text}: it has a "%" that is no escape`, {
      hint: "Write %25 for a percent sign, or give the name as it is and the destination with -b",
      cause,
    });
  }
  const problem = decoded === "" ? null : keyProblemOrNull(decoded);
  if (problem === null) return decoded;
  throw new WalrustError("usage", `Cannot use ${text}: ${problem}`, {
    hint: "`walrust list` shows the names",
  });
}
