/** The notices match the installed packages, and the program prints them. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import packageJson from "../../package.json";
import { notices } from "../../scripts/licenses.ts";
import { LICENSES } from "../../src/commands/manual/licenses.ts";

const MAIN = join(import.meta.dir, "../../src/main.ts");

test("the notices are up to date (bun scripts/licenses.ts)", () => {
  expect(LICENSES).toBe(notices());
});

test("the notices name every package that the program depends on, and the libraries in Bun", () => {
  for (const [name, version] of Object.entries(packageJson.dependencies)) {
    expect(LICENSES).toContain(`${name} ${version} (`);
  }
  for (const name of ["JavaScriptCore", "boringssl", "sqlite", "zstd"]) expect(LICENSES).toContain(name);
  expect(LICENSES).toContain("GNU LESSER GENERAL PUBLIC LICENSE");
});

test("walrust --licenses prints them, and one document with --json", async () => {
  const run = async (...words: string[]): Promise<string> => {
    const child = Bun.spawn([process.execPath, MAIN, "--licenses", ...words], { stdout: "pipe" });
    const text = await child.stdout.text();
    expect(await child.exited).toBe(0);
    return text;
  };
  expect(await run()).toBe(LICENSES);
  expect(JSON.parse(await run("--json"))).toEqual({ licenses: LICENSES });
});
