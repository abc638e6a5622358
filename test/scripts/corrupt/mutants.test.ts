/**
 * The mutants of `bun run corrupt --mutants` fit the present sources: each edit finds its text once. The run
 * itself takes minutes.
 */
import { expect, test } from "bun:test";
import { join } from "node:path";
import { MUTANTS } from "../../../scripts/corrupt/mutants.ts";

const ROOT = join(import.meta.dir, "../../..");

test.each(MUTANTS.map(({ name, edits }) => [name, edits] as const))("%s", async (_, edits) => {
  for (const { file, find, replace } of edits) {
    const text = await Bun.file(join(ROOT, file)).text();
    expect([file, text.split(find).length - 1]).toEqual([file, 1]);
    expect(replace).not.toBe(find);
  }
});
