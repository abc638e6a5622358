/** The mutants and the seams of the simulator apply to the sources as they are. */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { findMutant, MUTANTS } from "./mutants.ts";
import { editedSource } from "./seam/seam-edits.ts";

const ROOT = join(import.meta.dir, "../..");

test.each(MUTANTS.map((mutant) => [mutant.name, mutant] as const))("%s applies", async (_, mutant) => {
  const text = await Bun.file(join(ROOT, mutant.file)).text();
  const sound = editedSource(mutant.file, text, "/seam");
  const mutated = editedSource(mutant.file, text, "/seam", [mutant]);
  expect(mutated).not.toBe(sound);
  new Bun.Transpiler({ loader: "ts" }).transformSync(mutated);
});

test("findMutant finds each mutant by its name, and refuses others", () => {
  expect(new Set(MUTANTS.map(({ name }) => name)).size).toBe(MUTANTS.length);
  for (const mutant of MUTANTS) expect(findMutant(mutant.name)).toBe(mutant);
  expect(findMutant("")).toBeNull();
  expect(() => findMutant("none")).toThrow("there is no mutant none");
});
