/**
 * Parses source texts into syntax trees, with the project's own compiler. The rules examine trees, so they
 * never mistake a word in a string or a comment for code.
 */

import { type Node, type SourceFile, SyntaxKind } from "typescript/unstable/ast";
import { API } from "typescript/unstable/async";
import { createVirtualFileSystem } from "typescript/unstable/fs";

/** File texts by path from the project's folder. */
export type Texts = Readonly<Record<string, string>>;

/** A parsed file. */
export interface ParsedFile {
  readonly path: string;
  readonly tree: SourceFile;
}

/**
 * Parses every `.ts` file.
 * @throws Error when the compiler does not return one of them.
 */
export async function parseFiles(texts: Texts): Promise<ParsedFile[]> {
  const paths = Object.keys(texts).filter((path) => path.endsWith(".ts"));
  const config = { compilerOptions: { noLib: true, noResolve: true, types: [] }, files: paths };
  const virtual: Record<string, string> = { "/tidy/tsconfig.json": JSON.stringify(config) };
  for (const path of paths) virtual[`/tidy/${path}`] = texts[path] ?? "";
  const compiler = new API({ cwd: "/tidy", fs: createVirtualFileSystem(virtual) });
  try {
    const snapshot = await compiler.updateSnapshot({ openProjects: ["/tidy/tsconfig.json"] });
    const program = snapshot.getProjects()[0]?.program;
    const files: ParsedFile[] = [];
    for (const path of paths) {
      const tree = await program?.getSourceFile(`/tidy/${path}`);
      if (tree === undefined) throw new Error(`Cannot parse ${path}: the compiler returned no tree`);
      files.push({ path, tree });
    }
    return files;
  } finally {
    await compiler.close();
  }
}

/** Calls `visit` for a node and everything below it, parents first. */
export function walk(node: Node, visit: (node: Node) => void): void {
  visit(node);
  node.forEachChild((child) => {
    walk(child, visit);
    return undefined;
  });
}

/** The line of an offset, counted from 1. */
export function lineAt(tree: SourceFile, offset: number): number {
  let line = 1;
  for (let at = tree.text.indexOf("\n"); at !== -1 && at < offset; at = tree.text.indexOf("\n", at + 1))
    line++;
  return line;
}

/** The comments of a file with the offset of each. */
export function findComments(tree: SourceFile): { text: string; offset: number }[] {
  const comments = [...maskLiterals(tree).matchAll(/\/\*[\s\S]*?\*\/|\/\/[^\n]*/g)];
  return comments.map((match) => ({
    text: tree.text.slice(match.index, match.index + match[0].length),
    offset: match.index,
  }));
}

const LITERALS: ReadonlySet<SyntaxKind> = new Set([
  SyntaxKind.StringLiteral,
  SyntaxKind.RegularExpressionLiteral,
  SyntaxKind.NoSubstitutionTemplateLiteral,
  SyntaxKind.TemplateHead,
  SyntaxKind.TemplateMiddle,
  SyntaxKind.TemplateTail,
]);

/** A text with the content of strings, templates and regular expressions blanked; offsets stay the same. */
function maskLiterals(tree: SourceFile): string {
  let masked = "";
  let end = 0;
  walk(tree, (node) => {
    if (!LITERALS.has(node.kind)) return;
    const start = node.getStart(tree);
    masked += tree.text.slice(end, start) + " ".repeat(node.end - start);
    end = node.end;
  });
  return masked + tree.text.slice(end);
}
