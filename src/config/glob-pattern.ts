/**
 * PURE: parses path patterns. A pattern becomes a list of alternatives, each a list of checked segments.
 *
 * - `*` matches any text of a name, `?` one character.
 * - `[abc]` and `[a-z]` match one of these characters, `[!a]` any other one.
 * - `{a,b}` stands for each of these texts, also across slashes, and nested.
 * - A segment `**` matches any depth of folders.
 * - A backslash makes the character after it a plain one.
 *
 * As in bash, `{a}` without a comma is plain text, and so is a bracket or brace that is not closed.
 */
import { WalrustError } from "../errors.ts";

const LENGTH_MAX = 4096;
const ALTERNATIVES_MAX = 1000;

/** One segment of a pattern: a name, a test of names, or any depth of folders. */
export type GlobSegment =
  | { readonly kind: "name"; readonly name: string }
  | {
      readonly kind: "match";
      readonly glob: Bun.Glob;
      /** Whether it begins with a dot: only then does it match hidden names. */
      readonly isForHidden: boolean;
    }
  | { readonly kind: "deep" };

/** One character, or a backslash and a character that it makes plain. */
type Unit = string;
/** A unit, or the alternatives of a pair of braces. */
type Piece = Unit | readonly (readonly Piece[])[];

/** Whether a path contains a character that makes the path a pattern. @throws WalrustError code "config" */
export function hasGlob(path: string): boolean {
  const pieces = parsePieces(unitsOf(path));
  if (pieces.some((piece) => typeof piece !== "string")) return true;
  return splitAtSlashes(pieces as readonly Unit[]).some((units) => compileSegment(units).kind !== "name");
}

/**
 * Splits a pattern at the first segment that is not a plain name; the last segment is never in `fixed`.
 * @returns `fixed`: a folder (backslashes are resolved; "." if there is none); `rest`: the pattern below it
 * @throws WalrustError code "config" when the pattern is too long
 */
export function splitGlob(pattern: string): { fixed: string; rest: string } {
  const units = unitsOf(pattern);
  const pieces = parsePieces(units);
  const firstGroup = pieces.findIndex((piece) => typeof piece !== "string");
  // Before the first pair of braces that has alternatives, pieces and units are one to one.
  const plain = (firstGroup < 0 ? pieces : pieces.slice(0, firstGroup)) as readonly Unit[];
  const names: string[] = [];
  let restAt = 0;
  for (let at = 0; at < plain.length; at++) {
    if (!isSlash(plain[at]!)) continue;
    const segment = compileSegment(plain.slice(restAt, at));
    if (segment.kind !== "name") break;
    if (segment.name !== "" && segment.name !== ".") names.push(segment.name);
    restAt = at + 1;
  }
  const isAbsolute = units.length > 0 && isSlash(units[0]!);
  const fixed = isAbsolute ? `/${names.join("/")}` : names.join("/") || ".";
  return { fixed, rest: units.slice(restAt).join("") };
}

/** A pattern that matches exactly this path, for a plain folder before a pattern. */
export function escapeGlob(path: string): string {
  return path.replace(/[\\*?[\]{}]/g, "\\$&");
}

/** The path that a text without a pattern names: its backslashes resolved. */
export function unescapeGlob(path: string): string {
  return unitsOf(path).map(characterOf).join("");
}

/**
 * Parses a pattern into its alternatives. Alternatives that end with a slash (or `/.`) name no file and are
 * left out. Segments that are empty or `.` are dropped.
 * @throws WalrustError code "config" when the pattern is too long or has too many alternatives
 */
export function parseGlob(pattern: string): GlobSegment[][] {
  const parsed: GlobSegment[][] = [];
  for (const units of expandPieces(parsePieces(unitsOf(pattern)), pattern)) {
    const parts = splitAtSlashes(units);
    if (["", "."].includes(parts.at(-1)!.map(characterOf).join(""))) continue;
    const segments: GlobSegment[] = [];
    for (const part of parts) {
      const segment = compileSegment(part);
      if (segment.kind === "name" && (segment.name === "" || segment.name === ".")) continue;
      segments.push(segment);
    }
    // At the end, `**` matches every file at any depth.
    if (segments.at(-1)?.kind === "deep") segments.push(compileSegment(["*"]));
    if (segments.length > 0) parsed.push(segments);
  }
  return parsed;
}

function unitsOf(pattern: string): Unit[] {
  if (pattern.length > LENGTH_MAX) {
    throw new WalrustError(
      "config",
      `A path pattern has ${pattern.length} characters, at most ${LENGTH_MAX}`,
      {
        hint: "Give shorter patterns, each as a path of its own",
      },
    );
  }
  const units: Unit[] = [];
  let isQuoted = false;
  for (const character of pattern) {
    if (isQuoted) units.push(`\\${character}`);
    else if (character !== "\\") units.push(character);
    isQuoted = !isQuoted && character === "\\";
  }
  if (isQuoted) units.push("\\\\");
  return units;
}

function characterOf(unit: Unit): string {
  return unit.startsWith("\\") ? unit.slice(1) : unit;
}

function isSlash(unit: Unit): boolean {
  return unit === "/" || unit === "\\/";
}

function splitAtSlashes(units: readonly Unit[]): Unit[][] {
  const parts: Unit[][] = [[]];
  for (const unit of units) {
    if (isSlash(unit)) parts.push([]);
    else parts.at(-1)!.push(unit);
  }
  return parts;
}

/** Finds the pairs of braces that have alternatives. All other braces become plain characters. */
function parsePieces(units: readonly Unit[]): readonly Piece[] {
  /** The alternatives so far: of the whole pattern, then of each open brace, outermost first. */
  const open: Piece[][][] = [[[]]];
  const add = (...pieces: Piece[]): void => {
    open
      .at(-1)!
      .at(-1)!
      .push(...pieces);
  };
  const addPlain = (alternatives: readonly Piece[][], end: readonly Unit[]): void => {
    add("\\{");
    for (const [index, pieces] of alternatives.entries()) add(...(index > 0 ? [","] : []), ...pieces);
    add(...end);
  };
  for (const unit of units) {
    if (unit === "{") {
      open.push([[]]);
    } else if (unit === "," && open.length > 1) {
      open.at(-1)!.push([]);
    } else if (unit === "}" && open.length > 1) {
      const alternatives = open.pop()!;
      if (alternatives.length > 1) add(alternatives);
      else addPlain(alternatives, ["\\}"]);
    } else {
      add(unit);
    }
  }
  while (open.length > 1) addPlain(open.pop()!, []);
  return open[0]![0]!;
}

function expandPieces(pieces: readonly Piece[], pattern: string): Unit[][] {
  let expanded: Unit[][] = [[]];
  for (const piece of pieces) {
    if (typeof piece === "string") {
      for (const units of expanded) units.push(piece);
      continue;
    }
    const alternatives = piece.flatMap((alternative) => expandPieces(alternative, pattern));
    if (expanded.length * alternatives.length > ALTERNATIVES_MAX) {
      throw new WalrustError(
        "config",
        `The braces of ${JSON.stringify(pattern)} have more than ${ALTERNATIVES_MAX} alternatives`,
        { hint: "Use a wildcard, or several paths" },
      );
    }
    expanded = expanded.flatMap((units) => alternatives.map((alternative) => [...units, ...alternative]));
  }
  return expanded;
}

/** Rewrites a segment for Bun.Glob, which gives `!`, braces, `\n` and `\t` another meaning. */
function compileSegment(units: readonly Unit[]): GlobSegment {
  if (units.length === 2 && units.every((unit) => unit === "*")) return { kind: "deep" };
  let text = "";
  let isPlain = true;
  for (let at = 0; at < units.length; at++) {
    const unit = units[at]!;
    const end = unit === "[" ? bracketEnd(units, at) : -1;
    if (end > 0) text += bracketText(units.slice(at + 1, end));
    else if (unit === "?" || unit === "*") text += unit === "*" && units[at - 1] === "*" ? "" : unit;
    else text += quoted(unit);
    if (end > 0 || unit === "?" || unit === "*") isPlain = false;
    if (end > 0) at = end;
  }
  if (isPlain) return { kind: "name", name: units.map(characterOf).join("") };
  return { kind: "match", glob: new Bun.Glob(text), isForHidden: characterOf(units[0]!) === "." };
}

/** The index of the bracket that closes the bracket at `start`, or -1. */
function bracketEnd(units: readonly Unit[], start: number): number {
  let at = start + 1;
  if (units[at] === "!" || units[at] === "^") at++;
  // A closing bracket right after the opening one is a member.
  if (units[at] === "]") at++;
  return units.indexOf("]", at);
}

function bracketText(units: readonly Unit[]): string {
  const isNegated = units[0] === "!" || units[0] === "^";
  const members = isNegated ? units.slice(1) : units;
  const texts = members.map((unit) => (unit === "-" ? unit : quoted(unit)));
  return `[${isNegated ? "!" : ""}${texts.join("")}]`;
}

function quoted(unit: Unit): string {
  const character = characterOf(unit);
  return /[\\*?[\]{}!^,-]/.test(character) ? `\\${character}` : character;
}
