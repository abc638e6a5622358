/** The XML reader and writer, on documents of S3 and of compatible stores. */
import { expect, test } from "bun:test";
import {
  decodeXmlText,
  encodeXmlText,
  parseXmlOrNull,
  xmlElements,
  xmlTextOrNull,
} from "../../../src/storage/s3/s3-xml.ts";

test("xmlTextOrNull finds the first element, with attributes, empty or missing", () => {
  const xml = '<?xml version="1.0"?>\n<A xmlns="u"><B>1 &lt; 2</B><B>3</B><C/><D></D><E x="1">é</E></A>';
  expect(["B", "C", "D", "E", "F"].map((name) => xmlTextOrNull(xml, name))).toEqual([
    "1 < 2",
    "",
    "",
    "é",
    null,
  ]);
  expect([...xmlElements(xml, "B")].map(({ text }) => text)).toEqual(["1 < 2", "3"]);
});

test("xmlTextOrNull does not match a prefix of a longer name", () => {
  expect(xmlTextOrNull("<KeyCount>2</KeyCount><Key>k</Key>", "Key")).toBe("k");
});

test("decodeXmlText resolves predefined and numeric entities once, and keeps other ones", () => {
  expect(decodeXmlText("&amp;lt; &#65;&#x1F9AD;&quot;&apos;&gt; &nbsp; &#x110000;")).toBe(
    "&lt; A🦭\"'> &nbsp; &#x110000;",
  );
});

test("encodeXmlText and decodeXmlText are inverse", () => {
  for (const text of ["a&b<c>d\"e'f", "&amp;", "<![CDATA[x]]>", "数据库"]) {
    expect(decodeXmlText(encodeXmlText(text))).toBe(text);
  }
});

test("parseXmlOrNull reads attributes with angle brackets, CDATA, comments and prefixed names", () => {
  const xml = `<?xml version="1.0"?><!-- <A> --><s:A x="<>" y='">'><B>a<![CDATA[<&amp;>]]>b<!-- & --></B ><C
    /></s:A>\n`;
  const [root] = parseXmlOrNull(xml)!.children;
  expect(root!.name).toBe("A");
  expect(root!.children.map(({ name, text }) => [name, text])).toEqual([
    ["B", "a<&amp;>b"],
    ["C", ""],
  ]);
});

test("parseXmlOrNull keeps spaces and characters that XML 1.0 forbids", () => {
  expect(xmlTextOrNull("<K> a\tb\r\n&#x1;\u0002 </K>", "K")).toBe(" a\tb\r\n\u0001\u0002 ");
});

const UNREADABLE: [string, string][] = [
  ["an element that is not closed", "<A><B></A>"],
  ["an end without a start", "</A>"],
  ["ends in the wrong order", "<A><B></A></B>"],
  ["a document type", '<!DOCTYPE A [<!ENTITY x "y">]><A>&x;</A>'],
  ["a start tag in a start tag", "<A <B></A>"],
  ["an attribute that is not closed", '<A x="></A>'],
  ["a comment that is not closed", "<A><!-- </A>"],
  ["CDATA that is not closed", "<A><![CDATA[ </A>"],
  ["an element without a name", "<>x</>"],
  ["a lonely bracket", "<A>1 < 2</A>"],
  ["33 levels", "<A>".repeat(33) + "</A>".repeat(33)],
  ["more than 1,000,000 elements", `<A>${"<B/>".repeat(1_000_000)}</A>`],
];
test.each(UNREADABLE)("parseXmlOrNull refuses %s", (_what, xml) => {
  expect(parseXmlOrNull(xml)).toBeNull();
  expect(xmlTextOrNull(xml, "A")).toBeNull();
});

test("parseXmlOrNull takes 32 levels and 1,000,000 elements", () => {
  expect(parseXmlOrNull("<A>".repeat(32) + "</A>".repeat(32))).not.toBeNull();
  expect([...xmlElements(`<A>${"<B/>".repeat(999_999)}</A>`, "B")].length).toBe(999_999);
});

// Quadratic work on one of these would take hours.
test.each(["<A>", "<A ", "<!--", "<![CDATA[", "&", "&#1", '<A x="', "</", "<?", "<a/>"])(
  "parseXmlOrNull ends on 5,000,000 times %s",
  (piece) => {
    expect(parseXmlOrNull(piece.repeat(5_000_000))?.children ?? []).toEqual([]);
  },
);
