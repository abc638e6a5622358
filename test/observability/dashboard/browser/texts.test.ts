/** Numbers, times and names as the page shows them. */
import { expect, test } from "bun:test";
import {
  ageText,
  bytesText,
  durationText,
  nounText,
  rateText,
  visibleText,
} from "../../../../src/observability/dashboard/browser/texts.ts";

test.each([
  [0, "0 B"],
  [999, "999 B"],
  [1_000, "1.0 KB"],
  [99_949, "99.9 KB"],
  [99_950, "100 KB"],
  [999_499, "999 KB"],
  [999_500, "1.0 MB"],
  [12_345_678_901, "12.3 GB"],
  [9e15, "9000 TB"],
])("bytesText(%d) is %j", (bytes, text) => {
  expect(bytesText(bytes)).toBe(text);
});

test.each([
  [0, "0 s"],
  [0.04, "0 s"],
  [0.35, "0.3 s"],
  [9.96, "10 s"],
  [59.4, "59 s"],
  [59.6, "1 min"],
  [61, "1 min 1 s"],
  [3_599.7, "1 h"],
  [7_500, "2 h 5 min"],
  [86_400, "1 d"],
  [350_000, "4 d 1 h"],
])("durationText(%d) is %j", (seconds, text) => {
  expect(durationText(seconds)).toBe(text);
});

test.each([
  [null, "never"],
  [0.4, "just now"],
  [59.9, "59 s ago"],
  [3_599, "59 min ago"],
  [172_799, "47 h ago"],
  [172_800, "2 d ago"],
])("ageText(%p) is %j", (seconds, text) => {
  expect(ageText(seconds)).toBe(text);
});

test("nounText and rateText", () => {
  expect([nounText(0, "file"), nounText(1, "file"), nounText(1_234, "file")]).toEqual([
    "0 files",
    "1 file",
    "1,234 files",
  ]);
  expect([0, 0.04, 0.35, 9.96, 1_234.4].map(rateText)).toEqual(["0/s", "0/s", "0.3/s", "10/s", "1,234/s"]);
});

test("visibleText shows each character that is not seen or that turns the others round", () => {
  expect(visibleText("gpj.\u202egnp")).toBe("gpj.\\u{202e}gnp");
  expect(visibleText("a\u200bb\u0000\n\u2028\u{e0041}\ud800")).toBe(
    "a\\u{200b}b\\u{0}\\u{a}\\u{2028}\\u{e0041}\\u{d800}",
  );
  expect(visibleText("kunden/Łódź-表-🐘 <b>&amp;")).toBe("kunden/Łódź-表-🐘 <b>&amp;");
});
