/** Text as source of a manual page: groff gives back every character, and takes no text for a request. */
import { describe, expect, test } from "bun:test";
import {
  entry,
  example,
  filled,
  paragraph,
  roffSentence,
  roffText,
} from "../../../src/commands/manual/roff.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";

describe("roffText", () => {
  test("escapes what stands for something else", () => {
    expect(roffText("--a-b")).toBe("\\-\\-a\\-b");
    expect(roffText("'`^~\"\\")).toBe("\\(aq\\(ga\\(ha\\(ti\\(dq\\e");
    expect(roffText("NAME… ×")).toBe("NAME\\[u2026] \\[u00D7]");
    expect(roffText("a.b 1 % $ # {} [] <>")).toBe("a.b 1 % $ # {} [] <>");
  });
});

describe("filled", () => {
  test("breaks at blanks, and begins no line with a request", () => {
    const lines = filled(`${"x".repeat(76)} .so 'y ${"z".repeat(90)} end`);
    expect(lines).toEqual(["x".repeat(76), "\\&.so 'y", "z".repeat(90), "end"]);
    expect(filled(".TH")).toEqual(["\\&.TH"]);
  });
});

test("roffSentence shows code in bold", () => {
  expect(roffSentence("see `walrust -h`.")).toBe("see \\fBwalrust \\-h\\fR.");
});

testWith("groff")("groff shows every text as it is", async () => {
  const hard = [
    "--flag=VALUE, 'quoted' \"twice\" `code`".replaceAll("`", ""),
    "C:\\new\\dir ~/x ^ … — é",
    ".TH 'x",
  ];
  const source = [
    '.TH X 1 2026-01-01 "x" "y"',
    ".SH A",
    "text",
    ...hard.flatMap(paragraph),
    ...entry("tag", hard[0]!),
    ...example(["$ walrust list -b 's3://x' | grep \"y\"", ".not a request", "'nor this"]),
  ].join("\n");
  const child = Bun.spawn([peerPath("groff"), "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=200n"], {
    stdin: Buffer.from(source),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [shown, said] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  expect(said).toBe("");
  for (const text of [...hard, "$ walrust list -b 's3://x' | grep \"y\"", ".not a request", "'nor this"]) {
    expect(shown).toContain(text);
  }
});
