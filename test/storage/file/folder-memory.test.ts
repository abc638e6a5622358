/** FolderMemory against a Set. */
import { expect, test } from "bun:test";
import { FolderMemory } from "../../../src/storage/file/folder-memory.ts";
import { seededRandom } from "../../support/seeded-random.ts";

test("FolderMemory holds what a set holds, through growth and removals", () => {
  const random = seededRandom(5);
  const memory = new FolderMemory();
  const set = new Set<string>();
  for (let step = 0; step < 20_000; step++) {
    const folder = `tenant-${Math.floor(random() * 3_000)}/ltx/9`;
    if (random() < 0.01) {
      memory.delete(folder);
      set.delete(folder);
    } else if (random() < 0.3) {
      memory.add(folder);
      set.add(folder);
    }
    if (memory.has(folder) !== set.has(folder)) throw new Error(`step ${step}: ${folder}`);
  }
  expect(set.size).toBeGreaterThan(1_000);
  for (let index = 0; index < 3_000; index++) {
    const folder = `tenant-${index}/ltx/9`;
    expect([folder, memory.has(folder)]).toEqual([folder, set.has(folder)]);
  }
});
