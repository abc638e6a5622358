/** The recorded order of the bytecode: in Bun's format, of a watch of this program. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { ORDER } from "../../../scripts/package/executables.ts";

test("the order of the bytecode names functions, as Bun records them", () => {
  const lines = gunzipSync(readFileSync(ORDER)).toString().trimEnd().split("\n");
  expect(lines.shift()).toBe("v2");
  for (const line of lines) expect(line).toMatch(/^[A-Z] [0-9a-f]{16}$/);
  expect(lines.filter((line) => line.startsWith("F ")).length).toBeGreaterThan(1_000);
});
