/**
 * The rooms of `src/`, their sub-rooms, and the imports that are allowed between them. Imports go down: from
 * a room to the rooms below it, and within a room from a sub-room to the sub-rooms below it. Rooms of one
 * height do not import each other. One sub-room has a height of its own: `recovery/object` judges an object
 * for replication too, so it stands below both. Only commands and discovery import values of config; every
 * other room imports its types. No verb imports another verb. A file that no program reaches is dead.
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

/** Rooms from the lowest to the highest, and the sub-rooms that stand lower than their room. */
const ROOMS: readonly (readonly string[])[] = [
  ["format"],
  ["database", "storage"],
  ["local"],
  ["recovery/object"],
  ["config"],
  ["discovery"],
  ["replication", "recovery"],
  ["observability", "forecast"],
  ["commands"],
  ["library"],
];
/**
 * The sub-rooms of each divided room, from the lowest to the highest; "" is the folder of the room itself.
 */
const SUB_ROOMS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  database: [["files"], ["wal", "connection"], ["pin"], [""]],
  storage: [["contract", "network"], ["guard", "bucket", "file"], ["s3"], [""]],
  local: [[""], ["folders"]],
  config: [["settings"], [""]],
  replication: [
    ["context"],
    ["capture"],
    ["upload", "push"],
    ["attach"],
    ["upkeep"],
    ["control", "requests"],
    ["watch"],
  ],
  observability: [["dashboard"], ["dashboard/browser"], [""]],
  recovery: [
    ["object"],
    ["plan", "integrity"],
    ["restore"],
    ["verify", "replica"],
    ["restore-all"],
    ["serve"],
  ],
  commands: [
    ["shared", "memory"],
    ["watch", "restore", "push"],
    ["explain", "status", "doctor", "verify", "completions", "manual"],
    [""],
  ],
};
/** Rooms that import values of config; others import its types. */
const CONFIGURED = ["library", "commands", "discovery"];
/** The programs: of walrust, of its library, and of its page in a browser. */
const ROOTS = ["src/main.ts", "src/index.ts", "src/observability/dashboard/browser/dashboard-main.ts"];
const FREE_FILES = ["src/errors.ts", "src/env.ts"];
const VERBS = /^src\/commands\/[a-z-]+\.ts$/;

interface Import {
  /** Path of the imported file from the project's folder. */
  readonly target: string;
  readonly isTypeOnly: boolean;
  readonly line: number;
}

/** Imports that go up, sideways or out of src, and files that no root reaches. */
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

/** The folders between the room and the file: "" for a file of the room itself. */
function subRoomOf(path: string): string {
  return path.split("/").slice(2, -1).join("/");
}

/** Index of a name in a list of heights, or -1. */
function heightOf(levels: readonly (readonly string[])[], name: string): number {
  return levels.findIndex((names) => names.includes(name));
}

/** How high a file stands in src: as its sub-room if that has a height of its own, else as its room. */
function heightInSrc(path: string): number {
  const own = heightOf(ROOMS, `${roomOf(path)}/${subRoomOf(path)}`);
  return own === -1 ? heightOf(ROOMS, roomOf(path) ?? "") : own;
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
  if (own === null || other === null) return null;
  if (own === other) return forbidWithin(own, path, target);
  if (other === "config" && (isTypeOnly || CONFIGURED.includes(own))) return null;
  if (other === "config") return `imports values of ${target}: only types of config, be handed the Config`;
  if (own === "config" && other !== "format") return `imports ${target}: config sees format only`;
  if (heightInSrc(target) < heightInSrc(path)) return null;
  return `imports ${target}: imports go from ${own} to rooms below it, ${dirname(target).slice(4)} is not`;
}

/** Why a file may not import another one of its room, or null. */
function forbidWithin(room: string, path: string, target: string): string | null {
  const levels = SUB_ROOMS[room];
  const own = subRoomOf(path);
  const other = subRoomOf(target);
  if (levels === undefined || own === other || heightOf(levels, other) < heightOf(levels, own)) return null;
  return `imports ${target}: imports go from ${room}/${own} to sub-rooms below it, ${room}/${other} is not`;
}

function forbidPlace(path: string): string | null {
  const room = roomOf(path);
  if (room === null) {
    return [...ROOTS, ...FREE_FILES].includes(path)
      ? null
      : "lies in src itself: put it into one of the rooms";
  }
  if (heightOf(ROOMS, room) === -1) return `lies in src/${room}: that is none of the rooms`;
  const subRoom = subRoomOf(path);
  const isKnown = heightOf(SUB_ROOMS[room] ?? [[""]], subRoom) !== -1;
  return isKnown ? null : `lies in src/${room}/${subRoom}: that is none of the sub-rooms of ${room}`;
}

function deadFiles(imports: ReadonlyMap<string, readonly Import[]>): Violation[] {
  const reached = new Set<string>();
  const pending = ROOTS.filter((path) => imports.has(path));
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    if (reached.has(path)) continue;
    reached.add(path);
    pending.push(...(imports.get(path) ?? []).map((one) => one.target));
  }
  const message = "no program reaches this file: delete or use it";
  return [...imports.keys()]
    .filter((path) => !reached.has(path))
    .map((path) => ({ path, line: 1, rule: "dead-file", message }));
}
