/**
 * Plans the databases of a site and their writers. PURE: the same seed gives the same plan.
 */
import { seededRandom } from "../databases.ts";
import { ballastRowCount, type JournalDatabase } from "./journal-rows.ts";
import type { JournalWriterOptions } from "./journal-writer.ts";

/** One database and its writers. */
export interface PlannedDatabase extends JournalDatabase {
  /** File stem, and name in the bucket. */
  readonly name: string;
  readonly writers: readonly Omit<JournalWriterOptions, "path" | "journalPath">[];
}

const KB = 1_000;
const MB = 1_000_000;
/** Shapes of the databases in turn. */
const SHAPES: readonly (JournalDatabase & { readonly writerCount: number; readonly maxPauseMs: number })[] = [
  { pageSizeBytes: 4_096, ballastBytes: 400 * KB, writerCount: 2, maxPauseMs: 40 },
  { pageSizeBytes: 1_024, ballastBytes: 1 * MB, writerCount: 1, maxPauseMs: 60 },
  { pageSizeBytes: 4_096, ballastBytes: 12 * MB, writerCount: 1, maxPauseMs: 100 },
  { pageSizeBytes: 16_384, ballastBytes: 3 * MB, writerCount: 1, maxPauseMs: 300 },
];

/** Plans `count` databases. @param vacuumShare share of the writers' actions that is a VACUUM */
export function planDatabases(seed: number, count: number, vacuumShare: number): PlannedDatabase[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, index) => {
    const { writerCount, maxPauseMs, ...shape } = SHAPES[index % SHAPES.length]!;
    return {
      name: `app-${index + 1}`,
      ...shape,
      writers: Array.from({ length: writerCount }, (_writer, writer) => ({
        ...{ writer: writer + 1, seed: Math.floor(random() * 2 ** 31), maxPauseMs, vacuumShare },
        ballastRowCount: ballastRowCount(shape.ballastBytes),
      })),
    };
  });
}
