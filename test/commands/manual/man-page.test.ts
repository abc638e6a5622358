/** The manual page: everything that the tables hold, in source that groff and mandoc accept. */
import { describe, expect, test } from "bun:test";
import { VERBS } from "../../../scripts/reference.ts";
import { manPage } from "../../../src/commands/manual/man-page.ts";
import { optionsOf } from "../../../src/commands/shared/verb.ts";
import { keyName, SECTIONS } from "../../../src/config/settings/options.ts";
import { EXIT_CODES } from "../../../src/errors.ts";
import { peerPath, testWith } from "../../support/servers/peers.ts";

const FACTS = { verbs: VERBS, version: "1.2.3", date: "2026-03-01" };
const PAGE = manPage(FACTS);

/** The page as a reader sees it: one long line a paragraph, without bold and italics. */
async function shown(page: string): Promise<string> {
  const { stdout, stderr } = await reader(
    [peerPath("groff"), "-man", "-ww", "-Tutf8", "-P-cbou", "-rLL=5000n"],
    page,
  );
  expect(stderr).toBe("");
  return stdout;
}

async function reader(command: string[], page: string): Promise<{ stdout: string; stderr: string }> {
  const child = Bun.spawn(command, { stdin: Buffer.from(page), stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr };
}

describe("manPage", () => {
  test("is the same for the same facts, and has the version and its date", () => {
    expect(manPage(FACTS)).toBe(PAGE);
    expect(PAGE).toContain('.TH "WALRUST" "1" "2026-03-01" "walrust 1.2.3" "walrust manual"');
    expect(manPage({ ...FACTS, date: null })).toContain('.TH "WALRUST" "1" "" ');
  });

  test("is ASCII, in lines that mandoc accepts", () => {
    expect(PAGE).toMatch(/^[\x20-\x7e\n]+$/);
    expect(PAGE).not.toMatch(/ $/m);
    expect(PAGE).not.toContain("undefined");
  });

  testWith("groff")("shows every verb, flag, key, example and exit code", async () => {
    const text = await shown(PAGE);
    for (const verb of VERBS) {
      expect(text).toContain(`walrust ${verb.name} ${verb.usage}`.trimEnd());
      for (const line of verb.examples.flat()) expect(text).toContain(line);
      for (const [code, meaning] of verb.exitCodes) expect(text).toMatch(exact(`${code}`, meaning));
      for (const { flag, isHidden } of optionsOf(verb)) {
        if (flag !== undefined) expect([flag, text.includes(`--${flag}`)]).toEqual([flag, !isHidden]);
      }
    }
    for (const { name, options } of SECTIONS) {
      expect(text).toContain(`[${name}]`);
      for (const spec of Object.values(options)) {
        expect(text).toContain(spec.meaning.replaceAll("`", ""));
        expect(text).toMatch(new RegExp(`^ +${keyName(spec)}(,| |$)`, "m"));
        for (const variable of spec.env ?? []) expect(text).toContain(variable);
      }
    }
    const status = text.slice(text.indexOf("EXIT STATUS"));
    for (const code of Object.values(EXIT_CODES)) expect(status).toMatch(new RegExp(`^ +${code} `, "m"));
  });

  testWith("mandoc")("passes the lint of mandoc", async () => {
    const { stdout, stderr } = await reader([peerPath("mandoc"), "-T", "lint", "-W", "style"], PAGE);
    expect(stdout + stderr).toBe("");
  });
});

/** A tag and its meaning, as groff sets them. */
function exact(tag: string, meaning: string): RegExp {
  const said = meaning.replaceAll("`", "").replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
  return new RegExp(`^ +${tag} +${said}\\.$`, "m");
}
