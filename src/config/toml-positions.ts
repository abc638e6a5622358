/**
 * Finds the positions of keys and values in a TOML text, which smol-toml does not report.
 *
 * The scanner reads a text that smol-toml has already accepted, so it checks nothing again. It finds where
 * keys, values and headers begin, and their paths in the document. It follows TOML 1.0 and the extensions of
 * smol-toml (line breaks, comments and a last comma in inline tables; `\e` and `\xHH`).
 *
 * Lines and columns count from 1. Columns count characters (code points), as editors do; a byte order mark
 * does not count. Time and memory are linear in the text, and nesting costs no stack. In a text that
 * smol-toml would refuse, the scan ends at the fault.
 */
import { parse, TomlError } from "smol-toml";

/** A place in a text; both count from 1, columns in code points. */
export interface TextPosition {
  readonly line: number;
  readonly column: number;
}

/** A key of a table, or the index of an element of an array, from the root inwards. */
export type TomlPath = readonly (string | number)[];

/** The positions of the keys and values of one text; null for a path that the text does not have. */
export interface TomlPositions {
  /**
   * The position of the key that a path ends with: in its own header or `key =`, else in the longer key that
   * implies it first (`a` in `[a.b]` or `a.b = 1`). For an element of an array, the position of its value.
   */
  positionOf(path: TomlPath): TextPosition | null;
  /**
   * The position of the value's first character. For a table with a header, and for an element `[[x]]`, the
   * position of the header's bracket.
   */
  valuePositionOf(path: TomlPath): TextPosition | null;
}

/**
 * Finds all keys and values of a text.
 * @param text a text that smol-toml parses without an error
 */
export function locateTomlKeys(text: string): TomlPositions {
  const root = new TomlScanner(text).scan();
  const lines = new LineIndex(text);
  return {
    positionOf(path) {
      const node = nodeAt(root, path);
      return node === null ? null : lines.positionAt(node.keyOffset);
    },
    valuePositionOf(path) {
      const node = nodeAt(root, path);
      return node === null ? null : lines.positionAt(node.valueOffset);
    },
  };
}

/**
 * The position and the reason of a syntax error, without the lines that smol-toml quotes: they may contain
 * secrets.
 * @throws `error` itself when smol-toml did not throw it
 */
export function tomlErrorPlace(error: unknown): TextPosition & { readonly message: string } {
  if (!(error instanceof TomlError)) throw error;
  const { line, codeblock } = error;
  const reason = error.message.slice(0, error.message.length - codeblock.length).trim();
  const message = reason.replace(/^Invalid TOML document: /, "");
  // smol-toml counts UTF-16 units and a byte order mark in its column. The quoted line gives the characters.
  const quoted = codeblock.split("\n").find((one) => new RegExp(`^${line} *:  `).test(one)) ?? "";
  const quotedLine = quoted.slice(quoted.indexOf(":  ") + 3);
  const start = line === 1 && quotedLine.startsWith("\uFEFF") ? 1 : 0;
  const column = 1 + countCharacters(quotedLine, start, error.column - 1);
  return { line, column, message };
}

/** A key or an element, with its children. Offsets count UTF-16 units. */
interface TomlNode {
  keyOffset: number;
  valueOffset: number;
  /** Whether the node has a header or `key =` of its own, instead of being implied by a longer key. */
  isExplicit: boolean;
  children: Map<string, TomlNode> | null;
  items: TomlNode[] | null;
}

interface KeyPart {
  readonly name: string;
  readonly offset: number;
}

function newNode(keyOffset: number, valueOffset: number, isExplicit: boolean): TomlNode {
  return { keyOffset, valueOffset, isExplicit, children: null, items: null };
}

function nodeAt(root: TomlNode, path: TomlPath): TomlNode | null {
  let node: TomlNode | undefined = root;
  for (const step of path) {
    node = typeof step === "number" ? node.items?.[step] : node.children?.get(step);
    if (node === undefined) return null;
  }
  return node;
}

/** The child of this name, which is created if it is missing. */
function childOf(node: TomlNode, part: KeyPart, valueOffset: number): TomlNode {
  node.children ??= new Map();
  let child = node.children.get(part.name);
  if (child === undefined) {
    child = newNode(part.offset, valueOffset, false);
    node.children.set(part.name, child);
  }
  return child;
}

/** Creates the node that a header or key names. The parts before the last one are implied. */
function define(from: TomlNode, parts: readonly KeyPart[], valueOffset: number, isHeader: boolean): TomlNode {
  let node = from;
  for (const [index, part] of parts.entries()) {
    // Below an array of tables, a header continues its newest element.
    const table = node.items?.at(-1) ?? node;
    node = childOf(table, part, isHeader ? valueOffset : (parts[index + 1]?.offset ?? valueOffset));
  }
  if (!node.isExplicit) {
    node.keyOffset = parts.at(-1)!.offset;
    node.valueOffset = valueOffset;
    node.isExplicit = true;
  }
  return node;
}

class TomlScanner {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  scan(): TomlNode {
    const root = newNode(0, 0, true);
    root.children = new Map();
    let table: TomlNode | null = root;
    if (this.#text.startsWith("\uFEFF")) this.#at++;
    for (this.#skipVoid(); table !== null && this.#at < this.#text.length; this.#skipVoid()) {
      if (this.#text[this.#at] === "[") table = this.#scanHeader(root);
      else if (!this.#scanPair(table)) break;
    }
    return root;
  }

  /** @returns the table that the next keys belong to, or null at a fault in the text */
  #scanHeader(root: TomlNode): TomlNode | null {
    const start = this.#at;
    const isElement = this.#text[start + 1] === "[";
    this.#at += isElement ? 2 : 1;
    const parts = this.#scanKey();
    if (parts === null || !this.#skip("]") || (isElement && !this.#skip("]"))) return null;
    const table = define(root, parts, start, true);
    if (!isElement) return table;
    const element = newNode(start, start, true);
    table.items ??= [];
    table.items.push(element);
    return element;
  }

  /** Reads one `key = value`, nested values included. @returns false at a fault in the text */
  #scanPair(table: TomlNode): boolean {
    /** The open arrays and inline tables, innermost last. */
    const open: TomlNode[] = [];
    let value = this.#scanAssignment(table);
    while (value !== null) {
      const isContainer = this.#scanValueStart(value);
      if (isContainer === null) return false;
      if (isContainer) open.push(value);
      value = null;
      while (value === null) {
        const container = open.at(-1);
        if (container === undefined) return true;
        this.#skipVoid();
        if (this.#skip(",")) this.#skipVoid();
        if (this.#skip(container.items === null ? "}" : "]")) open.pop();
        else if (container.items === null) {
          value = this.#scanAssignment(container);
          if (value === null) return false;
        } else {
          value = newNode(this.#at, this.#at, true);
          container.items.push(value);
        }
      }
    }
    return false;
  }

  /** Reads a key up to the start of its value. */
  #scanAssignment(table: TomlNode): TomlNode | null {
    const parts = this.#scanKey();
    if (parts === null || !this.#skip("=")) return null;
    this.#skipBlanks();
    return define(table, parts, this.#at, false);
  }

  /** Skips a scalar or an opening bracket. @returns true for a bracket, null if there is no value */
  #scanValueStart(value: TomlNode): boolean | null {
    const first = this.#text[this.#at];
    if (first === "[") value.items = [];
    if (first === "{") value.children = new Map();
    if (first === "[" || first === "{") {
      this.#at++;
      return true;
    }
    if (first === '"' || first === "'") return this.#skipString() ? false : null;
    // A date may have a blank before its time, so a scalar ends only at a character that cannot be in one.
    return this.#skipMatch(/[^,\]}#\r\n]+/y) === null ? null : false;
  }

  #scanKey(): KeyPart[] | null {
    const parts: KeyPart[] = [];
    do {
      this.#skipBlanks();
      const offset = this.#at;
      const name = this.#scanKeyPart();
      if (name === null) return null;
      parts.push({ name, offset });
      this.#skipBlanks();
    } while (this.#skip("."));
    return parts;
  }

  #scanKeyPart(): string | null {
    const start = this.#at;
    const quote = this.#text[start];
    if (quote !== '"' && quote !== "'") return this.#skipMatch(/[A-Za-z0-9_-]+/y);
    if (!this.#skipString()) return null;
    const quotedText = this.#text.slice(start, this.#at);
    if (quote === "'" || !quotedText.includes("\\")) return quotedText.slice(1, -1);
    try {
      return parse(`key = ${quotedText}`)["key"] as string;
    } catch {
      return null;
    }
  }

  /** Skips any of the four kinds of string. @returns false if the string has no end */
  #skipString(): boolean {
    const text = this.#text;
    const quote = text[this.#at]!;
    const isMultiline = text[this.#at + 1] === quote && text[this.#at + 2] === quote;
    const end = isMultiline ? quote.repeat(3) : quote;
    let at = this.#at + end.length;
    while (at < text.length && !text.startsWith(end, at)) {
      if (text[at] === "\\" && quote === '"') at++;
      at++;
    }
    if (at >= text.length) return false;
    at += end.length;
    // Up to two more quotes belong to the content.
    for (let extra = 0; extra < 2 && isMultiline && text[at] === quote; extra++) at++;
    this.#at = at;
    return true;
  }

  #skip(character: string): boolean {
    if (this.#text[this.#at] !== character) return false;
    this.#at++;
    return true;
  }

  #skipBlanks(): void {
    this.#skipMatch(/[ \t]+/y);
  }

  /** Skips blanks, line breaks and comments. */
  #skipVoid(): void {
    do this.#skipMatch(/[ \t\r\n]+/y);
    while (this.#skipMatch(/#[^\n]*/y) !== null);
  }

  #skipMatch(pattern: RegExp): string | null {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#text)?.[0] ?? null;
    if (found !== null) this.#at += found.length;
    return found;
  }
}

/** Finds the line and column of an offset. */
class LineIndex {
  readonly #text: string;
  /** The offset of each line; computed at the first lookup. */
  #starts: number[] | null = null;

  constructor(text: string) {
    this.#text = text;
  }

  positionAt(offset: number): TextPosition {
    this.#starts ??= lineStarts(this.#text);
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >>> 1;
      if (this.#starts[middle]! <= offset) low = middle;
      else high = middle - 1;
    }
    return { line: low + 1, column: 1 + countCharacters(this.#text, this.#starts[low]!, offset) };
  }
}

function lineStarts(text: string): number[] {
  const starts = [text.startsWith("\uFEFF") ? 1 : 0];
  for (let at = text.indexOf("\n"); at >= 0; at = text.indexOf("\n", at + 1)) starts.push(at + 1);
  return starts;
}

/** Counts the code points between two offsets. */
function countCharacters(text: string, start: number, end: number): number {
  let count = 0;
  for (let at = start; at < end; count++) at += (text.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
  return count;
}
