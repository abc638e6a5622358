/**
 * Links between Markdown files. A relative link must lead to a file or folder of the project, and its anchor
 * to a heading there, so that GitHub shows the reader the promised place.
 */
import type { Texts } from "./syntax.ts";
import type { Violation } from "./violations.ts";

/** Relative links of Markdown files that lead to no file, folder or heading of these texts. */
export function linkViolations(texts: Texts): Violation[] {
  const pages = Object.keys(texts).filter((path) => path.endsWith(".md"));
  const anchors = new Map(pages.map((path) => [path, anchorsOf(texts[path] ?? "")]));
  return pages.flatMap((path) =>
    placedLinksOf(texts[path] ?? "")
      .filter(({ target }) => !isAbsolute(target) && !leadsSomewhere(path, target, texts, anchors))
      .map(({ target, line }) => ({ path, line, rule: "link", message: `${target} leads nowhere` })),
  );
}

function isAbsolute(target: string): boolean {
  return /^[a-z]+:/.test(target);
}

function leadsSomewhere(
  from: string,
  target: string,
  texts: Texts,
  anchors: ReadonlyMap<string, ReadonlySet<string>>,
): boolean {
  const [relative = "", anchor] = target.split("#");
  const path = relative === "" ? from : resolveFrom(from, relative);
  if (path === null) return false;
  if (anchor !== undefined) return anchors.get(path)?.has(anchor) ?? false;
  const folder = path === "" ? "" : `${path.replace(/\/$/, "")}/`;
  return path in texts || Object.keys(texts).some((other) => other.startsWith(folder));
}

/** A relative path as a path from the project's folder; null when it leaves that folder. */
function resolveFrom(from: string, relative: string): string | null {
  const steps = from.split("/").slice(0, -1);
  for (const step of relative.split("/")) {
    if (step === "..") {
      if (steps.pop() === undefined) return null;
    } else if (step !== "." && step !== "") steps.push(step);
  }
  return steps.join("/");
}

/** The anchor of a heading on GitHub: small letters, no punctuation, a hyphen for each space. */
export function anchorOf(heading: string): string {
  const plain = heading.replaceAll(/[`*]/g, "").toLowerCase();
  return plain.replaceAll(/[^\p{L}\p{N} _-]/gu, "").replaceAll(" ", "-");
}

/** The anchors of a Markdown text; GitHub numbers a heading that occurs again (`-1`, `-2`). */
export function anchorsOf(text: string): ReadonlySet<string> {
  const counts = new Map<string, number>();
  const anchors = new Set<string>();
  for (const anchor of headingsOf(text).map(anchorOf)) {
    const count = counts.get(anchor) ?? 0;
    counts.set(anchor, count + 1);
    anchors.add(count === 0 ? anchor : `${anchor}-${count}`);
  }
  return anchors;
}

/** The headings of a Markdown text, outside of its blocks. */
export function headingsOf(text: string): string[] {
  return [...withoutBlocks(text).matchAll(/^#{1,6} (.+)$/gm)].map(([, heading]) => heading!);
}

/** The targets of a Markdown text's links, outside of blocks and code. */
export function linksOf(text: string): string[] {
  return placedLinksOf(text).map(({ target }) => target);
}

/** Links with their lines, counted from 1. */
function placedLinksOf(text: string): { readonly target: string; readonly line: number }[] {
  const lines = withoutBlocks(text).split("\n");
  return lines.flatMap((content, index) =>
    [...content.replaceAll(/`[^`]*`/g, "").matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => ({
      target: target!,
      line: index + 1,
    })),
  );
}

/** A text with the lines of its fenced blocks emptied, so that lines keep their numbers. */
export function withoutBlocks(text: string): string {
  return text.replaceAll(/^```[\s\S]*?^```$/gm, (block) => block.replaceAll(/[^\n]/g, ""));
}
