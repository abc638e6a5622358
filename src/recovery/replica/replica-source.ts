/**
 * Parses the source of a replica: a URL (`s3://bucket/prefix/name` or `file:///folder/name`), or the name of
 * a database in a destination.
 *
 * Percent-escapes in a URL stand for the characters of a key, so a URL can express every name. The last
 * segment is the name. A name with a slash works too: its first part is then a longer prefix. A name beside a
 * destination is taken literally.
 */
import { basename, dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { hasCode, WalrustError } from "../../errors.ts";
import { keyProblemOrNull } from "../../storage/contract/object-rules.ts";
import { type Destination, parseDestination } from "../../storage/parse-destination.ts";

/** The place of a replica's objects. */
export interface ReplicaSource {
  /** The destination, for opening a store. */
  readonly destination: string;
  /** The name of the database; empty when the levels lie at the root of the destination. */
  readonly name: string;
  /** Both as one normalised URL, which the state file records. */
  readonly url: string;
}

/** Parses a URL. @throws WalrustError "usage" when it is no destination */
export function parseReplicaSource(text: string): ReplicaSource {
  const parsed = parseUrl(text);
  if (parsed.kind === "s3") {
    const { bucket } = parsed;
    const prefix = decodePath(text, parsed.prefix);
    const slash = prefix.lastIndexOf("/");
    const parent = prefix.slice(0, Math.max(slash, 0));
    const url = s3Url(bucket, prefix);
    // A destination cannot contain these characters, so the whole path is the name.
    if (/[?#@]/.test(parent)) return { destination: `s3://${bucket}`, name: prefix, url };
    return { destination: s3Url(bucket, parent), name: prefix.slice(slash + 1), url };
  }
  const folder = dirname(parsed.path);
  const url = pathToFileURL(parsed.path).href;
  if (folder === "/") return { destination: url, name: "", url };
  return { destination: pathToFileURL(folder).href, name: basename(parsed.path), url };
}

/**
 * The source for a name in a destination.
 * @throws WalrustError "usage" for an invalid name or destination
 */
export function replicaSourceOf(destination: string, name: string): ReplicaSource {
  const parsed = parseDestination(destination);
  const problem = keyProblemOrNull(name);
  if (problem !== null) {
    throw new WalrustError("usage", `${JSON.stringify(name)} is no valid name of a database: ${problem}`, {
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
