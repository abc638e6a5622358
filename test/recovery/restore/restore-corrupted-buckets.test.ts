/**
 * Seeded corruptions of buckets of walrust and of Litestream, in S3 and in folders: no restore escapes the
 * promise of support/corruption/restore-judge.ts. `bun run corrupt` runs any number of seeds, and repeats
 * one.
 */
import { expect, test } from "bun:test";
import { CorruptionRun } from "../../support/corruption/corruption-run.ts";
import { CORRUPTION_KINDS } from "../../support/corruption/corruptions.ts";
import { tempFolder } from "../../support/temp.ts";

const SEEDS = 300;

test(`restore keeps its promise for ${SEEDS} seeded corruptions`, async () => {
  const run = new CorruptionRun(tempFolder("corrupted"));
  const seen = new Set<string>();
  const counts = { restored: 0, refused: 0 };
  for (let seed = 0; seed < SEEDS; seed++) {
    const { kinds, layout, origin, restored, refused, escapes } = await run.seed(seed);
    expect(escapes).toEqual([]);
    for (const kind of [...kinds, `${origin} ${layout}`]) seen.add(kind);
    counts.restored += restored;
    counts.refused += refused;
  }
  const buckets = ["walrust s3", "walrust file", "litestream s3", "litestream file"];
  expect([...seen].sort()).toEqual([...CORRUPTION_KINDS, ...buckets].sort());
  expect(counts.restored).toBeGreaterThan(SEEDS);
  expect(counts.refused).toBeGreaterThan(SEEDS / 4);
}, 120_000);
