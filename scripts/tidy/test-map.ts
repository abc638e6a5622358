/**
 * The way from a source file to its test. A source file with logic has a test of its name, or test/README.md
 * names the test that covers it.
 */
import { isFunctionLikeDeclaration } from "typescript/unstable/ast";
import { type ParsedFile, type Texts, walk } from "./syntax.ts";
import type { Violation } from "./violations.ts";

const MAP = "test/README.md";

/**
 * Source files with logic that have no test of their name and no row in the map, and rows that are not
 * needed.
 */
export function testMapViolations(files: readonly ParsedFile[], texts: Texts): Violation[] {
  const map = texts[MAP];
  if (map === undefined) return [];
  const tested = new Set(Object.keys(texts).map((path) => path.match(/^test\/.*\/([^/]+)\.test\.ts$/)?.[1]));
  const mapped = new Set([...map.matchAll(/^\| `([\w-]+)\.ts` \|/gm)].map((row) => row[1]));
  return files.flatMap(({ path, tree }) => {
    const name = path.match(/^src\/.*\/([^/]+)\.ts$/)?.[1];
    if (name === undefined) return [];
    if (tested.has(name)) {
      const message = `has a row for ${name}.ts, which has a test of its name`;
      return mapped.has(name) ? [{ path: MAP, line: 1, rule: "test-map", message }] : [];
    }
    if (mapped.has(name) || !hasLogic(tree)) return [];
    const message = `has no ${name}.test.ts and no row in ${MAP}`;
    return [{ path, line: 1, rule: "test-map", message }];
  });
}

/** Whether a file has a function with a body: types and constants need no test. */
function hasLogic(tree: ParsedFile["tree"]): boolean {
  let isFound = false;
  walk(tree, (node) => {
    if (!isFunctionLikeDeclaration(node)) return;
    isFound ||= (node as { readonly body?: unknown }).body !== undefined;
  });
  return isFound;
}
