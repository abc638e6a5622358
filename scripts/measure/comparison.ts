/**
 * Compares restored databases with what they must hold: the same bytes as a settled source, or the same rows
 * as a copy of the template after as many commits.
 */
import { Database } from "bun:sqlite";
import { closeSync, copyFileSync, openSync, readSync, rmSync, statSync } from "node:fs";
import { countCommits, openAsApplication, prepareCommit } from "./databases.ts";

const CHUNK_BYTES = 1 << 20;
const ROWS = "SELECT id, version, title, body, data FROM item ORDER BY id";

/** Checkpoints and truncates the WAL. @throws Error when another process has the database open */
export function settleDatabase(path: string): void {
  const database = openAsApplication(path);
  try {
    const outcome = database.query<{ busy: number }, []>("PRAGMA wal_checkpoint(TRUNCATE)").get();
    if (outcome?.busy !== 0) throw new Error(`Cannot checkpoint ${path}: it is in use`);
  } finally {
    database.close(true);
  }
}

/** @throws Error when the restored file differs from the settled source or fails SQLite's check */
export function assertSame(source: string, restored: string): void {
  const differsAt = firstDifference(source, restored);
  if (differsAt !== null) {
    const counts = `${describeCommits(restored)} instead of ${describeCommits(source)}`;
    throw new Error(`RESTORE DIFFERS: ${restored} is not ${source}, from byte ${differsAt}; ${counts}`);
  }
  const database = new Database(restored);
  try {
    assertIntact(database);
  } finally {
    database.close(true);
  }
}

/**
 * Compares a restored copy with the state that the application made: applies the copy's number of commits to
 * a template, and compares all rows.
 *
 * @param scratch path for the replayed copy
 * @returns the number of commits in the restored copy. @throws Error when a row differs or SQLite's check
 * fails
 */
export function assertReplayed(restored: string, template: string, scratch: string, seed: number): number {
  copyFileSync(template, scratch);
  const database = new Database(restored);
  const expected = new Database(scratch);
  try {
    assertIntact(database);
    const commitCount = countCommits(database);
    expected.run("PRAGMA synchronous = OFF");
    const commit = prepareCommit(expected, seed);
    expected.transaction(() => {
      for (let count = 0; count < commitCount; count++) commit();
    })();
    const expectedRows = expected.query(ROWS).iterate();
    for (const row of database.query(ROWS).iterate()) {
      if (!Bun.deepEquals(row, expectedRows.next().value)) {
        throw new Error(`RESTORE DIFFERS: ${restored} is no state after ${commitCount} commits`);
      }
    }
    if (!expectedRows.next().done) throw new Error(`RESTORE DIFFERS: ${restored} lacks rows`);
    return commitCount;
  } finally {
    database.close();
    expected.close();
    for (const suffix of ["", "-wal", "-shm"]) rmSync(`${scratch}${suffix}`, { force: true });
  }
}

/** The number of commits in a file, if it is a database. */
function describeCommits(path: string): string {
  try {
    const database = new Database(path, { readonly: true });
    try {
      return `${countCommits(database)} commits`;
    } finally {
      database.close();
    }
  } catch (error) {
    return `no database (${error instanceof Error ? error.message : error})`;
  }
}

function assertIntact(database: Database): void {
  const verdict = database.query<{ integrity_check: string }, []>("PRAGMA integrity_check").get();
  if (verdict?.integrity_check !== "ok") throw new Error(`integrity_check: ${verdict?.integrity_check}`);
}

/** Offset of the first byte that differs between two files, or null. */
export function firstDifference(leftPath: string, rightPath: string): number | null {
  const sizeBytes = Math.min(statSync(leftPath).size, statSync(rightPath).size);
  const isSameSize = statSync(leftPath).size === statSync(rightPath).size;
  const left = openSync(leftPath, "r");
  const right = openSync(rightPath, "r");
  try {
    const leftChunk = Buffer.alloc(CHUNK_BYTES);
    const rightChunk = Buffer.alloc(CHUNK_BYTES);
    for (let offset = 0; offset < sizeBytes; offset += CHUNK_BYTES) {
      const leftLength = readSync(left, leftChunk, 0, CHUNK_BYTES, offset);
      const rightLength = readSync(right, rightChunk, 0, CHUNK_BYTES, offset);
      const length = Math.min(leftLength, rightLength);
      if (leftChunk.compare(rightChunk, 0, length, 0, length) === 0) continue;
      const index = leftChunk.findIndex((byte, at) => byte !== rightChunk[at]);
      return offset + index;
    }
    return isSameSize ? null : sizeBytes;
  } finally {
    closeSync(left);
    closeSync(right);
  }
}
