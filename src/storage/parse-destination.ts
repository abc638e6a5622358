/**
 * Parses a destination as a person writes it: `s3://bucket/prefix` or `file:///dir`.
 */
import { homeFolderOrNull } from "../env.ts";
import { errorMessage, WalrustError } from "../errors.ts";
import { assertObjectKey } from "./contract/object-rules.ts";

/** The place of the objects. `prefix` has no slash at either end and may be empty. */
export type Destination =
  | { readonly kind: "s3"; readonly bucket: string; readonly prefix: string }
  | { readonly kind: "file"; readonly path: string };

const EXAMPLES = "Write s3://bucket/prefix, or file:///directory with an absolute path.";

/** Parses a destination. @throws WalrustError "usage" with the reason */
export function parseDestination(text: string): Destination {
  const match = /^([a-z][a-z0-9+.-]*):\/\/(.*)$/i.exec(text);
  if (match === null) throw unusable(text, "it has no scheme");
  const scheme = match[1]!.toLowerCase();
  const rest = match[2]!;
  if (scheme === "s3") return parseS3(text, rest);
  if (scheme === "file") return parseFile(text, rest);
  throw unusable(text, `the scheme ${scheme}:// is unknown`);
}

function parseS3(text: string, rest: string): Destination {
  if (/[?#]/.test(rest))
    throw unusable(text, 'it has a "?" or "#"; endpoint and region are options of their own');
  if (rest.includes("@")) throw unusable(text, "keys do not belong into it");
  const slash = rest.indexOf("/");
  const bucket = slash === -1 ? rest : rest.slice(0, slash);
  const prefix = slash === -1 ? "" : rest.slice(slash + 1).replace(/\/+$/, "");
  if (!/^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$/.test(bucket) || bucket.includes("..")) {
    const rule = "3 to 63 of a-z, 0-9, - and .";
    throw unusable(
      text,
      bucket === "" ? "it names no bucket" : `${JSON.stringify(bucket)} is no bucket name (${rule})`,
    );
  }
  if (prefix !== "") assertPrefix(text, prefix);
  return { kind: "s3", bucket, prefix };
}

function assertPrefix(text: string, prefix: string): void {
  try {
    assertObjectKey(prefix);
  } catch (cause) {
    throw unusable(text, errorMessage(cause));
  }
}

function parseFile(text: string, rest: string): Destination {
  // A shell does not expand a "~" within a word; no machine has that name.
  const isHome = rest === "~" || rest.startsWith("~/");
  if (!isHome && !rest.startsWith("/"))
    throw unusable(text, "its path is not absolute (three slashes: file:///directory)");
  const home = isHome ? homeFolderOrNull() : "";
  if (home === null) throw unusable(text, "this user has no home folder (set HOME)");
  let path: string;
  try {
    path = isHome ? `${home}${decodeURIComponent(rest.slice(1))}` : decodeURIComponent(rest);
  } catch {
    throw unusable(text, 'it has a "%" that is no escape (write %25)');
  }
  if (path.includes("\0")) throw unusable(text, "it contains a NUL character");
  path = path.replace(/\/+$/, "");
  if (path === "") throw unusable(text, "the root directory cannot be a destination");
  return { kind: "file", path };
}

/** The error about a destination. Text before an "@" may be a secret, except in the path of a folder. */
function unusable(text: string, reason: string): WalrustError {
  const shown = /^file:/i.test(text) ? text : text.replace(/^([a-z0-9+.-]*:?\/*).*@/is, "$1…@");
  return new WalrustError("usage", `Cannot use destination ${JSON.stringify(shown)}: ${reason}`, {
    hint: EXAMPLES,
  });
}
