/** The XML reader and writer, on what S3 and its imitations send. */
import { expect, test } from "bun:test";
import { decodeXmlText, encodeXmlText, xmlElements, xmlTextOrNull } from "../../src/storage/s3-xml.ts";

test("xmlTextOrNull finds the first element, with attributes, empty or missing", () => {
  const xml = '<?xml version="1.0"?>\n<A xmlns="u"><B>1 &lt; 2</B><B>3</B><C/><D></D><E x="1">é</E></A>';
  expect(["B", "C", "D", "E", "F"].map((name) => xmlTextOrNull(xml, name))).toEqual([
    "1 < 2",
    "",
    "",
    "é",
    null,
  ]);
  expect([...xmlElements(xml, "B")]).toEqual(["1 &lt; 2", "3"]);
});

test("xmlTextOrNull does not take a name for a longer one", () => {
  expect(xmlTextOrNull("<KeyCount>2</KeyCount><Key>k</Key>", "Key")).toBe("k");
});

test("decodeXmlText resolves predefined and numeric entities once, and leaves others", () => {
  expect(decodeXmlText("&amp;lt; &#65;&#x1F9AD;&quot;&apos;&gt; &nbsp; &#x110000;")).toBe(
    "&lt; A🦭\"'> &nbsp; &#x110000;",
  );
});

test("encodeXmlText and decodeXmlText are inverse", () => {
  for (const text of ["a&b<c>d\"e'f", "&amp;", "<![CDATA[x]]>", "数据库"]) {
    expect(decodeXmlText(encodeXmlText(text))).toBe(text);
  }
});
