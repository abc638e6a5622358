/**
 * README.md as a page: every example is named and is run by readme-shell, readme-config or readme-json;
 * every link leads somewhere; the reader of the page (readme-blocks.ts) is tested on texts of its own.
 */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { shapeDifferences } from "../../support/oracles/json-shape.ts";
import {
  anchorOf,
  fenceMistakes,
  headingsOf,
  LANGUAGES,
  linksOf,
  namesOf,
  parseBlocks,
  README,
  ROOT,
} from "../../support/readme/readme-blocks.ts";
import { SUBSTITUTIONS } from "../../support/readme/readme-sandbox.ts";

describe("README.md", () => {
  test("names every example, once, in a language that a test runs", () => {
    expect(fenceMistakes(README)).toEqual([]);
    for (const language of LANGUAGES) expect(namesOf(language).length).toBeGreaterThan(0);
  });

  test("links to headings and files that are there", () => {
    const anchors = new Set(headingsOf(README).map(anchorOf));
    const links = linksOf(README).filter((target) => !target.startsWith("https://"));
    expect(links).toContain("#configuration");
    expect(links.filter((target) => !leadsSomewhere(target, anchors))).toEqual([]);
  });

  test("lists in its contents the sections that there are", () => {
    const [contents = ""] = /^Contents: .*$/m.exec(README) ?? [];
    const sections = [...README.matchAll(/^## (.+)$/gm)].map(([, heading]) => `#${anchorOf(heading!)}`);
    expect(sections).toEqual([...linksOf(contents), "#working-on-it"]);
  });

  test.each(SUBSTITUTIONS.map(({ found, why }) => [found.source, found, why] as const))(
    "has what the sandbox replaces: %s",
    (_source, found) => {
      const examples = parseBlocks(README).map(({ text }) => text);
      expect(examples.some((text) => text.search(found) >= 0)).toBe(true);
    },
  );
});

function leadsSomewhere(target: string, anchors: ReadonlySet<string>): boolean {
  const [path = "", anchor = ""] = target.split("#");
  return path === "" ? anchors.has(anchor) : existsSync(join(ROOT, path));
}

describe("parseBlocks", () => {
  const TEXT = "# A\n\nOne\nlead:\n\n```sh first\nls\n\npwd\n```\n\n```\npicture\n```\n";

  test("reads language, name, line, text and the paragraph before", () => {
    expect(parseBlocks(TEXT)).toEqual([
      { language: "sh", name: "first", line: 6, text: "ls\n\npwd\n", lead: "One\nlead:" },
      { language: "", name: "", line: 12, text: "picture\n", lead: "" },
    ]);
  });

  test("rejects a block that is not closed", () => {
    expect(() => parseBlocks("```sh a\nls\n")).toThrow("line 1 is not closed");
  });
});

describe("fenceMistakes", () => {
  const block = (fence: string): string => `\`\`\`${fence}\nx\n\`\`\`\n`;

  test.each([
    ["a block without a name", "sh", "line 1: a sh block without a name"],
    ["a language that nothing runs", "yaml a", "line 1: nothing runs yaml"],
  ])("finds %s", (_what, fence, said) => {
    expect(fenceMistakes(block(fence))).toEqual([said]);
  });

  test("finds a name that is used twice, and lets one in two languages be", () => {
    expect(fenceMistakes(block("sh a") + block("json a"))).toEqual([]);
    expect(fenceMistakes(block("sh a") + block("sh a"))).toEqual(["line 4: sh a is there twice"]);
  });
});

test.each([
  ["First steps", "first-steps"],
  ["What is guaranteed, and what not", "what-is-guaranteed-and-what-not"],
  ["`[s3]` **and** more_or-less", "s3-and-more_or-less"],
])("anchorOf makes of %j what GitHub does", (heading, anchor) => {
  expect(anchorOf(heading)).toBe(anchor);
});

test("headingsOf and linksOf leave out what stands in a block", () => {
  const text = "## Real\n[a](#b)\n```sh x\n# no heading\n[c](d)\n```\n";
  expect(headingsOf(text)).toEqual(["Real"]);
  expect(linksOf(text)).toEqual(["#b"]);
});

describe("shapeDifferences", () => {
  const EXAMPLE = { a: 1, list: [{ b: "x", c: null }], map: { "0": 2 }, none: [] };

  test("finds nothing in another document of the same shape", () => {
    const same = {
      a: 7,
      list: [
        { b: "y", c: 3 },
        { b: null, c: 1 },
      ],
      map: { "9": 1 },
      none: [1],
    };
    expect(shapeDifferences(EXAMPLE, same, { maps: ["map"] })).toEqual([]);
  });

  test.each<[string, unknown, string]>([
    ["another type", { ...EXAMPLE, a: "1" }, "a is a string, in the example a number"],
    ["null where a value is documented", { ...EXAMPLE, a: null }, "a is null, in the example a number"],
    ["a key that is not documented", { ...EXAMPLE, d: 1 }, "d is printed, and not in the example"],
    ["an empty list", { ...EXAMPLE, list: [] }, "list is empty, in the example it is not"],
    [
      "a documented key that is lacking in a later element",
      { ...EXAMPLE, list: [{ b: "x", c: 1 }, { b: "x" }] },
      "list[].c is in the example, and not printed",
    ],
    [
      "a list where an object is documented",
      { ...EXAMPLE, map: [] },
      "map is an array, in the example an object",
    ],
  ])("finds %s", (_what, actual, said) => {
    expect(shapeDifferences(EXAMPLE, actual, { maps: ["map"] })).toEqual([said]);
  });

  test("lets a value be of any type where that is said", () => {
    expect(shapeDifferences({ value: "x" }, { value: [1] }, { values: ["value"] })).toEqual([]);
  });
});
