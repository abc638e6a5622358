/**
 * Writes the tables of verbs, settings and metrics into the READMEs of their rooms. Replaces the text between
 * `<!-- reference:NAME -->` and `<!-- /reference -->` with tables made from the program's own options and
 * metrics. Writes the options and the documents of the Python package, too. With `--check` it writes nothing
 * and exits with 1 when a file is out of date.
 */
import { join } from "node:path";
import { compactVerb } from "../src/commands/compact.ts";
import { completionsVerb } from "../src/commands/completions.ts";
import { doctorVerb } from "../src/commands/doctor.ts";
import { explainVerb } from "../src/commands/explain.ts";
import { listVerb } from "../src/commands/list.ts";
import { manVerb } from "../src/commands/man.ts";
import { pragmaVerb } from "../src/commands/pragma.ts";
import { reloadVerb } from "../src/commands/reload.ts";
import { replicateVerb } from "../src/commands/replicate.ts";
import { restoreVerb } from "../src/commands/restore.ts";
import { serveVerb } from "../src/commands/serve.ts";
import type { Verb } from "../src/commands/shared/verb.ts";
import { snapshotVerb } from "../src/commands/snapshot.ts";
import { statusVerb } from "../src/commands/status.ts";
import { syncVerb } from "../src/commands/sync.ts";
import { undoVerb } from "../src/commands/undo.ts";
import { verifyVerb } from "../src/commands/verify.ts";
import { watchVerb } from "../src/commands/watch.ts";
import type { OptionKind, OptionSpec } from "../src/config/settings/option-spec.ts";
import { defaultText, rangeText } from "../src/config/settings/option-text.ts";
import { GLOBAL_OPTIONS, keyName, SECTIONS, type Section } from "../src/config/settings/options.ts";
import { SILENT_LOG, systemEnv } from "../src/env.ts";
import { metricFamilies } from "../src/observability/metrics.ts";
import { Tally } from "../src/observability/tally.ts";
import { pythonDocuments } from "./reference/python-documents.ts";
import { pythonOptions } from "./reference/python-options.ts";

const ROOT = join(import.meta.dir, "..");

/** The files that hold a part of the reference, by path from the project's folder. */
export const REFERENCE_PAGES = [
  "src/commands/README.md",
  "src/config/README.md",
  "src/observability/README.md",
] as const;

/** Modules that are made as a whole, by path from the project's folder. */
export const REFERENCE_MODULES: Readonly<Record<string, () => string | Promise<string>>> = {
  "src/python/walrust/_options.py": () => pythonOptions(VERBS),
  "src/python/walrust/documents.py": pythonDocuments,
};

/** All verbs in the order of the reference. */
export const VERBS: readonly Verb[] = [
  watchVerb,
  snapshotVerb,
  restoreVerb,
  undoVerb,
  listVerb,
  verifyVerb,
  compactVerb,
  replicateVerb,
  serveVerb,
  statusVerb,
  syncVerb,
  reloadVerb,
  doctorVerb,
  explainVerb,
  pragmaVerb,
  completionsVerb,
  manVerb,
];

/** The parts of the reference by name. */
export const REFERENCE: Readonly<Record<string, () => string>> = {
  settings: () => SECTIONS.map(sectionText).join("\n\n"),
  verbs: () => VERBS.map(verbText).join("\n\n"),
  globals: () => flagTable(Object.values(GLOBAL_OPTIONS)),
  metrics: metricsTable,
};

/** Replaces the reference parts of a text by current ones. @throws Error for an unknown part */
export function withReference(text: string): string {
  const part = /<!-- reference:([a-z]+) -->\n[\s\S]*?<!-- \/reference -->/g;
  return text.replace(part, (_, name: string) => {
    const make = REFERENCE[name];
    if (make === undefined) throw new Error(`there is no reference ${JSON.stringify(name)}`);
    return `<!-- reference:${name} -->\n\n${make()}\n\n<!-- /reference -->`;
  });
}

/** How a user writes a value of each kind, with its unit. */
const TYPES: Readonly<Record<OptionKind, string>> = {
  text: "text",
  switch: "boolean",
  seconds: "seconds",
  duration: "duration",
  milliseconds: "ms",
  count: "integer",
  bytes: "size",
  percent: "percent",
  number: "number",
  texts: "list of texts",
  durations: "list of durations",
};

function sectionText(section: Section): string {
  const { name, meaning, isList, isPerDatabase, options } = section;
  const header = isList ? `[[${name}]]` : `[${name}]`;
  const where = isPerDatabase
    ? " A `[[databases]]` entry may set any of these keys for its own databases."
    : "";
  const head = ["key", "flag", "also from", "type", "default", "range", "meaning"];
  const rows = Object.values(options).map((spec) => [
    code(keyName(spec)) + (spec.isSecret ? ` or ${code(`${keyName(spec)}_file`)}` : ""),
    spec.flag === undefined ? "" : code(`--${spec.flag}`),
    (spec.env ?? []).map(code).join(", "),
    TYPES[spec.kind],
    code(defaultText(spec) ?? ""),
    rangeText(spec) ?? "",
    spec.meaning,
  ]);
  return `#### \`${header}\`\n\n${capitalized(meaning)}.${where}\n\n${table(head, rows)}`;
}

function verbText(verb: Verb): string {
  const { name, usage, summary, options, exitCodes } = verb;
  const isSetting = name === "watch" || name === "explain";
  const specs = options.flatMap((group) => Object.values(group));
  // The page describes the flags of the destination once for all verbs.
  const own = specs.filter((spec) => !spec.isHidden && spec.flag !== undefined && !isStoreSetting(spec));
  const shown = isSetting ? own.filter((spec) => spec.key === undefined) : own;
  const flags = "every flag of the [configuration](../config/README.md#settings)";
  const settings = isSetting ? `${code(name)} takes ${flags}.` : "";
  const parts = [
    `#### ${name}`,
    `\`walrust ${`${name} ${usage}`.trimEnd()}\`\n\n${capitalized(summary)}.`,
    settings,
    shown.length === 0 ? "" : flagTable(shown),
    table(
      ["exit", "meaning"],
      exitCodes.map(([exit, meaning]) => [`${exit}`, meaning]),
    ),
  ];
  return parts.filter((part) => part !== "").join("\n\n");
}

function isStoreSetting({ key }: OptionSpec): boolean {
  return key?.startsWith("s3.") === true;
}

function flagTable(specs: readonly OptionSpec[]): string {
  const rows = specs.map((spec) => {
    const value =
      spec.value === undefined ? "" : spec.bare === undefined ? ` ${spec.value}` : `[=${spec.value}]`;
    const alias = spec.alias === undefined ? "" : `${code(`-${spec.alias}`)}, `;
    const shown = spec.kind === "switch" && spec.value === undefined ? null : defaultText(spec);
    const range = spec.kind === "switch" ? null : rangeText(spec);
    return [`${alias}${code(`--${spec.flag}${value}`)}`, code(shown ?? ""), range ?? "", spec.meaning];
  });
  return table(["flag", "default", "range", "meaning"], rows);
}

function metricsTable(): string {
  const tally = new Tally(systemEnv(SILENT_LOG));
  const families = [...metricFamilies([], { tally, version: "", storeConditions: [] })];
  const rows = families.map(({ name, kind, help }) => [code(name), kind, help.replace(/\.$/, "")]);
  return table(["metric", "type", "meaning"], rows);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string =>
    `| ${cells.map((cell) => cell.replaceAll("|", "\\|")).join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

function code(text: string): string {
  return text === "" ? "" : `\`${text}\``;
}

function capitalized(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}`;
}

/** Writes a file that differs; with `--check`, only reports it. */
async function update(name: string, made: string): Promise<void> {
  const path = join(ROOT, name);
  const text = (await Bun.file(path).exists()) ? await Bun.file(path).text() : "";
  if (made === text) console.log(`${name}: the reference is up to date`);
  else if (process.argv.includes("--check")) {
    console.error(`${name}: the reference is out of date: run bun scripts/reference.ts`);
    process.exitCode = 1;
  } else {
    await Bun.write(path, made);
    console.log(`${name}: the reference is written`);
  }
}

if (import.meta.main) {
  for (const page of REFERENCE_PAGES) {
    await update(page, withReference(await Bun.file(join(ROOT, page)).text()));
  }
  for (const [name, make] of Object.entries(REFERENCE_MODULES)) await update(name, await make());
}
