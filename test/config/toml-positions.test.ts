/**
 * Positions in TOML texts, compared with a writer of random documents that records each place, and with
 * smol-toml: every key and leaf that smol-toml parses must have a place.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parse, type TomlError } from "smol-toml";
import {
  locateTomlKeys,
  type TextPosition,
  type TomlPath,
  tomlErrorPlace,
} from "../../src/config/toml-positions.ts";
import { cases } from "../support/property-cases.ts";
import { randomTomls } from "./random-toml.ts";

/** Offset of a position, found by walking the text character by character. */
function offsetAt(text: string, { line, column }: TextPosition): number {
  const lines = text.replace(/^\uFEFF/, "").split("\n");
  const before = lines.slice(0, line - 1).reduce((length, one) => length + one.length + 1, 0);
  const inLine = [...lines[line - 1]!].slice(0, column - 1).join("").length;
  return (text.startsWith("\uFEFF") ? 1 : 0) + before + inLine;
}

/** All paths of a parsed document: tables, elements and leaves. */
function pathsOf(value: unknown, path: TomlPath = []): TomlPath[] {
  const isLeaf = typeof value !== "object" || value === null || value instanceof Date;
  if (isLeaf) return [path];
  const steps = Array.isArray(value) ? [...value.entries()] : Object.entries(value);
  return [path, ...steps.flatMap(([step, content]) => pathsOf(content, [...path, step]))];
}

/** A row: its description, the text, a path, `line:column` of its key, `line:column` of its value. */
const CASES: readonly (readonly [what: string, text: string, path: TomlPath, key: string, value: string])[] =
  [
    ["a key", "a = 1", ["a"], "1:1", "1:5"],
    ["a key without blanks", "a=1", ["a"], "1:1", "1:3"],
    ["an indented key after comments", "# a = 0\n\n\t a\t=\t1 # a = 2", ["a"], "3:3", "3:7"],
    ["CRLF", "a = 1\r\n\r\nb = 2\r\n", ["b"], "3:1", "3:5"],
    ["a byte order mark", "\uFEFFa = 1", ["a"], "1:1", "1:5"],
    ["a byte order mark, second line", "\uFEFF#\na = 1", ["a"], "2:1", "2:5"],
    ["characters beyond 16 bits", 'a = { "😀😀" = 1, b = "é" }', ["a", "b"], "1:17", "1:21"],
    ["a basic quoted key", '"a.b" = 1', ["a.b"], "1:1", "1:9"],
    ["a key with escapes", '"\\u0061\\"\\t\\U0001F600" = 1', ['a"\t😀'], "1:1", "1:26"],
    ["a literal key", "'a\\b\"' = 1", ['a\\b"'], "1:1", "1:10"],
    ["an empty key", '"" = 1', [""], "1:1", "1:6"],
    ["a key like a prototype", "__proto__ = 1\nconstructor = 2", ["__proto__"], "1:1", "1:13"],
    ["a key like a number", "1 = 1", ["1"], "1:1", "1:5"],
    ["a dotted key", 'a . "b" .c = 1', ["a", "b", "c"], "1:10", "1:14"],
    ["a table that a dotted key makes", "a . b.c = 1", ["a", "b"], "1:5", "1:7"],
    ["a continued dotted key", "a.b = 1\na.c = 2", ["a", "c"], "2:3", "2:7"],
    ["a table", "x = 1\n [ sync ] # a", ["sync"], "2:4", "2:2"],
    ["a key in a table", "[sync]\nx = 1", ["sync", "x"], "2:1", "2:5"],
    ["a nested table", "[a . 'b'.c]", ["a", "b", "c"], "1:10", "1:1"],
    ["a table that a header implies", "[a.b]\n[c]", ["a"], "1:2", "1:1"],
    ["a table after its sub-table", "[a.b]\n[a]\nx = 1", ["a"], "2:2", "2:1"],
    ["a sub-table before its table", "[a.b]\n[a]\nx = 1", ["a", "b"], "1:4", "1:1"],
    ["an array of tables", "[[d]]\n[[d]]", ["d"], "1:3", "1:1"],
    ["an element", "[[d]]\n [[d]]", ["d", 1], "2:2", "2:2"],
    ["a key of an element", "[[d]]\nx = 1\n[[ d ]]\nx = 2", ["d", 1, "x"], "4:1", "4:5"],
    ["a sub-table of an element", "[[d]]\n[d.r]\n[[d]]\n[d.r]\nh = 1", ["d", 1, "r"], "4:4", "4:1"],
    ["a key of that", "[[d]]\n[d.r]\nh=0\n[[d]]\n[d.r]\nh = 1", ["d", 1, "r", "h"], "6:1", "6:5"],
    ["an array in an element", "[[d]]\n[[d.e]]\n[[d]]\n[[d.e]]\n[[d.e]]", ["d", 1, "e", 1], "5:1", "5:1"],
    ["a dotted key in an element", "[[d]]\nr.h = 1", ["d", 0, "r", "h"], "2:3", "2:7"],
    ["an array before its table", "[[a.b]]\n[a]\nc = 1", ["a"], "2:2", "2:1"],
    ["elements over lines", "a = [ # [\n 1,\n\n 2 # ]\n , ]\nb = 3", ["a", 1], "4:2", "4:2"],
    ["what follows an array", "a = [ # [\n 1,\n\n 2 # ]\n , ]\nb = 3", ["b"], "6:1", "6:5"],
    ["arrays in arrays", "a = [[1,[2 ]],[],[ 3]]", ["a", 2, 0], "1:20", "1:20"],
    ["tables in arrays", "a = [{b=1},{b=[2, {c = 3}]}]", ["a", 1, "b", 1, "c"], "1:20", "1:24"],
    ["an inline table", "a = { b.c = 1, 'd' = {}, e.f = 2 }", ["a", "e", "f"], "1:28", "1:32"],
    ["an inline table over lines", "a = {\n b = 1, # }\n c = 2,\n}\nd = 3", ["a", "c"], "3:2", "3:6"],
    ["after a string with an end in it", 'a = "# \\" x = 1"\nb = \'c\'', ["b"], "2:1", "2:5"],
    ["after a literal string", "a = '\\'\nb = 2", ["b"], "2:1", "2:5"],
    ["after an empty string", "a = [\"\", '']\nb = 2", ["b"], "2:1", "2:5"],
    ["after a multi-line string", 'a = """\nb = 0\n"" \\""" \\\n """""\nb = 2', ["b"], "5:1", "5:5"],
    ["after a literal multi-line string", "a = '''\nb = 0\\\n'''''\nb = 2", ["b"], "4:1", "4:5"],
    ["after an empty multi-line string", 'a = [""""""]\nb = 2', ["b"], "2:1", "2:5"],
    ["after a date with a blank", "a = [1979-05-27 07:32:00Z, 2]\nb = 2", ["a", 1], "1:28", "1:28"],
    ["after other scalars", "a = [+inf,-1e+3,0xF,true]", ["a", 3], "1:21", "1:21"],
    ["the document", "# c\na = 1", [], "1:1", "1:1"],
  ];

describe("locateTomlKeys finds", () => {
  test.each(CASES)("%s", (_what, text, path, key, value) => {
    expect(pathsOf(parse(text))).toContainEqual(path);
    const positions = locateTomlKeys(text);
    const show = (at: TextPosition | null) => (at === null ? "none" : `${at.line}:${at.column}`);
    expect([show(positions.positionOf(path)), show(positions.valuePositionOf(path))]).toEqual([key, value]);
  });

  const ABSENT: TomlPath[] = [["b"], ["a", "x"], ["a", 3], ["a", "0"], ["a", -1], [0], ["c", 0], ["c", "d"]];
  test.each(ABSENT.map((path) => [path] as const))("nothing at %j", (path) => {
    const positions = locateTomlKeys("a = [1, 2, 3]\nc = 1");
    expect(positions.positionOf(path)).toBeNull();
    expect(positions.valuePositionOf(path)).toBeNull();
  });
});

test("locateTomlKeys finds every key and value of random documents where they were written", () => {
  let pathCount = 0;
  fc.assert(
    fc.property(randomTomls, ({ text, places }) => {
      const positions = locateTomlKeys(text);
      const paths = pathsOf(parse(text)).filter((path) => path.length > 0);
      expect(paths.map((path) => JSON.stringify(path)).sort()).toEqual([...places.keys()].sort());
      for (const path of paths) {
        pathCount++;
        const found = {
          key: offsetAt(text, positions.positionOf(path)!),
          value: offsetAt(text, positions.valuePositionOf(path)!),
        };
        expect({ path, ...found }).toEqual({ path, ...places.get(JSON.stringify(path))! });
      }
    }),
    cases(1000, 20260117),
  );
  expect(pathCount).toBeGreaterThan(10_000);
});

/** Syntax errors: the text, `line:column`, the message. */
const ERRORS: readonly (readonly [text: string, place: string, message: string])[] = [
  ["a = ", "1:5", "invalid value"],
  ["a = 1\r\nb = 2 c = 3", "2:7", "each key-value declaration must be followed by an end-of-line"],
  ["a = 1\n\n[a", "3:2", "incomplete key-value: cannot find end of key"],
  ["a = 1\n\na = 2", "3:1", "trying to redefine an already defined table or value"],
  ['a = ["😀", "😀😀", }]', "1:17", "invalid value"],
  ['\uFEFFa = "😀" b', "1:9", "each key-value declaration must be followed by an end-of-line"],
  ['\uFEFF\na = "😀" b', "2:9", "each key-value declaration must be followed by an end-of-line"],
  [`${"\n".repeat(9)}a = 1\na = 1\n`, "11:1", "trying to redefine an already defined table or value"],
];

describe("tomlErrorPlace", () => {
  /** The place of smol-toml's error for a text, or null. */
  const errorOf = (text: string): unknown => {
    try {
      parse(text);
      return null;
    } catch (error) {
      return error;
    }
  };

  test.each(ERRORS)("of %j", (text, place, message) => {
    const found = tomlErrorPlace(errorOf(text));
    expect([`${found.line}:${found.column}`, found.message]).toEqual([place, message]);
  });

  test("quotes nothing of the text, which may contain a secret", () => {
    const found = tomlErrorPlace(errorOf('secret_access_key = "geheim"\nb = \n'));
    expect(found).toEqual({ line: 2, column: 5, message: "invalid value" });
  });

  test("rethrows errors that are not smol-toml's", () => {
    const other = new RangeError("x");
    expect(() => tomlErrorPlace(other)).toThrow(other);
  });

  test("of damaged documents is smol-toml's place, and the scanner does not throw", () => {
    const damage = fc.constantFrom("", "]", '"', "\\", "😀", "=\n", "[");
    const edits = fc.tuple(randomTomls, fc.nat(), fc.nat(3), damage);
    let refusedCount = 0;
    fc.assert(
      fc.property(edits, ([{ text }, where, cut, put]) => {
        const at = where % (text.length + 1);
        const damaged = text.slice(0, at) + put + text.slice(at + cut);
        const positions = locateTomlKeys(damaged);
        const error = errorOf(damaged);
        if (error === null) {
          for (const path of pathsOf(parse(damaged))) expect(positions.positionOf(path)).not.toBeNull();
          return;
        }
        refusedCount++;
        const { line, column } = error as TomlError;
        const place = tomlErrorPlace(error);
        const before = damaged.split("\n").slice(0, line - 1);
        const lineStart = before.reduce((length, one) => length + one.length + 1, 0);
        expect([place.line, offsetAt(damaged, place)]).toEqual([line, lineStart + column - 1]);
        expect(place.message).not.toMatch(/\n|Invalid TOML/);
      }),
      cases(1000, 20260118),
    );
    expect(refusedCount).toBeGreaterThan(300);
  });
});

/** Beginnings, and the texts that repeat after them up to half a million characters. */
const HOSTILE: readonly (readonly [start: string, repeated: string])[] = [
  ["", "["],
  ["a = ", "["],
  ["a = ", "[{b="],
  ["a = ", "{b."],
  ["a = [", "}"],
  ["a = [", ","],
  ["a", ".a"],
  ["[a", ".a"],
  ["", "[[a]]\n"],
  ["", "[a.b]\n"],
  ["", "a = 1\n"],
  ["a = ", '"'],
  ['a = "', "\\"],
  ["a = '''", "''\n"],
  ["", '"\\u0061'],
  ["", "#"],
  ["", "\r\n"],
  ["a = [", "1,"],
  ["a = [", "#\n"],
  ["a = 1", "9 "],
];

describe("locateTomlKeys ends, on a text of the greatest length,", () => {
  test.each(HOSTILE)("%j and many %j", (start, repeated) => {
    const text = start + repeated.repeat(500_000 / repeated.length);
    const positions = locateTomlKeys(text);
    expect(positions.positionOf([])).toEqual({ line: 1, column: 1 });
    expect(positions.positionOf(Array(300_000).fill("a"))).toBeNull();
  });

  test("a key of 250,000 parts, each with a place", () => {
    const positions = locateTomlKeys(`a${".a".repeat(249_999)} = 1`);
    expect(positions.positionOf(Array(250_000).fill("a"))).toEqual({ line: 1, column: 499_999 });
  });

  test("the deepest nesting that smol-toml accepts", () => {
    const text = `a = ${"[".repeat(1000)}1${"]".repeat(1000)}`;
    expect(parse(text)).toHaveProperty("a");
    const path = ["a", ...Array(1000).fill(0)];
    expect(locateTomlKeys(text).valuePositionOf(path)).toEqual({ line: 1, column: 1005 });
  });
});
