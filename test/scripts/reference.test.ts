/**
 * The references in the rooms' READMEs equal the program's own tables, and `withReference` repairs every row
 * that differs.
 */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { REFERENCE, REFERENCE_PAGES, withReference } from "../../scripts/reference.ts";
import { GLOBAL_OPTIONS, keyName, SECTIONS } from "../../src/config/settings/options.ts";
import { SILENT_LOG, systemEnv } from "../../src/env.ts";
import { metricFamilies } from "../../src/observability/metrics.ts";
import { Tally } from "../../src/observability/tally.ts";
import { statusOf } from "../observability/samples.ts";
import { READMES } from "../support/readme/readme-blocks.ts";

const ROOT = join(import.meta.dir, "..", "..");
const PAGES = await Promise.all(REFERENCE_PAGES.map((page) => Bun.file(join(ROOT, page)).text()));

/** One part of a text, between its marks. */
function part(name: string, content: string): string {
  return `<!-- reference:${name} -->\n${content}\n<!-- /reference -->`;
}

test("the READMEs have the reference that the tables make, each part once", () => {
  for (const page of PAGES) expect(withReference(page)).toBe(page);
  const all = Object.values(READMES).join("\n");
  const marks = [...all.matchAll(/^<!-- reference:([a-z]+) -->$/gm)].map(([, name]) => name!);
  expect(marks.toSorted()).toEqual(Object.keys(REFERENCE).toSorted());
  expect(all.match(/^<!-- \/reference -->$/gm)).toHaveLength(marks.length);
  expect(Object.keys(READMES)).toEqual(expect.arrayContaining([...REFERENCE_PAGES]));
});

describe("withReference", () => {
  test.each(Object.keys(REFERENCE))("regenerates %s, and does not change the text around it", (name) => {
    const text = `before\n${part(name, "old")}\nbetween\n${part("globals", "old")}\nafter\n`;
    const made = withReference(text);
    expect(made).toBe(
      `before\n${part(name, `\n${REFERENCE[name]!()}\n`)}\nbetween\n` +
        `${part("globals", `\n${REFERENCE["globals"]!()}\n`)}\nafter\n`,
    );
    expect(withReference(made)).toBe(made);
  });

  test("does not change a text without a reference", () => {
    expect(withReference("no reference: `<!-- reference -->`\n")).toBe(
      "no reference: `<!-- reference -->`\n",
    );
  });

  test("rejects a part that does not exist", () => {
    expect(() => withReference(part("unknown", ""))).toThrow('there is no reference "unknown"');
  });

  /** For each part a row, and a manual edit of that row. */
  test.each([
    ["globals", "| `--log-level LEVEL` | `info` |", "| `--log-level LEVEL` | `warn` |"],
    [
      "settings",
      "| `min_checkpoint_page_count` | `--min-checkpoint-pages` |",
      "| `min_checkpoint_pages` |  |",
    ],
    ["verbs", "| `--dry-run` |  |  |", "| `--try` |  |  |"],
    ["metrics", "| `walrust_lag_seconds` | gauge |", "| `walrust_lag_seconds` | counter |"],
  ])("repairs a changed row, an extra row and a missing row of %s", (_name, row, changed) => {
    const [page = "", ...others] = PAGES.filter((text) => text.includes(row));
    expect(others).toEqual([]);
    expect(page.split(row)).toHaveLength(2);
    const [line = ""] = page.split("\n").filter((one) => one.startsWith(row));
    for (const [found, by] of [
      [row, changed],
      [`${line}\n`, `${line}\n${line}\n`],
      [`${line}\n`, ""],
    ] as const) {
      const stale = page.replace(found, by);
      expect(stale).not.toBe(page);
      expect(withReference(stale)).toBe(page);
    }
  });
});

describe("the reference", () => {
  test("has every key of walrust.toml in its section", () => {
    const settings = REFERENCE["settings"]!();
    for (const { name, isList, options } of SECTIONS) {
      const header = `#### \`${isList ? `[[${name}]]` : `[${name}]`}\`\n`;
      const [, rest = ""] = settings.split(header);
      const [section] = rest.split("\n\n#### ");
      for (const spec of Object.values(options)) expect(section).toContain(`\n| \`${keyName(spec)}\``);
    }
  });

  test("has every verb of src/commands", async () => {
    const folder = join(ROOT, "src", "commands");
    const verbs: string[] = [];
    for (const file of new Bun.Glob("*.ts").scanSync({ cwd: folder })) {
      const text = await Bun.file(join(folder, file)).text();
      verbs.push(...[...text.matchAll(/^export const (\w+)Verb: Verb = /gm)].map(([, verb]) => verb!));
    }
    const documented = [...REFERENCE["verbs"]!().matchAll(/^`walrust (\w+)(?: .*)?`$/gm)].map(
      ([, verb]) => verb!,
    );
    expect(documented.toSorted()).toEqual(verbs.toSorted());
  });

  test("has every flag that all verbs take", () => {
    for (const { flag } of Object.values(GLOBAL_OPTIONS))
      expect(REFERENCE["globals"]!()).toContain(`\`--${flag}`);
  });

  test("has every metric that a process with databases exposes", () => {
    const facts = { tally: new Tally(systemEnv(SILENT_LOG)), version: "0.4.0", storeConditions: [] };
    const families = [...metricFamilies([statusOf()], facts)];
    expect(families.length).toBeGreaterThan(20);
    for (const { name } of families) expect(REFERENCE["metrics"]!()).toContain(`\n| \`${name}\` | `);
  });

  test("has no cell that breaks its table", () => {
    for (const make of Object.values(REFERENCE)) {
      for (const table of make().split("\n\n")) {
        if (!table.startsWith("|")) continue;
        const cells = table.split("\n").map((row) => row.replaceAll("\\|", "").split("|").length);
        expect(new Set(cells).size).toBe(1);
      }
    }
  });
});
