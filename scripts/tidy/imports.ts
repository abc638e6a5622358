/**
 * The rooms of `src/` and who may import whom: data flows one way, imports the other. A file imports from its
 * own room and from rooms below; two rooms of one height do not know each other. Of config, everything below
 * the commands sees types only. No verb imports another verb. What neither main.ts nor index.ts reaches is
 * dead.
 */
import { dirname, join, normalize } from "node:path";
import {
  isCallExpression,
  isExportDeclaration,
  isImportDeclaration,
  isNamedImports,
  isStringLiteral,
  type Node,
  SyntaxKind,
} from "typescript/unstable/ast";
import { lineAt, type ParsedFile, walk } from "./syntax.ts";
import type { Violation } from "./violations.ts";

/** Height of each room; imports go down. */
const ROOMS: Readonly<Record<string, number>> = {
  commands: 7,
  observability: 6,
  replication: 5,
  recovery: 5,
  config: 4,
  local: 3,
  database: 2,
  storage: 2,
  format: 1,
};
const ROOTS = ["src/main.ts", "src/index.ts"];
const FREE_FILES = ["src/errors.ts", "src/env.ts"];
const VERBS = /^src\/commands\/(watch|snapshot|restore|list|verify|compact|replicate|explain|pragma)\.ts$/;

interface Import {
  /** Path of the imported file from the project's folder. */
  readonly target: string;
  readonly isTypeOnly: boolean;
  readonly line: number;
}

/** Imports that go up, sideways or out of src, and files nobody reaches. */
export function importViolations(files: readonly ParsedFile[]): Violation[] {
  const sources = files.filter((file) => file.path.startsWith("src/"));
  const imports = new Map(sources.map((file) => [file.path, findImports(file)]));
  const violations: Violation[] = [];
  for (const { path } of sources) {
    for (const one of imports.get(path) ?? []) {
      const message = forbidImport(path, one);
      if (message !== null) violations.push({ path, line: one.line, rule: "import-direction", message });
    }
    const message = forbidPlace(path);
    if (message !== null) violations.push({ path, line: 1, rule: "place", message });
  }
  return [...violations, ...deadFiles(imports)];
}

function findImports({ path, tree }: ParsedFile): Import[] {
  const imports: Import[] = [];
  function add(specifier: Node | undefined, isTypeOnly: boolean): void {
    if (specifier === undefined || !isStringLiteral(specifier) || !specifier.text.startsWith(".")) return;
    const target = normalize(join(dirname(path), specifier.text));
    imports.push({ target, isTypeOnly, line: lineAt(tree, specifier.getStart(tree)) });
  }
  walk(tree, (node) => {
    if (isImportDeclaration(node)) {
      const clause = node.importClause;
      const named = clause?.namedBindings;
      const isEachType =
        clause?.name === undefined &&
        named !== undefined &&
        isNamedImports(named) &&
        named.elements.every((element) => element.isTypeOnly);
      add(node.moduleSpecifier, clause?.phaseModifier === SyntaxKind.TypeKeyword || isEachType);
    }
    if (isExportDeclaration(node)) add(node.moduleSpecifier, node.isTypeOnly);
    if (isCallExpression(node) && node.expression.kind === SyntaxKind.ImportKeyword)
      add(node.arguments[0], false);
  });
  return imports;
}

function roomOf(path: string): string | null {
  return path.match(/^src\/([^/]+)\//)?.[1] ?? null;
}

/** Why this import is not allowed, or null. */
function forbidImport(path: string, { target, isTypeOnly }: Import): string | null {
  if (target === "package.json") return null;
  if (!target.startsWith("src/")) return `imports ${target}: src depends on nothing outside src`;
  if (ROOTS.includes(target)) return `imports ${target}: it is a root, nothing imports it`;
  if (FREE_FILES.includes(target)) return null;
  if (ROOTS.includes(path)) return null;
  if (FREE_FILES.includes(path)) return `imports ${target}: errors.ts and env.ts know no room`;
  if (VERBS.test(target)) return `imports ${target}: no command imports another; hand it in from main.ts`;
  const own = roomOf(path);
  const other = roomOf(target);
  if (own === null || other === null || own === other) return null;
  if (other === "config" && (isTypeOnly || own === "commands")) return null;
  const isBelow = (ROOMS[other] ?? 0) < (ROOMS[own] ?? 0);
  if (other === "config") return `imports values of ${target}: only types of config, be handed the Config`;
  if (own === "config" && other !== "format") return `imports ${target}: config sees format only`;
  return isBelow ? null : `imports ${target}: imports go from ${own} to rooms below it, ${other} is not`;
}

function forbidPlace(path: string): string | null {
  const room = roomOf(path);
  if (room === null) {
    return [...ROOTS, ...FREE_FILES].includes(path)
      ? null
      : "lies in src itself: put it into one of the rooms";
  }
  return room in ROOMS ? null : `lies in src/${room}: that is none of the rooms`;
}

function deadFiles(imports: ReadonlyMap<string, readonly Import[]>): Violation[] {
  const reached = new Set<string>();
  const pending = ROOTS.filter((path) => imports.has(path));
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    pending.push(...(imports.get(path) ?? []).map((one) => one.target));
  }
  const message = "neither src/main.ts nor src/index.ts reaches it: delete it or use it";
  return [...imports.keys()]
    .filter((path) => !reached.has(path))
    .map((path) => ({ path, line: 1, rule: "dead-file", message }));
}
