/**
 * Reads the XML in the answers of an S3 store, and encodes text for the XML in requests.
 *
 * The reader accepts elements, attributes (checked, not kept), text, CDATA, comments and processing
 * instructions. A document is readable if and only if
 *   1. every element is closed by its own end tag, in order, and attribute values are quoted,
 *   2. it declares no document type: there are no entities but the five predefined ones and numeric ones,
 *   3. elements nest at most 32 deep, and there are at most 1,000,000 of them.
 * An unreadable document is null, which no caller takes for an answer of a store. Reading takes one pass:
 * time and memory are in proportion to the length of the text.
 *
 * Characters that XML 1.0 forbids are kept: a store may send controls in a key, raw or as `&#1;`. Names lose
 * their namespace prefix.
 */

const DEPTH_MAX = 32;
/**
 * A page of 1,000 objects with owners and checksums has some 15,000 elements; a store that ignores `max-keys`
 * sends more, up to the size of an answer.
 */
const ELEMENTS_MAX = 1_000_000;

const NAMED_ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
/** Bounded repetition: a text full of "&" costs no more than its length. */
const ENTITY = /&(?:#([0-9]{1,8})|#x([0-9a-fA-F]{1,6})|([a-zA-Z]{1,8}));/g;

/** An element: its own text, decoded, and the elements in it. */
export interface XmlElement {
  readonly name: string;
  readonly text: string;
  readonly children: readonly XmlElement[];
}

/** An element whose end tag has not come. */
interface OpenElement {
  readonly name: string;
  text: string;
  readonly children: XmlElement[];
}

/** The elements of a document, as children of an element without a name; null if it is unreadable. */
export function parseXmlOrNull(xml: string): XmlElement | null {
  const root: OpenElement = { name: "", text: "", children: [] };
  const open = [root];
  let elementCount = 0;
  for (let at = 0; at < xml.length; ) {
    const current = open.at(-1)!;
    const tagAt = xml.indexOf("<", at);
    const textEnd = tagAt < 0 ? xml.length : tagAt;
    if (textEnd > at) current.text += decodeXmlText(xml.slice(at, textEnd));
    if (tagAt < 0) break;
    const next = xml.charCodeAt(tagAt + 1);
    if (next === EXCLAMATION || next === QUESTION) {
      const end = endOfMarkup(xml, tagAt);
      if (end < 0) return null;
      if (xml.startsWith(CDATA_START, tagAt)) current.text += xml.slice(tagAt + CDATA_START.length, end - 3);
      at = end;
      continue;
    }
    if (next === SLASH) {
      const end = xml.indexOf(">", tagAt);
      if (end < 0 || open.length === 1 || localName(xml.slice(tagAt + 2, end).trim()) !== current.name) {
        return null;
      }
      open.pop();
      at = end + 1;
      continue;
    }
    const end = endOfStartTag(xml, tagAt + 1);
    if (end < 0 || ++elementCount > ELEMENTS_MAX || open.length > DEPTH_MAX) return null;
    const element: OpenElement = { name: nameAt(xml, tagAt + 1), text: "", children: [] };
    if (element.name === "") return null;
    current.children.push(element);
    if (xml.charCodeAt(end - 2) !== SLASH) open.push(element);
    at = end;
  }
  return open.length === 1 ? root : null;
}

const EXCLAMATION = 33;
const QUESTION = 63;
const SLASH = 47;
const GREATER = 62;
const LESS = 60;
const DOUBLE_QUOTE = 34;
const SINGLE_QUOTE = 39;
const CDATA_START = "<![CDATA[";

/** The end of the comment, CDATA or processing instruction that begins at `at`; -1 if there is none. */
function endOfMarkup(xml: string, at: number): number {
  const [start, close] = xml.startsWith("<!--", at)
    ? ["<!--", "-->"]
    : xml.startsWith(CDATA_START, at)
      ? [CDATA_START, "]]>"]
      : ["<?", "?>"];
  if (!xml.startsWith(start!, at)) return -1;
  const end = xml.indexOf(close!, at + start!.length);
  return end < 0 ? -1 : end + close!.length;
}

/** The position after the ">" of a start tag, past quoted attribute values; -1 if there is none. */
function endOfStartTag(xml: string, at: number): number {
  for (let index = at; index < xml.length; index++) {
    const code = xml.charCodeAt(index);
    if (code === GREATER) return index + 1;
    if (code === LESS) return -1;
    if (code !== DOUBLE_QUOTE && code !== SINGLE_QUOTE) continue;
    index = xml.indexOf(code === DOUBLE_QUOTE ? '"' : "'", index + 1);
    if (index < 0) return -1;
  }
  return -1;
}

/** The name of the start tag whose text begins at `at`, without its prefix; "" if there is none. */
function nameAt(xml: string, at: number): string {
  let end = at;
  while (end < xml.length && !isNameEnd(xml.charCodeAt(end))) end++;
  return localName(xml.slice(at, end));
}

function isNameEnd(code: number): boolean {
  return code <= 32 || code === SLASH || code === GREATER;
}

function localName(name: string): string {
  return name.slice(name.indexOf(":") + 1);
}

/** The first element `name` in a document or below an element, in document order, or null. */
export function xmlElementOrNull(xml: string | XmlElement, name: string): XmlElement | null {
  return xmlElements(xml, name).next().value ?? null;
}

/** All elements `name` in document order, however deep. */
export function* xmlElements(xml: string | XmlElement, name: string): Generator<XmlElement, undefined> {
  const root = typeof xml === "string" ? parseXmlOrNull(xml) : xml;
  if (root === null) return;
  for (const child of root.children) {
    if (child.name === name) yield child;
    yield* xmlElements(child, name);
  }
}

/** The text of the first element `name`, decoded, or null. */
export function xmlTextOrNull(xml: string | XmlElement, name: string): string | null {
  return xmlElementOrNull(xml, name)?.text ?? null;
}

/** Text with its entities resolved; unknown entities stay. */
export function decodeXmlText(text: string): string {
  if (!text.includes("&")) return text;
  return text.replace(ENTITY, (whole, decimal, hex, name) => {
    if (name !== undefined) return NAMED_ENTITIES[name] ?? whole;
    const codePoint = decimal === undefined ? Number.parseInt(hex, 16) : Number.parseInt(decimal, 10);
    return codePoint <= 0x10ffff ? String.fromCodePoint(codePoint) : whole;
  });
}

/** Text escaped for the content of an element. */
export function encodeXmlText(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}
