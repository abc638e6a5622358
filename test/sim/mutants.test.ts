/** The mutants and the seams of the simulator apply to the sources as they are. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { findMutant, MUTANTS } from "./mutants.ts";
import { editedSource } from "./seam/seam-edits.ts";

const ROOT = join(import.meta.dir, "../..");

test.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))("%s applies", async (_, { edits }) => {
  const files = new Set(edits.map(({ file }) => file));
  for (const file of files) {
    const text = await Bun.file(join(ROOT, file)).text();
    const mutated = editedSource(file, text, "/seam", edits);
    expect(mutated).not.toBe(editedSource(file, text, "/seam"));
    new Bun.Transpiler({ loader: "ts" }).transformSync(mutated);
  }
});

test("findMutant finds each mutant by its name, and refuses others", () => {
  expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  for (const mutant of MUTANTS) expect(findMutant(mutant.name)).toBe(mutant);
  expect(findMutant("")).toBeNull();
  expect(() => findMutant("none")).toThrow("there is no mutant none");
});
