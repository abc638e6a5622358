/**
 * Makes databases and their commits. The content comes from a seed, so every run copies
 * the same bytes: compressible words of a small vocabulary, and incompressible random bytes.
 */
import { Database } from "bun:sqlite";
import { copyFileSync, mkdirSync } from "node:fs";
import { join } from "node:path";

const SMALL_ROW_COUNT = 240;
/** Above this size, a database repeats its rows: no tool compresses more than one page at a time. */
const DISTINCT_BYTES = 64e6;
const COMMIT_BYTES = 60;
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

/** The items in a random order. */
export function shuffled<Item>(items: readonly Item[], random: () => number): Item[] {
  return items
    .map((item) => ({ item, rank: random() }))
    .sort((left, right) => left.rank - right.rank)
    .map(({ item }) => item);
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
  const repeat = database.prepare(
    "INSERT INTO item (version, title, body, data) SELECT 0, title, body, data FROM item WHERE id <= ?",
  );
  let distinctCount = 0;
  for (let bytes = 0; bytes < sizeBytes; bytes = pageCount.get()!.page_count * 4096) {
    if (bytes >= DISTINCT_BYTES) {
      distinctCount ||= database
        .query<{ count: number }, []>("SELECT count(*) AS count FROM item")
        .get()!.count;
      repeat.run(Math.min(distinctCount, Math.ceil((distinctCount * (sizeBytes - bytes)) / DISTINCT_BYTES)));
      continue;
    }
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

/** Copies of a template in a new folder. */
export function copyDatabases(folder: string, templatePath: string, count: number): string[] {
  mkdirSync(folder, { recursive: true });
  return Array.from({ length: count }, (_, index) => {
    const path = join(folder, `db-${String(index + 1).padStart(4, "0")}.db`);
    copyFileSync(templatePath, path);
    return path;
  });
}

/**
 * Prepares the commits of the application to one database. Each gives a row a new version, a new title and
 * new random bytes. The commits depend only on the seed, so `countCommits` tells which one a restored copy
 * holds.
 */
export function prepareCommit(database: Database, seed: number): () => void {
  const random = seededRandom(seed);
  const { rowCount } = database
    .query<{ rowCount: number }, []>("SELECT max(id) AS rowCount FROM item")
    .get()!;
  const update = database.prepare("UPDATE item SET version = version + 1, title = ?, data = ? WHERE id = ?");
  const words = new Uint32Array(COMMIT_BYTES / 4);
  const bytes = new Uint8Array(words.buffer);
  return () => {
    for (let index = 0; index < words.length; index++) words[index] = random() * 2 ** 32;
    update.run(`changed ${words[0]}`, bytes, 1 + Math.floor(random() * rowCount));
  };
}

/** Number of the application's commits that a database holds. */
export function countCommits(database: Database): number {
  return database.query<{ count: number }, []>("SELECT sum(version) AS count FROM item").get()!.count;
}

/** Opens a database like an application: WAL, SQLite's own autocheckpoint, synchronous NORMAL. */
export function openAsApplication(path: string): Database {
  const database = new Database(path, { readwrite: true, create: false });
  database.run("PRAGMA busy_timeout = 5000");
  database.run("PRAGMA synchronous = NORMAL");
  return database;
}
