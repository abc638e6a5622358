/**
 * The generated modules of the Python package equal the program's own options and documents, and follow each
 * change of them.
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { optionsOf, pythonOptions } from "../../scripts/reference/python-options.ts";
import { commentLines, docstring, typedLine } from "../../scripts/reference/python-text.ts";
import { REFERENCE_MODULES, VERBS } from "../../scripts/reference.ts";

const ROOT = join(import.meta.dir, "..", "..");

test.each(Object.entries(REFERENCE_MODULES))("%s is what the sources make", async (path, make) => {
  expect(await Bun.file(join(ROOT, path)).text()).toBe(await make());
});

describe("pythonOptions", () => {
  test("follows a change of the table", () => {
    const changed = VERBS.map((verb) =>
      verb.name === "list"
        ? {
            ...verb,
            options: [
              { new: { flag: "new-flag", kind: "bytes", default: 1024, meaning: "See `--other`" } as const },
            ],
          }
        : verb,
    );
    const made = pythonOptions(changed);
    expect(made).toContain('    "list": {\n        "new_flag": "bytes",\n    },\n');
    expect(made).toContain(
      "    #: See `other` (default 1KB; 0 and more).\n    new_flag: Optional[Union[int, str]]\n",
    );
  });

  test("leaves out flags of the terminal and of the class, and those without effect", () => {
    const flags = optionsOf("watch", VERBS).map(({ flag }) => flag);
    expect(flags).toEqual(expect.arrayContaining(["once", "restore-if-missing", "no-cache"]));
    for (const flag of ["bucket", "json", "help", "exec", "progress", "enable-cache"])
      expect(flags).not.toContain(flag);
  });

  test("needs every verb that has a method", () => {
    expect(() => pythonOptions(VERBS.slice(1))).toThrow("there is no verb watch");
  });
});

describe("the text of Python", () => {
  test("is wrapped at a hundred columns", () => {
    const words = Array.from({ length: 40 }, (_, index) => `word${index}`);
    const made = [commentLines(words.join(" "), "    "), docstring(words.join(" "), "    ")].join("");
    expect(Math.max(...made.split("\n").map((line) => line.length))).toBeLessThanOrEqual(100);
    expect([...made.matchAll(/word\d+/g)].map(([word]) => word)).toEqual([...words, ...words]);
  });

  test("has a line for each part of a type that does not fit", () => {
    const type = `Literal[${Array.from({ length: 20 }, (_, index) => `"text${index}"`).join(", ")}]`;
    const made = typedLine("key: ", type, "", "    ");
    expect(made).toStartWith('    key: Literal[\n        "text0",\n');
    expect(made).toEndWith('        "text19",\n    ]\n');
    expect(typedLine("key: ", "str", "", "")).toBe("key: str\n");
  });
});
