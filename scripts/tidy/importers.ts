/**
 * A type that half of the project imports is a habit and no interface: whoever changes it touches everything.
 * At most 29 files of `src/` import one exported type, unless it is one of the contracts that all rooms
 * speak. A room that needs a part of a larger type declares that part where it is consumed, as a `Pick` or an
 * interface of its own.
 */
import { dirname, join, normalize } from "node:path";
import { isImportDeclaration, isNamedImports, isStringLiteral, SyntaxKind } from "typescript/unstable/ast";
import { lineAt, type ParsedFile, walk } from "./syntax.ts";
import type { Violation } from "./violations.ts";

/** The most files that may import one type. */
const IMPORTERS_MAX = 29;
/**
 * The contracts that all rooms speak: environment, errors, numbers of the format, stores and their objects.
 */
const CONTRACTS = [
  "src/env.ts",
  "src/errors.ts",
  "src/format/types.ts",
  "src/storage/bucket/catalog.ts",
  "src/storage/contract/store.ts",
];

/** Exported types that too many files import. */
export function importerViolations(files: readonly ParsedFile[]): Violation[] {
  const importers = new Map<string, { count: number; path: string; line: number }>();
  for (const { path, tree } of files.filter((file) => file.path.startsWith("src/"))) {
    walk(tree, (node) => {
      if (!isImportDeclaration(node) || !isStringLiteral(node.moduleSpecifier)) return;
      const { text } = node.moduleSpecifier;
      const named = node.importClause?.namedBindings;
      if (!text.startsWith(".") || named === undefined || !isNamedImports(named)) return;
      const target = normalize(join(dirname(path), text));
      const isTypeClause = node.importClause?.phaseModifier === SyntaxKind.TypeKeyword;
      for (const { isTypeOnly, name, propertyName } of named.elements) {
        if (!isTypeOnly && !isTypeClause) continue;
        const key = `${target}#${(propertyName ?? name).text}`;
        const line = lineAt(tree, node.getStart(tree));
        importers.set(key, { count: (importers.get(key)?.count ?? 0) + 1, path, line });
      }
    });
  }
  const violations: Violation[] = [];
  for (const [key, { count, path, line }] of importers) {
    const [target = "", name] = key.split("#");
    if (count <= IMPORTERS_MAX || CONTRACTS.includes(target)) continue;
    const what = `${count} files import ${name} of ${target}, at most ${IMPORTERS_MAX}`;
    const message = `${what}: declare the part that each needs where it is consumed`;
    violations.push({ path, line, rule: "importers", message });
  }
  return violations;
}
