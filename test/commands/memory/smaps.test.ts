/** parseSmapsOrNull: the fields of a record, the kernel's own text, every cut and every damaged field. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { parseSmapsOrNull } from "../../../src/commands/memory/smaps.ts";
import { EXECUTABLE, headerText, recordText } from "./smaps-text.ts";

const TEXT =
  recordText({ residentKb: 12, anonymousKb: 8, dirtyKb: 4, swapKb: 16 }) +
  recordText({ range: "7f00-7f10", mode: "rw-p", file: "00:00 0", path: "", flags: "rd wr mr mw me ac" });

describe("parseSmapsOrNull", () => {
  test("reads range, mode, path, sizes and flags", () => {
    const [code, memory] = parseSmapsOrNull(TEXT)!;
    expect(code).toEqual({
      identity: "01a40000-0684a000 r-xp 01838000 fe:00 5376050",
      startAddress: 0x1a40000,
      endAddress: 0x684a000,
      mode: "r-xp",
      path: EXECUTABLE,
      sizesKb: { resident: 12, anonymous: 8, dirty: 4, swapped: 16, pageSize: 4 },
      flags: ["rd", "ex", "mr", "mw", "me"],
    });
    expect(memory).toMatchObject({ path: "", flags: ["rd", "wr", "mr", "mw", "me", "ac"] });
  });

  test("keeps spaces and field names in a path, and the mark of a deleted file", () => {
    const path = "/srv/a b: VmFlags: rd 4 kB.db (deleted)";
    expect(parseSmapsOrNull(recordText({ path }))![0]!.path).toBe(path);
  });

  test("gives two mappings one identity if only the name of the file differs", () => {
    const texts = [recordText(), recordText({ path: `${EXECUTABLE} (deleted)` })];
    const identities = texts.map((text) => parseSmapsOrNull(text)![0]!.identity);
    expect(identities[0]).toBe(identities[1]!);
    for (const other of [{ range: "01a40000-0684b000" }, { mode: "r--p" }, { file: "fe:00 5376051" }]) {
      expect(parseSmapsOrNull(recordText(other))![0]!.identity).not.toBe(identities[0]!);
    }
  });

  test.skipIf(process.platform !== "linux")("reads each mapping of this process", () => {
    const mappings = parseSmapsOrNull(readFileSync("/proc/self/smaps", "latin1"))!;
    expect(mappings.map(({ path }) => path)).toContain("[stack]");
    expect(mappings.some(({ mode, sizesKb }) => mode === "r-xp" && sizesKb.resident > 1_000)).toBe(true);
    // The oracle is the kernel's other file. Threads may map anonymous memory between the two readings.
    const maps = readFileSync("/proc/self/maps", "latin1");
    const files = mappings.filter(({ path }) => path.startsWith("/"));
    expect(files.filter(({ identity }) => !maps.includes(`${identity} `))).toEqual([]);
  });

  test("refuses each text that is cut inside a record", () => {
    const firstEnd = TEXT.indexOf("\n7f00-") + 1;
    for (let length = 0; length < TEXT.length; length++) {
      const mappings = parseSmapsOrNull(TEXT.slice(0, length));
      if (length === firstEnd) expect(mappings?.length).toBe(1);
      else expect(mappings).toBeNull();
    }
  });

  const fields = ["Rss", "Anonymous", "Private_Dirty", "Swap", "KernelPageSize"];
  const damages: readonly (readonly [string, (line: string) => string])[] = [
    ["is missing", () => ""],
    ["comes twice", (line) => line + line],
    ["has no number", (line) => line.replace(/\d+/, "?")],
    ["is negative", (line) => line.replace(/ (\d+)/, "-$1")],
    ["has another unit", (line) => line.replace("kB", "MB")],
    ["is too long", (line) => line.replace(/\d+/, "9".repeat(400))],
  ];
  for (const [what, damage] of damages) {
    test(`refuses a record of which a size ${what}`, () => {
      for (const field of fields) {
        const text = recordText().replace(new RegExp(`^${field}:.*\n`, "m"), damage);
        expect(text).not.toBe(recordText());
        expect(parseSmapsOrNull(text)).toBeNull();
      }
    });
  }

  test("refuses a header with a missing or malformed part", () => {
    const header = headerText({});
    const wrong = [
      "",
      "no header",
      header.replace("-0684a000", ""),
      header.replace("r-xp", "r-x"),
      header.replace("r-xp", "rwxz"),
      header.replace("01a40000", "1".repeat(17)),
      header.replace("5376050", "x"),
      ` ${header}`,
    ];
    for (const line of wrong) expect(parseSmapsOrNull(recordText().replace(header, line))).toBeNull();
  });

  test("refuses text before, between and after the records, and a record without flags", () => {
    for (const junk of ["junk\n", "\n", "VmFlags: rd\n"]) {
      expect(parseSmapsOrNull(junk + TEXT)).toBeNull();
      expect(parseSmapsOrNull(TEXT + junk)).toBeNull();
    }
    expect(parseSmapsOrNull(TEXT.replace(/^VmFlags:.*\n/m, ""))).toBeNull();
    expect(parseSmapsOrNull("")).toBeNull();
  });

  test("never throws on a text with one damaged byte", () => {
    const text = recordText();
    for (let index = 0; index < text.length; index++) {
      for (const byte of ["\0", "\n", "9", "f", ":", " "]) {
        parseSmapsOrNull(text.slice(0, index) + byte + text.slice(index + 1));
      }
    }
  });
});
