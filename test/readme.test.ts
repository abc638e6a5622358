/**
 * The README.md files as pages: every example is named and is run by readme-shell, readme-config or
 * readme-json; every link leads somewhere. The reader of the pages (readme-blocks.ts) is tested on texts of
 * its own.
 */
import { describe, expect, test } from "bun:test";
import {
  anchorOf,
  anchorsOf,
  headingsOf,
  linksOf,
  linkViolations,
  withoutBlocks,
} from "../scripts/tidy/links.ts";
import { formatViolation } from "../scripts/tidy/violations.ts";
import { shapeDifferences } from "./support/oracles/json-shape.ts";
import {
  fenceMistakes,
  LANGUAGES,
  namesOf,
  parseBlocks,
  README,
  READMES,
  ROOT,
  sectionOf,
} from "./support/readme/readme-blocks.ts";
import { SUBSTITUTIONS } from "./support/readme/readme-sandbox.ts";

/** Most lines of a room's description above its reference. */
const SCREEN_LINES = 50;

describe("README.md", () => {
  test("names every example, once in all files, in a language that a test runs", () => {
    expect(fenceMistakes(READMES)).toEqual([]);
    for (const language of LANGUAGES) expect(namesOf(language).length).toBeGreaterThan(0);
  });

  test("links to headings and files that are there", () => {
    const found = linkViolations({ ...READMES, ...otherFiles() });
    expect(found.map(formatViolation)).toEqual([]);
    for (const text of Object.values(READMES)) expect(anchorsOf(text).size).toBeGreaterThan(0);
  });

  test("is a front page: its references stand in the rooms", () => {
    expect(Buffer.byteLength(README)).toBeLessThanOrEqual(13_000);
    expect(README).not.toContain("## Reference\n");
  });

  test("describes a room on one screen, and has its reference at the end of the file", () => {
    const rooms = Object.entries(READMES).filter(([path]) => path.startsWith("src/"));
    const referring = rooms.filter(([, text]) => text.includes("\n## Reference\n"));
    expect(referring.length).toBeGreaterThan(8);
    for (const [path, text] of rooms) {
      const [description = "", reference = "(none)", ...more] = text.split("\n## Reference\n");
      const lineCount = description.trimEnd().split("\n").length;
      const isLast = !/^#{1,2} /m.test(withoutBlocks(reference));
      expect({ path, isShort: lineCount <= SCREEN_LINES, isLast, more }).toEqual({
        path,
        isShort: true,
        isLast: true,
        more: [],
      });
      expect(reference.trim()).not.toBe("");
    }
  });

  test("names the version of Litestream that walrust's buckets need, wherever it names the command", () => {
    const naming = Object.entries(READMES)
      .filter(([path, text]) => !path.startsWith("test/") && text.includes("`litestream restore`"))
      .map(([, text]) => text);
    expect(naming).toContain(README);
    for (const text of naming) expect(text).toContain("0.5.18 or newer");
  });

  test("lists in its contents the sections that there are", () => {
    const [contents = ""] = /^Contents: .*$/m.exec(README) ?? [];
    const sections = [...README.matchAll(/^## (.+)$/gm)].map(([, heading]) => `#${anchorOf(heading!)}`);
    const own = linksOf(contents).filter((target) => target.startsWith("#"));
    expect(sections).toEqual([...own, "#working-on-it"]);
  });

  test.each(SUBSTITUTIONS.map(({ found, why }) => [found.source, found, why] as const))(
    "has what the sandbox replaces: %s",
    (_source, found) => {
      const examples = Object.values(READMES).flatMap(parseBlocks);
      expect(examples.some(({ text }) => text.search(found) >= 0)).toBe(true);
    },
  );
});

/** The project's other files, as targets of links. */
function otherFiles(): Record<string, string> {
  const paths = new Bun.Glob("{src,test,scripts}/**/*.{ts,txt}").scanSync({ cwd: ROOT });
  return Object.fromEntries(["LICENSE", ...paths].map((path) => [path, ""]));
}

describe("sectionOf", () => {
  test("gives what stands below a heading up to the next one of its rank, with blocks", () => {
    const section = sectionOf("First steps");
    expect(section).toContain("```sh first-databases\n");
    expect(section).not.toMatch(/^## /m);
  });

  test("rejects a heading that no file has, and one that several have", () => {
    expect(() => sectionOf("Nowhere")).toThrow("0 sections are called Nowhere, expected 1");
    expect(() => sectionOf("Reference")).toThrow(/^\d+ sections are called Reference, expected 1$/);
  });
});

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
    ["a block without a name", "sh", "a.md:1: a sh block without a name"],
    ["a language that nothing runs", "yaml a", "a.md:1: nothing runs yaml"],
  ])("finds %s", (_what, fence, said) => {
    expect(fenceMistakes({ "a.md": block(fence) })).toEqual([said]);
  });

  test("finds a name that is used twice, and lets one in two languages be", () => {
    expect(fenceMistakes({ "a.md": block("sh a") + block("json a") })).toEqual([]);
    const mistake = "sh a is there twice";
    expect(fenceMistakes({ "a.md": block("sh a") + block("sh a") })).toEqual([`a.md:4: ${mistake}`]);
    expect(fenceMistakes({ "a.md": block("sh a"), "b.md": block("sh a") })).toEqual([`b.md:1: ${mistake}`]);
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
