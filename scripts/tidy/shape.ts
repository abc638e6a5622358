/**
 * Limits on the length of files, functions and lines, required comments, and the shape of folders.
 */
import {
  isCallExpression,
  isClassDeclaration,
  isEnumDeclaration,
  isFunctionDeclaration,
  isFunctionLikeDeclaration,
  isIdentifier,
  isInterfaceDeclaration,
  isPropertyAccessExpression,
  isTypeAliasDeclaration,
  isVariableStatement,
  type Node,
  type SourceFile,
  type Statement,
  SyntaxKind,
} from "typescript/unstable/ast";
import { lineAt, type ParsedFile, type Texts, walk } from "./syntax.ts";
import type { Violation } from "./violations.ts";
import { MAX_COLUMNS } from "./wrap-comments.ts";

/** Maximum length of a file, in lines. */
export const MAX_FILE_LINES = 500;
const MAX_FUNCTION_LINES = 70;
const MAX_FILES_WITHOUT_README = 3;
const MAX_FILES_IN_FOLDER = 18;
const MAX_SCREEN_LINES = 50;

/** Files, lines and functions that are too long, and missing headers and docstrings. */
export function shapeViolations(files: readonly ParsedFile[]): Violation[] {
  return files.flatMap((file) => [
    ...sizes(file),
    ...functionSizes(file),
    ...header(file),
    ...docstrings(file),
  ]);
}

function sizes({ path, tree }: ParsedFile): Violation[] {
  const lines = tree.text.replace(/\n$/, "").split("\n");
  const violations: Violation[] = [];
  if (lines.length > MAX_FILE_LINES) {
    const message = `${lines.length} lines, at most ${MAX_FILE_LINES}: split it where two ideas meet`;
    violations.push({ path, line: 1, rule: "file-size", message });
  }
  lines.forEach((text, index) => {
    if (text.length <= MAX_COLUMNS) return;
    const message = `${text.length} columns, at most ${MAX_COLUMNS}`;
    violations.push({ path, line: index + 1, rule: "line-length", message });
  });
  return violations;
}

function functionSizes({ path, tree }: ParsedFile): Violation[] {
  const violations: Violation[] = [];
  walk(tree, (node) => {
    if (!isFunctionLikeDeclaration(node)) return;
    const lineCount = countLines(tree, node) - countTestLines(tree, node);
    if (lineCount <= MAX_FUNCTION_LINES) return;
    const message = `a function of ${lineCount} lines, at most ${MAX_FUNCTION_LINES}`;
    violations.push({ path, line: lineAt(tree, node.getStart(tree)), rule: "function-size", message });
  });
  return violations;
}

function countLines(tree: SourceFile, node: Node): number {
  return lineAt(tree, node.end) - lineAt(tree, node.getStart(tree)) + 1;
}

/** Lines of a function that are tests of their own; a function may group any number of tests. */
function countTestLines(tree: SourceFile, parent: Node): number {
  let lineCount = 0;
  parent.forEachChild((child) => {
    lineCount += isTest(child) ? countLines(tree, child) : countTestLines(tree, child);
    return undefined;
  });
  return lineCount;
}

/** Whether a node calls `test`, `describe`, `test.each(…)` or `testWith(…)` on something. */
function isTest(node: Node): boolean {
  if (!isCallExpression(node)) return false;
  let callee: Node = node.expression;
  while (isCallExpression(callee) || isPropertyAccessExpression(callee)) callee = callee.expression;
  return isIdentifier(callee) && ["test", "it", "describe", "testWith"].includes(callee.text);
}

function header({ path, tree }: ParsedFile): Violation[] {
  if (/^(#![^\n]*\n)?\/\*\*/.test(tree.text)) return [];
  const message = "has no header comment: say what the file is and guarantees";
  return [{ path, line: 1, rule: "header", message }];
}

function docstrings({ path, tree }: ParsedFile): Violation[] {
  if (!path.startsWith("src/")) return [];
  const violations: Violation[] = [];
  tree.statements.forEach((statement, index) => {
    if (!isExported(statement) || sharesDocstring(tree, statement, tree.statements[index - 1])) return;
    const start = statement.getStart(tree);
    const comments = tree.text.slice(statement.pos, start).match(/\/\*\*[\s\S]*?\*\//g) ?? [];
    // The comment before the first statement is the file's header.
    const documents = index === 0 ? comments.slice(1) : comments;
    if (documents.length > 0) return;
    const message = "an export without a docstring: add one sentence, units, and @throws";
    violations.push({ path, line: lineAt(tree, start), rule: "docstring", message });
  });
  return violations;
}

function isExported(statement: Statement): boolean {
  if (statement.kind === SyntaxKind.ExportAssignment) return true;
  const { modifiers } = statement as { modifiers?: readonly Node[] };
  return modifiers?.some((modifier) => modifier.kind === SyntaxKind.ExportKeyword) ?? false;
}

/**
 * Whether the docstring of the statement before covers this one: an overload of the same function, or an
 * exported constant on the line above (a group of constants has one docstring).
 */
function sharesDocstring(tree: SourceFile, statement: Statement, previous: Statement | undefined): boolean {
  if (previous === undefined) return false;
  if (isVariableStatement(statement) && isVariableStatement(previous) && isExported(previous)) {
    return lineAt(tree, statement.getStart(tree)) === lineAt(tree, previous.end) + 1;
  }
  if (!isFunctionDeclaration(statement) || !isFunctionDeclaration(previous)) return false;
  return previous.body === undefined && previous.name?.text === statement.name?.text;
}

/** Folders of src with more than three files and no README.md. */
export function readmeViolations(texts: Texts): Violation[] {
  const counts = new Map<string, number>();
  for (const path of Object.keys(texts)) {
    const folder = path.match(/^(src\/.+)\/[^/]+\.ts$/)?.[1];
    if (folder !== undefined) counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts]
    .filter(([folder, count]) => count > MAX_FILES_WITHOUT_README && !(`${folder}/README.md` in texts))
    .map(([folder, count]) => ({
      path: folder,
      line: 1,
      rule: "readme",
      message: `${count} files and no README.md: what comes in, what goes out, what must never happen`,
    }));
}

/** READMEs of rooms whose description, above `## Reference`, fills more than one screen. */
export function screenViolations(texts: Texts): Violation[] {
  const pages = Object.entries(texts).filter(([path]) => /^src\/.*README\.md$/.test(path));
  return pages.flatMap(([path, text]) => {
    const lineCount = (text.split(/^## Reference$/m)[0] ?? "").trimEnd().split("\n").length;
    if (lineCount <= MAX_SCREEN_LINES) return [];
    const message = `${lineCount} lines above "## Reference", at most ${MAX_SCREEN_LINES}: one screen`;
    return [{ path, line: 1, rule: "screen", message }];
  });
}

/** Folders that hold too many files, README.md included. */
export function folderViolations(texts: Texts): Violation[] {
  const counts = new Map<string, number>();
  for (const path of Object.keys(texts)) {
    const folder = path.replace(/\/[^/]+$/, "");
    counts.set(folder, (counts.get(folder) ?? 0) + 1);
  }
  return [...counts]
    .filter(([, count]) => count > MAX_FILES_IN_FOLDER)
    .map(([folder, count]) => {
      const message = `${count} files, at most ${MAX_FILES_IN_FOLDER}: it holds several rooms`;
      return { path: folder, line: 1, rule: "folder-size", message };
    });
}

/** Source files with the name of another one: neither an import nor a sentence would distinguish them. */
export function basenameViolations(texts: Texts): Violation[] {
  const first = new Map<string, string>();
  const violations: Violation[] = [];
  for (const path of Object.keys(texts).sort()) {
    const name = path.match(/^src\/.*\/([^/]+\.ts)$/)?.[1];
    if (name === undefined) continue;
    const other = first.get(name);
    if (other === undefined) first.set(name, path);
    else violations.push({ path, line: 1, rule: "basename", message: `has the name of ${other}` });
  }
  return violations;
}

/** Exported types of two source files with one name: a reader of one would take it for the other. */
export function typeNameViolations(files: readonly ParsedFile[]): Violation[] {
  const first = new Map<string, string>();
  const violations: Violation[] = [];
  for (const { path, tree } of [...files].sort((a, b) => (a.path < b.path ? -1 : 1))) {
    if (!path.startsWith("src/")) continue;
    for (const statement of tree.statements) {
      const name = isExported(statement) ? typeNameOrNull(statement) : null;
      if (name === null) continue;
      const other = first.get(name) ?? path;
      first.set(name, other);
      if (other === path) continue;
      const line = lineAt(tree, statement.getStart(tree));
      violations.push({ path, line, rule: "type-name", message: `${name}: ${other} exports one, too` });
    }
  }
  return violations;
}

/** The name of an interface, a type, a class or an enum. */
function typeNameOrNull(statement: Statement): string | null {
  const isNamed =
    isInterfaceDeclaration(statement) ||
    isTypeAliasDeclaration(statement) ||
    isClassDeclaration(statement) ||
    isEnumDeclaration(statement);
  return isNamed ? (statement.name?.text ?? null) : null;
}
