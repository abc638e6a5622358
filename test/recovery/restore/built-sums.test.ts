/**
 * The page sums of a restore against an array that holds all of them, for a database larger than the memory.
 */
import { expect, test } from "bun:test";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { BuiltSums } from "../../../src/recovery/restore/built-sums.ts";
import { seededRandom } from "../../support/seeded-random.ts";
import { tempFolder } from "../../support/temp.ts";

const WINDOW_PAGES = 8192;

/** The sums of these pages, which differ from the expected ones. */
function wrongSums(
  sums: BuiltSums,
  expected: ReadonlyMap<number, number>,
  pgnos: Iterable<number>,
): number[] {
  return [...pgnos].filter((pgno) => {
    sums.read(pgno);
    const low = expected.get(pgno) ?? 0;
    return sums.low !== low || sums.high !== (low === 0 ? 0 : low + 1);
  });
}

test("BuiltSums gives what was set in any order, over more windows than it holds", () => {
  const folder = tempFolder("sums");
  const sums = new BuiltSums(join(folder, "sums"));
  const random = seededRandom(3);
  const expected = new Map<number, number>();
  for (let step = 0; step < 4_000; step++) {
    const pgno = 1 + Math.floor(random() * 200 * WINDOW_PAGES);
    const low = 1 + Math.floor(random() * 2 ** 31);
    sums.set(pgno, low, low + 1);
    expected.set(pgno, low);
    const other = 1 + Math.floor(random() * 200 * WINDOW_PAGES);
    expect(wrongSums(sums, expected, [pgno, other])).toEqual([]);
  }
  expect(wrongSums(sums, expected, expected.keys())).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
  sums.clear();
  expect(wrongSums(sums, new Map(), expected.keys())).toEqual([]);
  sums.close();
});

test("BuiltSums makes no file for a database of up to 64 windows", () => {
  // In a folder that does not exist, a file could not be made.
  const sums = new BuiltSums(join(tempFolder("sums"), "missing", "sums"));
  for (let pgno = 1; pgno <= 64 * WINDOW_PAGES; pgno += 1_000) sums.set(pgno, pgno, pgno + 1);
  sums.read(5_001);
  expect([sums.low, sums.high]).toEqual([5_001, 5_002]);
  expect(() => {
    sums.read(64 * WINDOW_PAGES + 1);
  }).toThrow("ENOENT");
  sums.close();
});
