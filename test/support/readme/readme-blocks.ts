/**
 * README.md as the tests read it: its fenced examples by name, its headings and its links.
 *
 * An example's fence says what it is and what it is called: `sh first-watch`, `toml config`, `json list`.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The languages an example is written in; each has its table of runs in test/e2e/readme-*.test.ts. */
export const LANGUAGES = ["sh", "toml", "json"] as const;

/** One of them. */
export type Language = (typeof LANGUAGES)[number];

/** A fenced block. */
export interface Block {
  /** As the fence says it: "" for a picture that nobody runs. */
  readonly language: string;
  /** What it is called, "" without a name. */
  readonly name: string;
  /** The fence's line in the file, from 1. */
  readonly line: number;
  /** What stands in it, with the last newline. */
  readonly text: string;
  /** The paragraph right before it; "" when that is another block. */
  readonly lead: string;
}

/** The folder of the project. */
export const ROOT = join(import.meta.dir, "../../..");

/** README.md. */
export const README = readFileSync(join(ROOT, "README.md"), "utf8");

/** The fenced blocks of a Markdown text, in their order. @throws Error for a fence that is not closed */
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

/** The names of the examples in one language, in their order. */
export function namesOf(language: Language): string[] {
  return parseBlocks(README)
    .filter((block) => block.language === language)
    .map(({ name }) => name);
}

/** One example of the README. @throws Error when it is not there */
export function blockOf(language: Language, name: string): Block {
  const found = parseBlocks(README).find((block) => block.language === language && block.name === name);
  if (found === undefined) throw new Error(`README.md has no block \`${language} ${name}\``);
  return found;
}

/** What is wrong with the fences of a text: an example without a name, a name used twice, a language. */
export function fenceMistakes(text: string): string[] {
  const mistakes: string[] = [];
  const seen = new Set<string>();
  for (const { language, name, line } of parseBlocks(text)) {
    if (language === "") continue;
    const label = `${language} ${name}`;
    if (!LANGUAGES.some((known) => known === language))
      mistakes.push(`line ${line}: nothing runs ${language}`);
    else if (name === "") mistakes.push(`line ${line}: a ${language} block without a name`);
    else if (seen.has(label)) mistakes.push(`line ${line}: ${label} is there twice`);
    seen.add(label);
  }
  return mistakes;
}

/** Where a heading can be linked to, as GitHub makes it: small letters, no punctuation, hyphens. */
export function anchorOf(heading: string): string {
  const plain = heading.replaceAll(/[`*]/g, "").toLowerCase();
  return plain.replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}

/** The headings of a Markdown text, outside of its blocks. */
export function headingsOf(text: string): string[] {
  return [...withoutBlocks(text).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) => heading!);
}

/** The targets of a Markdown text's links, outside of its blocks. */
export function linksOf(text: string): string[] {
  return [...withoutBlocks(text).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!);
}

function withoutBlocks(text: string): string {
  return text.replaceAll(/^```[\s\S]*?^```$/gm, "");
}
