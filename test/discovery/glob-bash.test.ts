/**
 * Path patterns against bash (globstar) and find as oracles, over random trees and patterns.
 *
 * bash differs in two cases. `**` after a folder follows symlinked folders one level, though not at the start
 * of a pattern. So bash is the oracle for `**` in trees without links, and find in trees with links. And bash
 * reads `{a},b}` as `a}` and `b`, so the test omits that pattern.
 */
import { expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import fc from "fast-check";
import { expandGlob, hasGlob, splitGlob, unescapeGlob } from "../../src/discovery/glob.ts";
import { systemCode } from "../../src/errors.ts";
import { cases } from "../support/property-cases.ts";
import { tempFolder } from "../support/temp.ts";

const ENV = { turn: async () => {} };

interface TreeEntry {
  readonly path: string;
  readonly kind: "file" | "folder" | "link";
  readonly target: string;
}

const names = fc.oneof(
  { weight: 4, arbitrary: fc.constantFrom("a", "b", "ab", "c", "a.db", "b.db", "ba.db", ".a", ".b.db") },
  {
    weight: 1,
    arbitrary: fc.constantFrom("A", "[a]", "{a,b}", "!a", "a*", "x\\y", "-", "]", "é", "😀.db", "^"),
  },
);
const paths = fc.array(names, { minLength: 1, maxLength: 4 }).map((parts) => parts.join("/"));
const trees = fc.array(
  fc.record<TreeEntry>({
    path: paths,
    kind: fc.constantFrom("file", "file", "file", "folder", "link"),
    target: fc.oneof(names, fc.constantFrom(".", "..", "../a", "a/b", "nowhere")),
  }),
  { minLength: 8, maxLength: 40 },
);

const atoms = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom("a", "b", ".db", "*", "?", "a.db") },
  {
    weight: 3,
    arbitrary: fc.constantFrom("[ab]", "[!a]", "[a-c]", "[^b-z]", ".", "{a,b}", "{a,*.db}", "{,.}"),
  },
  {
    weight: 2,
    arbitrary: fc.constantFrom(
      "{a/,}",
      "{*,b/?}",
      "{**/,a}",
      "{a,{b,?/a}c}",
      "{a}",
      "{",
      "}",
      ",",
      "!",
      "^",
      "-",
    ),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "\\*",
      "\\[",
      "\\]",
      "\\{",
      "\\a",
      "\\\\",
      "[",
      "]",
      "[]]",
      "[!]a]",
      "[\\]a-]",
      "é",
      "[é😀]",
    ),
  },
);
const segments = fc.oneof(
  { weight: 6, arbitrary: fc.array(atoms, { minLength: 1, maxLength: 3 }).map((parts) => parts.join("")) },
  { weight: 2, arbitrary: fc.constantFrom("**", "*") },
  { weight: 1, arbitrary: fc.constantFrom("..", ".", "***", "a") },
);
const patterns = fc
  .array(segments, { minLength: 1, maxLength: 4 })
  .map((parts) => parts.join("/"))
  .filter((pattern) => !/\{[^{},]*\}[^{}]*,[^{}]*\}/.test(pattern));

/** Whether the pattern can contain `**` after brace expansion. */
function mayBeDeep(pattern: string): boolean {
  return /[{,}*]\*|\*[{,}]/.test(pattern);
}

/** Creates the parts of a tree that fit together; skips a file in the place of a folder, for example. */
function makeTree(entries: readonly TreeEntry[]): string {
  // At this depth `..` in patterns and links reaches no other files.
  const root = join(tempFolder("tree"), "1/2/3/4/5/6/7/8");
  mkdirSync(root, { recursive: true });
  for (const { path, kind, target } of entries) {
    const full = join(root, path);
    try {
      mkdirSync(kind === "folder" ? full : dirname(full), { recursive: true });
      if (kind === "file") writeFileSync(full, "");
      if (kind === "link") symlinkSync(target, full);
    } catch (error) {
      if (!["EEXIST", "ENOTDIR", "EISDIR", "ENOENT", "ELOOP"].includes(systemCode(error) ?? "")) throw error;
    }
  }
  return root;
}

/** bash's finds for each pattern: regular files, each once, sorted. */
function askBash(root: string, asked: readonly string[]): string[][] {
  const questions = asked.map(
    (pattern) => `for f in ./${pattern}; do [ -f "$f" ] && echo "$f"; done; echo //`,
  );
  const script = `shopt -s globstar nullglob; cd ${root} || exit 1\n${questions.join("\n")}\n`;
  const environment = { PATH: process.env["PATH"], LC_ALL: "C.UTF-8" };
  const { stdout, stderr } = spawnSync("bash", [], { input: script, encoding: "utf8", env: environment });
  expect(stderr).toBe("");
  const answers = stdout.split("//\n").slice(0, -1);
  return answers.map((answer) =>
    [
      ...new Set(
        answer
          .split("\n")
          .filter((line) => line !== "")
          .map(clean),
      ),
    ].sort(),
  );
}

/** A path without `.` segments. */
function clean(path: string): string {
  return path
    .split("/")
    .filter((part) => part !== "." && part !== "")
    .join("/");
}

async function askUs(root: string, pattern: string): Promise<string[]> {
  const matches = await expandGlob(`${root}/${pattern}`, ENV);
  const { fixed } = splitGlob(`${root}/${pattern}`);
  for (const { path, relative } of matches) expect(path).toBe(`${fixed}/${relative}`);
  return matches.map(({ path }) => path.slice(root.length + 1)).sort();
}

test("expandGlob agrees with bash", async () => {
  let found = 0;
  const runs = fc.tuple(trees, fc.array(patterns, { minLength: 40, maxLength: 40 }));
  const property = fc.asyncProperty(runs, async ([entries, all]) => {
    for (const isDeep of [false, true]) {
      const root = makeTree(isDeep ? entries.filter(({ kind }) => kind !== "link") : entries);
      const asked = all.filter((pattern) => mayBeDeep(pattern) === isDeep);
      const answers = askBash(root, asked);
      expect(answers).toHaveLength(asked.length);
      for (const [index, pattern] of asked.entries()) {
        const ours = await askUs(root, pattern);
        expect({ pattern, found: ours }).toEqual({ pattern, found: answers[index]! });
        if (!hasGlob(pattern)) expect(ours.every((path) => path === clean(unescapeGlob(pattern)))).toBe(true);
        found += ours.length;
      }
    }
  });
  await fc.assert(property, cases(150, 20260119));
  expect(found).toBeGreaterThan(2000);
});

test("expandGlob with ** agrees with find, which follows no links to folders", async () => {
  let found = 0;
  const lastSegments = fc.constantFrom("*", "*.db", "a", "[ab]*", "?", "*[!a]");
  const property = fc.asyncProperty(trees, lastSegments, async (entries, last) => {
    const root = makeTree(entries);
    const words = [
      root,
      "-mindepth",
      "1",
      "-name",
      ".*",
      "-prune",
      "-o",
      "-xtype",
      "f",
      "-name",
      last,
      "-print",
    ];
    const { stdout, stderr } = spawnSync("find", words, { encoding: "utf8", env: { LC_ALL: "C.UTF-8" } });
    const complaints = stderr.split("\n").filter((line) => line !== "" && !line.includes("Too many levels"));
    expect(complaints).toEqual([]);
    const answer = stdout.split("\n").filter((line) => line !== "");
    expect(await askUs(root, `**/${last}`)).toEqual(answer.map((path) => path.slice(root.length + 1)).sort());
    found += answer.length;
  });
  await fc.assert(property, cases(100, 20260120));
  expect(found).toBeGreaterThan(200);
});
