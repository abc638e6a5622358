/**
 * Holds the project to the rules a machine can hold (scripts/tidy/). For each rule, a planted violation must
 * be found and the allowed case must pass, because a rule that cannot fail would hold nothing.
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import type { Texts } from "../scripts/tidy/syntax.ts";
import { findViolations, formatViolation } from "../scripts/tidy/violations.ts";

const ROOT = join(import.meta.dir, "..");
const HEADER = "/**\n * A file.\n */\n";
/** The least a project without violations has. */
const CLEAN: Texts = { "src/main.ts": HEADER };

async function readProject(): Promise<Texts> {
  const texts: Record<string, string> = {};
  const found = new Bun.Glob("{src,test,scripts}/**/*.{ts,md,py}").scanSync({ cwd: ROOT });
  for (const path of ["README.md", "LICENSE", ...found]) {
    texts[path] = await Bun.file(join(ROOT, path)).text();
  }
  return texts;
}

test("the project breaks no rule", async () => {
  const texts = await readProject();
  expect(Object.keys(texts)).toContain("src/errors.ts");
  expect((await findViolations(texts)).map(formatViolation)).toEqual([]);
});

test("findViolations finds nothing in a clean project", async () => {
  expect(await findViolations(CLEAN)).toEqual([]);
});

/** The rules that a file at `path` with this code breaks, without dead-file: main.ts imports the file. */
async function rulesBroken(path: string, code: string, others: Texts = {}): Promise<string[]> {
  const isSource = path.startsWith("src/") && path !== "src/main.ts";
  const imports = isSource ? `import ${JSON.stringify(path.replace(/^src/, "."))};\n` : "";
  const texts = { "src/main.ts": HEADER + imports, ...others, [path]: HEADER + code };
  return (await findViolations(texts)).map((violation) => violation.rule);
}

/** One planted violation a row: rule, path, code. */
const PLANTED: readonly (readonly [rule: string, path: string, code: string])[] = [
  ["file-size", "src/format/a.ts", "\n".repeat(499)],
  ["file-size", "test/a.test.ts", "\n".repeat(499)],
  ["line-length", "src/format/a.ts", `// ${"x".repeat(108)}`],
  ["line-length", "scripts/a.ts", `// ${"x".repeat(108)}`],
  ["function-size", "src/format/a.ts", `function f() {${"\n".repeat(70)}}`],
  ["function-size", "src/format/a.ts", `const f = () => {${"\n".repeat(70)}};`],
  ["function-size", "src/format/a.ts", `class A { m() {${"\n".repeat(70)}} }`],
  ["function-size", "test/a.test.ts", `test("x", () => {${"\n".repeat(70)}});`],
  ["function-size", "test/a.test.ts", `describe("x", () => {${"\n".repeat(70)}});`],
  ["docstring", "src/format/a.ts", "export const a = 1;"],
  ["docstring", "src/format/a.ts", "/** A. */\nexport const a = 1;\n\nexport const b = 1;"],
  ["docstring", "src/format/a.ts", "const b = 1;\nexport const a = 1;"],
  ["docstring", "src/format/a.ts", "const b = 1;\nexport function a(): void {}"],
  ["docstring", "src/format/a.ts", "// not a docstring\nexport interface A {}"],
  ["docstring", "src/commands/a.ts", "const a = 1;\nexport default a;"],
  ["clock", "src/format/a.ts", "const a = Date.now();"],
  ["clock", "src/format/a.ts", "const a = globalThis.Date.now();"],
  ["clock", "src/format/a.ts", "const a = new Date();"],
  ["clock", "src/format/a.ts", "const a = { nowMs: Date.now };"],
  ["clock", "src/main.ts", "const a = performance.now();"],
  ["random", "src/replication/watch/a.ts", "const a = Math.random();"],
  ["random", "src/replication/watch/a.ts", "const a = crypto.randomUUID();"],
  ["timer", "src/storage/a.ts", "setTimeout(() => {}, 1);"],
  ["timer", "src/storage/a.ts", "setInterval(() => {}, 1);"],
  ["timer", "src/storage/a.ts", "setImmediate(() => {});"],
  ["timer", "src/storage/a.ts", "await Bun.sleep(1);"],
  ["timer", "src/storage/a.ts", 'import { setTimeout as wait } from "node:timers/promises";'],
  ["test-sleep", "test/storage/a.test.ts", "await Bun.sleep(1);"],
  ["test-sleep", "test/storage/a.test.ts", "setTimeout(() => {}, 1);"],
  ["exit", "src/commands/watch.ts", "process.exit(1);"],
  ["exit", "src/commands/watch.ts", 'process.on("SIGTERM", () => {});'],
  ["output", "src/commands/list.ts", "console.log(1);"],
  ["output", "src/commands/list.ts", 'process.stdout.write("x");'],
  ["any", "src/format/a.ts", "const a = (1 as any) + 1;"],
  ["any", "test/a.test.ts", "const a = (1 as any) + 1;"],
  ["partial-tests", "test/a.test.ts", 'test.only("x", () => {});'],
  ["partial-tests", "test/a.test.ts", 'test.todo("x");'],
  ["partial-tests", "test/a.test.ts", 'describe.skip("x", () => {});'],
  ["partial-tests", "test/a.test.ts", 'test.only.each([1])("x", () => {});'],
  ["ts-ignore", "test/a.test.ts", "// @ts-ignore\nconst a = 1;"],
  ["to-do", "src/format/a.ts", "// TODO: later"],
  ["to-do", "scripts/a.ts", "/* FIXME */"],
  ["subject-first", "src/format/a.ts", "// What was captured is sent."],
  ["subject-first", "test/a.ts", "/** Sends a file. Who waits is\n * served first. */\nconst a = 1;"],
  ["place", "src/utils.ts", ""],
  ["place", "src/helpers/a.ts", ""],
  ["place", "src/storage/helpers/a.ts", ""],
  ["place", "src/recovery/a.ts", ""],
];

describe("findViolations catches", () => {
  test.each(PLANTED)("%s in %s: %j", async (rule, path, code) => {
    expect(new Set(await rulesBroken(path, code))).toEqual(new Set([rule]));
  });

  test("header: a file that opens with code", async () => {
    const found = await findViolations({ ...CLEAN, "test/a.test.ts": "const a = 1;\n/** late */" });
    expect(found.map((one) => one.rule)).toEqual(["header"]);
  });

  test("dead-file: a file that nothing reaches, and two that only know each other", async () => {
    const texts = {
      ...CLEAN,
      "src/format/a.ts": HEADER,
      "src/format/b.ts": `${HEADER}import "./c.ts";`,
      "src/format/c.ts": `${HEADER}import "./b.ts";`,
    };
    const found = await findViolations(texts);
    expect(found.map((one) => [one.path, one.rule])).toEqual([
      ["src/format/a.ts", "dead-file"],
      ["src/format/b.ts", "dead-file"],
      ["src/format/c.ts", "dead-file"],
    ]);
  });

  test("readme: a folder of four files needs a README", async () => {
    const texts: Record<string, string> = { "src/main.ts": HEADER };
    for (const name of ["a", "b", "c", "d"]) {
      texts[`src/format/${name}.ts`] = HEADER;
      texts["src/main.ts"] += `import "./format/${name}.ts";\n`;
    }
    expect((await findViolations(texts)).map((one) => one.rule)).toEqual(["readme"]);
    texts["src/format/README.md"] = "# format";
    expect(await findViolations(texts)).toEqual([]);
  });

  test("folder-size: a folder of nineteen files fails, of eighteen passes", async () => {
    const texts: Record<string, string> = { ...CLEAN, "test/format/README.md": "# format" };
    for (let index = 0; index < 17; index++) texts[`test/format/a${index}.ts`] = HEADER;
    expect(await findViolations(texts)).toEqual([]);
    texts["test/format/b.ts"] = HEADER;
    const found = await findViolations(texts);
    expect(found.map((one) => [one.path, one.rule])).toEqual([["test/format", "folder-size"]]);
  });

  test("basename: two source files with one name", async () => {
    const texts = {
      "src/main.ts": `${HEADER}import "./format/plan.ts";\nimport "./storage/s3/plan.ts";\n`,
      "src/format/plan.ts": HEADER,
      "src/storage/s3/plan.ts": HEADER,
    };
    const found = await findViolations(texts);
    expect(found.map((one) => [one.path, one.rule])).toEqual([["src/storage/s3/plan.ts", "basename"]]);
  });

  test.each([
    ["a file that is not there", "src/format/README.md", "[a](ltx.ts)", "ltx.ts"],
    ["a folder that is not there", "README.md", "[a](src/format/)", "src/format/"],
    ["a place outside of the project", "README.md", "[a](../README.md)", "../README.md"],
    ["a heading that is not there", "README.md", "# A\n\n[b](#b)", "#b"],
    ["a heading that another file lacks", "src/README.md", "[a](../README.md#b)", "../README.md#b"],
    ["a heading that stands only in a block", "README.md", "```sh x\n# b\n```\n[b](#b)", "#b"],
    ["a heading that occurs only once", "README.md", "# A\n\n[a](#a-1)", "#a-1"],
  ])("link: to %s", async (_what, path, text, target) => {
    const found = await findViolations({ "README.md": "# A", ...CLEAN, [path]: text });
    expect(found.map((one) => [one.path, one.rule, one.message])).toEqual([
      [path, "link", `${target} leads nowhere`],
    ]);
  });

  test("importers: a type that thirty files import, unless it is a contract of all rooms", async () => {
    const broken = async (target: string): Promise<string[]> => {
      const importer = `${HEADER}import type { A } from ${JSON.stringify(target.replace("src/", "../"))};\n`;
      const folders = Array.from({ length: 30 }, (_, index) => `src/format/a${index}.ts`);
      const texts = Object.fromEntries(folders.map((path) => [path, importer]));
      const own = { [target]: `${HEADER}/** A. */\nexport interface A {}\n` };
      return (await findViolations({ ...texts, ...own }))
        .map(({ rule }) => rule)
        .filter((rule) => rule === "importers");
    };
    expect(await broken("src/format/own.ts")).toEqual(["importers"]);
    expect(await broken("src/env.ts")).toEqual([]);
  });

  test("type-name: two exported types, classes or interfaces with one name", async () => {
    const imports = ["format/a", "format/b", "local/c"].map((path) => `import "./${path}.ts";\n`).join("");
    const texts = {
      "src/main.ts": HEADER + imports,
      "src/format/a.ts": `${HEADER}/** A. */\nexport interface Plan {}\n/** A. */\nexport type Claim = 1;\n`,
      "src/format/b.ts": `${HEADER}/** B. */\nexport class Plan {}\ntype Claim = 2;\n`,
      "src/local/c.ts":
        `${HEADER}/** C. */\nexport type Claim = 3;\n` +
        '/** C. */\nexport type { Plan } from "../format/a.ts";\n',
    };
    const found = await findViolations(texts);
    expect(found.map(({ path, line, rule }) => [path, line, rule])).toEqual([
      ["src/format/b.ts", 5, "type-name"],
      ["src/local/c.ts", 5, "type-name"],
    ]);
  });

  test.each([
    ["a Markdown file", "src/format/README.md", "`ltx.ts` and `main.ts`"],
    ["a Markdown file, with a path", "src/format/README.md", "`format/main.ts` and `src/main.ts`"],
    ["a Markdown file, of Python", "src/format/README.md", "`errors.py`"],
    ["a comment", "test/a.ts", `${HEADER}// See ltx.ts, as main.ts does.`],
    ["a docstring, with a path", "test/a.ts", `${HEADER}/** See ../format/main.ts. */`],
  ])("mention: of a file that does not exist, in %s", async (_what, path, text) => {
    const found = await findViolations({ ...CLEAN, [path]: text });
    expect(found.map((one) => [one.path, one.rule])).toEqual([[path, "mention"]]);
  });

  test("screen: a room's README of more than fifty lines above its reference", async () => {
    const reference = `\n## Reference\n${"line\n".repeat(80)}`;
    const page = (lineCount: number): Texts => ({
      ...CLEAN,
      "src/format/README.md": `# format\n${"line\n".repeat(lineCount - 1)}${reference}`,
    });
    expect(await findViolations(page(50))).toEqual([]);
    const found = await findViolations(page(51));
    expect(found.map((one) => [one.path, one.rule])).toEqual([["src/format/README.md", "screen"]]);
  });

  test("test-map: a source file with logic that has neither a test of its name nor a row", async () => {
    const code = "/** A. */\nexport function a(): void {}\n";
    const texts: Record<string, string> = {
      "src/main.ts": `${HEADER}import "./format/a.ts";\nimport "./format/types.ts";\n`,
      "src/format/a.ts": HEADER + code,
      "src/format/types.ts": `${HEADER}/** B. */\nexport interface B {}\n`,
      "test/README.md": "| source | test |\n|---|---|\n",
    };
    const found = await findViolations(texts);
    expect(found.map((one) => [one.path, one.rule])).toEqual([["src/format/a.ts", "test-map"]]);
    const row = { ...texts, "test/README.md": "| `a.ts` | a test |\n" };
    expect(await findViolations(row)).toEqual([]);
    const test = { ...texts, "test/format/a.test.ts": HEADER };
    expect(await findViolations(test)).toEqual([]);
    const both = await findViolations({ ...row, ...test, "test/README.md": row["test/README.md"] });
    expect(both.map((one) => [one.path, one.rule])).toEqual([["test/README.md", "test-map"]]);
  });

  test.each([
    ["header", "from typing import Any\n"],
    ["header", '"""\nToo late."""\n'],
    ["file-size", `"""A module."""\n${"\n".repeat(500)}`],
    ["line-length", `"""A module."""\na = "${"x".repeat(110)}"\n`],
    ["to-do", '"""A module."""\na = 1  # TODO: later\n'],
  ])("%s in a Python file: %j", async (rule, text) => {
    const path = "src/python/walrust/a.py";
    const found = await findViolations({ ...CLEAN, [path]: text });
    expect(found.map((one) => [one.path, one.rule])).toEqual([[path, rule]]);
    const sound = '#!/usr/bin/env python3\n"""A module."""\n\na = "TODO"\n';
    const made = `"""A module.\n\nMade by scripts/a.ts; do not edit.\n"""\n${"\n".repeat(500)}`;
    for (const allowed of [sound, made]) {
      expect(await findViolations({ ...CLEAN, [path]: allowed })).toEqual([]);
    }
  });

  test("reports the line of a finding", async () => {
    const found = await findViolations({ ...CLEAN, "test/a.ts": `${HEADER}\n\n// TODO\n` });
    expect(found.map(formatViolation)).toEqual(["test/a.ts:6: to-do: TODO: do it, or open an issue"]);
  });
});

/** Imports between rooms: importing file, its import statement with TARGET, target, whether it is allowed. */
const IMPORTS: readonly (readonly [from: string, statement: string, target: string, isAllowed: boolean])[] = [
  ["src/commands/watch.ts", 'import "TARGET";', "src/observability/a.ts", true],
  ["src/commands/watch.ts", 'import "TARGET";', "src/format/a.ts", true],
  ["src/commands/watch.ts", 'import { A } from "TARGET";', "src/config/a.ts", true],
  ["src/commands/watch.ts", 'import "TARGET";', "src/commands/shared/output.ts", true],
  ["src/commands/watch.ts", 'import "TARGET";', "src/commands/verify.ts", false],
  ["src/commands/watch.ts", 'import type { A } from "TARGET";', "src/commands/verify.ts", false],
  ["src/commands/watch.ts", 'await import("TARGET");', "src/commands/verify.ts", false],
  ["src/observability/a.ts", 'import "TARGET";', "src/replication/watch/a.ts", true],
  ["src/observability/a.ts", 'import "TARGET";', "src/commands/shared/output.ts", false],
  ["src/replication/watch/a.ts", 'import "TARGET";', "src/observability/a.ts", false],
  ["src/replication/watch/a.ts", 'import type { A } from "TARGET";', "src/observability/a.ts", false],
  ["src/replication/watch/a.ts", 'import "TARGET";', "src/recovery/verify/a.ts", false],
  ["src/recovery/verify/a.ts", 'import "TARGET";', "src/replication/watch/a.ts", false],
  ["src/replication/upkeep/a.ts", 'import "TARGET";', "src/recovery/object/b.ts", true],
  ["src/replication/upkeep/a.ts", 'import "TARGET";', "src/recovery/restore/b.ts", false],
  ["src/recovery/object/a.ts", 'import "TARGET";', "src/replication/upkeep/b.ts", false],
  ["src/recovery/object/a.ts", 'import "TARGET";', "src/discovery/b.ts", false],
  ["src/recovery/object/a.ts", 'import "TARGET";', "src/local/b.ts", true],
  ["src/replication/watch/a.ts", 'import "TARGET";', "src/database/a.ts", true],
  ["src/recovery/verify/a.ts", 'import "TARGET";', "src/storage/a.ts", true],
  ["src/database/a.ts", 'import "TARGET";', "src/storage/a.ts", false],
  ["src/storage/a.ts", 'import "TARGET";', "src/database/a.ts", false],
  ["src/storage/a.ts", 'export { A } from "TARGET";', "src/replication/watch/a.ts", false],
  ["src/storage/a.ts", 'const a = await import("TARGET");', "src/replication/watch/a.ts", false],
  ["src/format/a.ts", 'import "TARGET";', "src/storage/a.ts", false],
  ["src/format/a.ts", 'import { A } from "TARGET";', "src/errors.ts", true],
  ["src/format/a.ts", 'import { A } from "TARGET";', "src/env.ts", true],
  ["src/errors.ts", 'import "TARGET";', "src/format/a.ts", false],
  ["src/storage/a.ts", 'import type { Config } from "TARGET";', "src/config/a.ts", true],
  ["src/storage/a.ts", 'import { type Config } from "TARGET";', "src/config/a.ts", true],
  ["src/storage/a.ts", 'import { type Config, DEFAULTS } from "TARGET";', "src/config/a.ts", false],
  ["src/replication/watch/a.ts", 'import { DEFAULTS } from "TARGET";', "src/config/a.ts", false],
  ["src/discovery/a.ts", 'import { DEFAULTS } from "TARGET";', "src/config/a.ts", true],
  ["src/discovery/a.ts", 'import "TARGET";', "src/replication/watch/a.ts", false],
  ["src/replication/watch/a.ts", 'import "TARGET";', "src/discovery/a.ts", true],
  ["src/replication/watch/a.ts", 'import "TARGET";', "src/replication/upkeep/a.ts", true],
  ["src/replication/watch/a.ts", 'import "TARGET";', "src/replication/capture/a.ts", true],
  ["src/replication/capture/a.ts", 'import "TARGET";', "src/replication/upload/a.ts", false],
  ["src/replication/capture/a.ts", 'import type { A } from "TARGET";', "src/replication/upload/a.ts", false],
  ["src/recovery/verify/a.ts", 'import "TARGET";', "src/recovery/replica/a.ts", false],
  ["src/recovery/verify/a.ts", 'import "TARGET";', "src/recovery/restore/a.ts", true],
  ["src/storage/a.ts", 'import "TARGET";', "src/storage/s3/a.ts", true],
  ["src/storage/s3/a.ts", 'import "TARGET";', "src/storage/a.ts", false],
  ["src/storage/s3/a.ts", 'import "TARGET";', "src/storage/file/b.ts", true],
  ["src/observability/a.ts", 'import "TARGET";', "src/observability/dashboard/b.ts", true],
  ["src/observability/dashboard/a.ts", 'import "TARGET";', "src/observability/b.ts", false],
  ["src/observability/dashboard/a.ts", 'import "TARGET";', "src/observability/dashboard/browser/b.ts", false],
  ["src/observability/dashboard/browser/a.ts", 'import "TARGET";', "src/observability/dashboard/b.ts", true],
  ["src/observability/dashboard/browser/a.ts", 'import "TARGET";', "src/observability/b.ts", false],
  ["src/config/a.ts", 'import "TARGET";', "src/format/a.ts", true],
  ["src/config/a.ts", 'import "TARGET";', "src/storage/a.ts", false],
  ["src/storage/a.ts", 'import "TARGET";', "src/main.ts", false],
  ["src/storage/a.ts", 'import "TARGET";', "src/index.ts", false],
  ["src/storage/a.ts", 'import "TARGET";', "scripts/a.ts", false],
  ["scripts/a.ts", 'import "TARGET";', "src/storage/a.ts", true],
  ["test/a.test.ts", 'import "TARGET";', "src/commands/watch.ts", true],
];

test.each(IMPORTS)(
  "import-direction: %s, %s of %s, allowed: %p",
  async (from, statement, target, isAllowed) => {
    const up = "../".repeat(from.split("/").length - 1);
    const code = statement.replace("TARGET", up + target);
    const texts: Record<string, string> = { "src/index.ts": HEADER, "src/main.ts": HEADER };
    for (const path of [from, target]) {
      texts[path] ??= HEADER;
      if (path.startsWith("src/") && path !== "src/index.ts" && path !== "src/main.ts") {
        texts["src/main.ts"] += `import ${JSON.stringify(path.replace(/^src/, "."))};\n`;
      }
    }
    texts[from] += code;
    const found = await findViolations(texts);
    const directions = found.filter((one) => one.rule === "import-direction");
    expect(directions.map((one) => one.path)).toEqual(isAllowed ? [] : [from]);
  },
);

test("findViolations accepts links to existing files, to the web, and in code", async () => {
  const texts = {
    ...CLEAN,
    "README.md": "# A\n[own](#a) [file](src/main.ts) [folder](src/) [web](https://example.com/x)\n",
    "src/README.md": "# B\n# B\n[up](../README.md#a) [again](#b-1) `[a](code)`\n```sh x\n[b](block)\n```\n",
  };
  expect(await findViolations(texts)).toEqual([]);
});

test("findViolations accepts mentions of existing files, and words that are no file name", async () => {
  const texts = {
    ...CLEAN,
    "src/README.md": "`main.ts`, `./main.ts`, `src/main.ts`, `*.test.ts`, gone.ts without backticks\n",
    "test/a.ts": `${HEADER}// See main.ts, src/main.ts and explain-*.ts.\nconst a = "gone.ts";\n`,
  };
  expect(await findViolations(texts)).toEqual([]);
});

/** Code that resembles a violation and is none: path, code. */
const HARMLESS: readonly (readonly [path: string, code: string])[] = [
  ["src/format/a.ts", "const a = new Date(0);"],
  ["src/format/a.ts", 'const a = "Date.now() // TODO @ts-ignore";'],
  ["src/format/a.ts", "const a = /console.log\\(1\\)/;"],
  ["src/format/a.ts", "// Reports what failed, and which file."],
  ["src/format/a.ts", "// A comment may speak of Date.now, setTimeout and process.exit."],
  ["src/format/a.ts", "/** Documented. */\nexport const a = 1;"],
  ["src/format/a.ts", `function f() {${"\n".repeat(69)}}`],
  ["src/format/a.ts", "/** Both. */\nexport function f(a: 1): 1;\nexport function f(a: 2): 2;"],
  ["src/main.ts", "process.exit(1);"],
  ["src/commands/shared/output.ts", 'process.stdout.write("x");'],
  ["src/env.ts", "const a = [Date.now(), Math.random(), setTimeout(() => {}, 1)];"],
  ["src/observability/dashboard/browser/clock.ts", "setTimeout(() => {}, 1);\nperformance.now();"],
  ["scripts/a.ts", "console.log(Date.now());"],
  ["test/support/a.ts", "await Bun.sleep(1);"],
  ["src/format/a.ts", "/** Both. */\nexport const a = 1;\nexport const b = 1;"],
  ["test/a.test.ts", `describe("x", () => {${'test("y", () => {\n});\n'.repeat(80)}});`],
  ["test/a.ts", `function contract() {${'test.each([1])("y", () => {\n});\n'.repeat(80)}}`],
  ["test/a.test.ts", "const a = Date.now();\nexport const b = a;"],
];

test.each(HARMLESS)("findViolations leaves alone %s: %j", async (path, code) => {
  expect(await rulesBroken(path, code)).toEqual([]);
});
