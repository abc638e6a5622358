/** The comparison of restored databases: it finds a single wrong byte, row or commit. */
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { copyFileSync, existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { assertReplayed, assertSame, firstDifference } from "../../../scripts/measure/comparison.ts";
import { createDatabase, openAsApplication, prepareCommit } from "../../../scripts/measure/databases.ts";
import { tempFolder } from "../../support/temp.ts";

const SEED = 7;
const folder = tempFolder("comparison");
const template = join(folder, "template.db");
createDatabase(template, 100_000, 1);

function fileOf(name: string, bytes: Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, bytes);
  return path;
}

/** A copy of the template after some commits of the application. */
function committed(name: string, commitCount: number, seed = SEED): string {
  const path = join(folder, name);
  copyFileSync(template, path);
  const database = openAsApplication(path);
  const commit = prepareCommit(database, seed);
  for (let count = 0; count < commitCount; count++) commit();
  database.close(true);
  return path;
}

function change(path: string, sql: string): void {
  const database = new Database(path);
  database.run(sql);
  database.close(true);
}

describe("firstDifference", () => {
  const bytes = new Uint8Array(3 << 20).fill(7);

  test("finds nothing between equal files", () => {
    expect(firstDifference(fileOf("a", bytes), fileOf("b", bytes))).toBeNull();
  });

  test.each([0, 4095, 1 << 20, (3 << 20) - 1])("finds the one changed byte at %d", (offset) => {
    const changed = bytes.slice();
    changed[offset] = 8;
    expect(firstDifference(fileOf("a", bytes), fileOf("b", changed))).toBe(offset);
  });

  test("finds a missing end", () => {
    expect(firstDifference(fileOf("a", bytes), fileOf("b", bytes.subarray(0, 5000)))).toBe(5000);
  });
});

test("assertSame rejects a restored database with one changed byte", async () => {
  const restored = await Bun.file(template).bytes();
  assertSame(template, fileOf("same.db", restored));
  restored[50_000]! ^= 1;
  expect(() => assertSame(template, fileOf("changed.db", restored))).toThrow("from byte 50000");
});

test("assertSame counts the commits of both, to tell a late copy from a corrupt one", () => {
  const source = committed("source.db", 5);
  expect(() => assertSame(source, committed("late.db", 3))).toThrow("; 3 commits instead of 5 commits");
});

describe("assertReplayed", () => {
  const scratch = join(folder, "scratch.db");

  test.each([0, 1, 250])("returns the number of commits in a state after %d", (commitCount) => {
    const restored = committed(`after-${commitCount}.db`, commitCount);
    expect(assertReplayed(restored, template, scratch, SEED)).toBe(commitCount);
    expect(existsSync(scratch)).toBe(false);
  });

  test("rejects the commits of another seed", () => {
    const restored = committed("other.db", 40, SEED + 1);
    expect(() => assertReplayed(restored, template, scratch, SEED)).toThrow("no state after 40 commits");
  });

  test("rejects a state that lacks one commit in the middle", () => {
    const restored = committed("torn.db", 40);
    change(
      restored,
      "UPDATE item SET version = version - 1 WHERE id = (SELECT min(id) FROM item WHERE version > 0)",
    );
    expect(() => assertReplayed(restored, template, scratch, SEED)).toThrow("no state after 39 commits");
  });

  test("rejects a missing row", () => {
    const restored = committed("short.db", 0);
    change(restored, "DELETE FROM item WHERE id = (SELECT max(id) FROM item)");
    expect(() => assertReplayed(restored, template, scratch, SEED)).toThrow("lacks rows");
  });
});

test("createDatabase reaches its size, also where it repeats rows", () => {
  const path = join(folder, "large.db");
  createDatabase(path, 70e6, 1);
  const sizeBytes = Bun.file(path).size;
  expect(sizeBytes).toBeGreaterThanOrEqual(70e6);
  expect(sizeBytes).toBeLessThan(80e6);
}, 60_000);
