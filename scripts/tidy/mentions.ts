/**
 * Source files that prose mentions. A Markdown file names them in backticks (`links.ts`, `errors.py`), a
 * comment names them as plain words. A name that is no file of the project sends the reader nowhere.
 */
import { findComments, lineAt, type ParsedFile, type Texts } from "./syntax.ts";
import type { Violation } from "./violations.ts";

/**
 * Mentions of `.ts` files, and of `.py` files in Markdown, by name or by the end of their path, that are not
 * among these texts.
 */
export function mentionViolations(files: readonly ParsedFile[], texts: Texts): Violation[] {
  const known = new Set(Object.keys(texts).flatMap(endsOf));
  const pages = Object.entries(texts).filter(([path]) => path.endsWith(".md"));
  return [
    ...pages.flatMap(([path, text]) => pageViolations(path, text, known)),
    ...files.flatMap((file) => commentViolations(file, known)),
  ];
}

/** A path and all its ends: the path without its first folder, without its first two, and so on. */
function endsOf(path: string): string[] {
  const steps = path.split("/");
  return steps.map((_, index) => steps.slice(index).join("/"));
}

function pageViolations(path: string, text: string, known: ReadonlySet<string>): Violation[] {
  return text
    .split("\n")
    .flatMap((line, index) =>
      [...line.matchAll(/`(?:\.\.?\/)*([\w./-]+\.(?:ts|py))`/g)].flatMap(([, name]) =>
        known.has(name!) ? [] : [violation(path, index + 1, name!)],
      ),
    );
}

function commentViolations({ path, tree }: ParsedFile, known: ReadonlySet<string>): Violation[] {
  return findComments(tree).flatMap(({ text, offset }) =>
    [...text.matchAll(/(?<![\w*/.-])(?:\.\.?\/)*([\w-][\w./-]*\.ts)\b/g)].flatMap((match) =>
      known.has(match[1]!) ? [] : [violation(path, lineAt(tree, offset + match.index), match[1]!)],
    ),
  );
}

function violation(path: string, line: number, name: string): Violation {
  return { path, line, rule: "mention", message: `mentions ${name}, which does not exist` };
}
