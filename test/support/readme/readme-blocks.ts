/**
 * The README.md files as the tests read them: the front page and the references of the rooms. It gives their
 * fenced examples by name and their sections by heading. A fence names the language and the example: `sh
 * first-watch`, `toml config`, `json list`, `ts embed`, `python first`. A name occurs once in all files, so
 * an example may move to another file without a change of its test.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { withoutBlocks } from "../../../scripts/tidy/links.ts";

/** Languages of the examples; test/e2e/readme/, test/e2e/library/ and test/e2e/python/ run each. */
export const LANGUAGES = ["sh", "toml", "json", "ts", "python"] as const;

/** A language of the examples. */
export type Language = (typeof LANGUAGES)[number];

/** A fenced block. */
export interface Block {
  /** The first word of the fence; "" for a block that no test runs. */
  readonly language: string;
  /** The second word of the fence, or "". */
  readonly name: string;
  /** The fence's line in the file, from 1. */
  readonly line: number;
  /** The lines of the block, with the last newline. */
  readonly text: string;
  /** The paragraph right before it; "" when that is another block. */
  readonly lead: string;
}

/** The folder of the project. */
export const ROOT = join(import.meta.dir, "../../..");

/** Every README.md of the project: its text by its path relative to the project. */
export const READMES: Readonly<Record<string, string>> = Object.fromEntries(
  ["README.md", ...new Bun.Glob("{src,test,scripts}/**/README.md").scanSync({ cwd: ROOT })]
    .toSorted()
    .map((path) => [path, readFileSync(join(ROOT, path), "utf8")]),
);

/** The front page. */
export const README = READMES["README.md"]!;

const BLOCKS = Object.values(READMES).flatMap(parseBlocks);

/** The fenced blocks of a Markdown text, in order. @throws Error for an unclosed fence */
export function parseBlocks(text: string): Block[] {
  const lines = text.split("\n");
  const blocks: Block[] = [];
  for (let index = 0; index < lines.length; index++) {
    const fence = /^```(.*)$/.exec(lines[index]!);
    if (fence === null) continue;
    const end = lines.indexOf("```", index + 1);
    if (end === -1) throw new Error(`the block of line ${index + 1} is not closed`);
    const [language = "", name = ""] = fence[1]!.trim().split(/\s+/);
    const content = lines.slice(index + 1, end);
    const text = content.map((line) => `${line}\n`).join("");
    blocks.push({ language, name, line: index + 1, text, lead: paragraphBefore(lines, index) });
    index = end;
  }
  return blocks;
}

function paragraphBefore(lines: readonly string[], index: number): string {
  let end = index;
  while (end > 0 && lines[end - 1] === "") end--;
  if (lines[end - 1]?.startsWith("```")) return "";
  const begin = lines.lastIndexOf("", Math.max(0, end - 1));
  return lines.slice(begin + 1, end).join("\n");
}

/** The names of the examples in one language, over all files. */
export function namesOf(language: Language): string[] {
  return BLOCKS.filter((block) => block.language === language).map(({ name }) => name);
}

/** One example, from any of the files. @throws Error if no file has the example */
export function blockOf(language: Language, name: string): Block {
  const found = BLOCKS.find((block) => block.language === language && block.name === name);
  if (found === undefined) throw new Error(`no README.md has a block \`${language} ${name}\``);
  return found;
}

/**
 * The text below a heading up to the next heading of the same or a higher rank, from any of the files.
 * @throws Error unless exactly one file has the heading, once
 */
export function sectionOf(heading: string): string {
  const sections = Object.values(READMES).flatMap((text) => sectionsBelow(text, heading));
  if (sections.length !== 1) throw new Error(`${sections.length} sections are called ${heading}, expected 1`);
  return sections[0]!;
}

function sectionsBelow(text: string, heading: string): string[] {
  const lines = text.split("\n");
  const ranks = withoutBlocks(text)
    .split("\n")
    .map((line) => /^(#{1,6}) /.exec(line)?.[1]?.length ?? Number.POSITIVE_INFINITY);
  return lines.flatMap((line, index) => {
    const rank = ranks[index]!;
    if (line !== `${"#".repeat(Math.min(rank, 6))} ${heading}`) return [];
    const next = ranks.findIndex((other, at) => at > index && other <= rank);
    return [lines.slice(index + 1, next === -1 ? undefined : next).join("\n")];
  });
}

/**
 * Mistakes in the fences of files, by path: an example without a name, a name used twice, a language that
 * nothing runs.
 */
export function fenceMistakes(texts: Readonly<Record<string, string>>): string[] {
  const mistakes: string[] = [];
  const seen = new Set<string>();
  for (const [path, text] of Object.entries(texts)) {
    for (const { language, name, line } of parseBlocks(text)) {
      if (language === "") continue;
      const label = `${language} ${name}`;
      const at = `${path}:${line}`;
      if (!LANGUAGES.some((known) => known === language)) mistakes.push(`${at}: nothing runs ${language}`);
      else if (name === "") mistakes.push(`${at}: a ${language} block without a name`);
      else if (seen.has(label)) mistakes.push(`${at}: ${label} is there twice`);
      seen.add(label);
    }
  }
  return mistakes;
}
