/**
 * The little XML that S3 speaks: flat elements with text, no attributes that matter, no nesting of equal
 * names. Reading never runs anything and resolves the predefined and numeric entities only.
 */

const NAMED_ENTITIES: Readonly<Record<string, string>> = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };

/** The content of the first element `name`, undecoded, or null. */
export function xmlElementOrNull(xml: string, name: string): string | null {
  return xmlElements(xml, name).next().value ?? null;
}

/** The contents of all elements `name` in order, undecoded. */
export function* xmlElements(xml: string, name: string): Generator<string, undefined> {
  const pattern = new RegExp(`<${name}(?:\\s[^>]*)?(?:/>|>([\\s\\S]*?)</${name}>)`, "g");
  for (const match of xml.matchAll(pattern)) yield match[1] ?? "";
}

/** The text of the first element `name`, or null. */
export function xmlTextOrNull(xml: string, name: string): string | null {
  const content = xmlElementOrNull(xml, name);
  return content === null ? null : decodeXmlText(content);
}

/** Text with its entities resolved. */
export function decodeXmlText(text: string): string {
  return text.replace(/&(?:#(\d+)|#x([0-9a-fA-F]+)|(\w+));/g, (whole, decimal, hex, name) => {
    if (name !== undefined) return NAMED_ENTITIES[name] ?? whole;
    const codePoint = decimal === undefined ? Number.parseInt(hex, 16) : Number.parseInt(decimal, 10);
    return codePoint <= 0x10ffff ? String.fromCodePoint(codePoint) : whole;
  });
}

/** Text as it stands in an element. */
export function encodeXmlText(text: string): string {
  return text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;").replace(/"/g, "&quot;");
}
