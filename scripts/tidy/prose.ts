/**
 * The one rule of prose that a machine can hold: a sentence in a comment begins with its subject, and not
 * with a clause that stands for the subject ("What was captured is sent").
 */
import { findComments, lineAt, type ParsedFile } from "./syntax.ts";
import type { Violation } from "./violations.ts";

const CLAUSE = /(?:^|[.!] )(What|Who|Whatever|Whoever|Which) /g;

/** Sentences in comments that begin with a clause as their subject. */
export function proseViolations(files: readonly ParsedFile[]): Violation[] {
  return files.flatMap(({ path, tree }) =>
    findComments(tree).flatMap(({ text, offset }) =>
      [...plainText(text).matchAll(CLAUSE)].map(([, word]) => {
        const message = `a sentence begins with "${word}": begin it with its subject`;
        return { path, line: lineAt(tree, offset), rule: "subject-first", message };
      }),
    ),
  );
}

/** The words of a comment on one line, without its signs. */
function plainText(comment: string): string {
  return comment
    .replace(/^\s*(\/\*\*?|\*\/|\*|\/\/)|\*\/$/gm, "")
    .replace(/\s+/g, " ")
    .trim();
}
