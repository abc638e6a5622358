/**
 * Makes the databases of the benchmark and compares restored copies. The content comes from a seed, so every
 * run copies the same bytes: compressible words of a small vocabulary, and incompressible random bytes.
 */
import { Database } from "bun:sqlite";
import { closeSync, openSync, readSync, statSync } from "node:fs";

const SMALL_ROW_COUNT = 240;
const CHUNK_BYTES = 1 << 20;
const VOCABULARY_SIZE = 500;

/** A seeded random generator (mulberry32). */
export function seededRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** Makes a database in WAL mode of at least this size, with all content in the one file. */
export function createDatabase(path: string, sizeBytes: number, seed: number): void {
  const database = new Database(path);
  // A crash may lose the template, so no commit waits for the disk.
  database.run("PRAGMA journal_mode = OFF");
  database.run("PRAGMA synchronous = OFF");
  database.run("CREATE TABLE item (id INTEGER PRIMARY KEY, version INT, title TEXT, body TEXT, data BLOB)");
  database.run("CREATE INDEX item_by_title ON item (title)");
  const insert = database.prepare("INSERT INTO item (version, title, body, data) VALUES (0, ?, ?, ?)");
  const random = seededRandom(seed);
  const vocabulary = Array.from({ length: VOCABULARY_SIZE }, () => inventWord(random));
  const pageCount = database.query<{ page_count: number }, []>("PRAGMA page_count");
  while (pageCount.get()!.page_count * 4096 < sizeBytes) {
    database.transaction(() => {
      for (let row = 0; row < SMALL_ROW_COUNT / 8; row++) {
        const bodyWords = 10 + Math.floor(random() ** 3 * 120);
        insert.run(
          sentence(random, vocabulary, 3),
          sentence(random, vocabulary, bodyWords),
          randomBytes(random, 16 + random() * 100),
        );
      }
    })();
  }
  database.run("PRAGMA journal_mode = WAL");
  database.close(true);
}

function inventWord(random: () => number): string {
  return Array.from({ length: 3 + Math.floor(random() * 8) }, () =>
    String.fromCharCode(97 + Math.floor(random() * 26)),
  ).join("");
}

/** Picks a word; a few words are frequent, as in a language. */
function sentence(random: () => number, vocabulary: readonly string[], wordCount: number): string {
  let text = "";
  for (let word = 0; word < wordCount; word++) {
    text += `${vocabulary[Math.floor(random() ** 4 * vocabulary.length)]} `;
  }
  return text;
}

function randomBytes(random: () => number, sizeBytes: number): Uint8Array {
  return Uint8Array.from({ length: Math.floor(sizeBytes) }, () => random() * 256);
}

/** Makes one commit of the application: gives a row a new version, a new title and new random bytes. */
export function prepareCommit(database: Database): (random: () => number) => void {
  const { rowCount } = database
    .query<{ rowCount: number }, []>("SELECT max(id) AS rowCount FROM item")
    .get()!;
  const update = database.prepare("UPDATE item SET version = version + 1, title = ?, data = ? WHERE id = ?");
  return (random) => {
    const title = `changed ${Math.floor(random() * 1e9)}`;
    update.run(title, randomBytes(random, 60), 1 + Math.floor(random() * rowCount));
  };
}

/** Opens a database like an application: WAL, SQLite's own autocheckpoint, synchronous NORMAL. */
export function openAsApplication(path: string): Database {
  const database = new Database(path, { readwrite: true, create: false });
  database.run("PRAGMA busy_timeout = 5000");
  database.run("PRAGMA synchronous = NORMAL");
  return database;
}

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
    throw new Error(`RESTORE DIFFERS: ${restored} is not ${source}, from byte ${differsAt}`);
  }
  const database = new Database(restored);
  try {
    const verdict = database.query<{ integrity_check: string }, []>("PRAGMA integrity_check").get();
    if (verdict?.integrity_check !== "ok") throw new Error(`integrity_check: ${verdict?.integrity_check}`);
  } finally {
    database.close(true);
  }
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
