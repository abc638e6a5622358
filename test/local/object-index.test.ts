/** The remembered objects of a database, against a plain sorted array; and files that do not serve. */
import { expect, test } from "bun:test";
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { Txid } from "../../src/format/types.ts";
import { ObjectIndex } from "../../src/local/object-index.ts";
import { sweepTemps } from "../../src/local/own-file.ts";
import type { RememberedObject } from "../../src/storage/contract/object-memory.ts";
import { seededRandom } from "../support/seeded-random.ts";
import { tempFolder } from "../support/temp.ts";

function objectOf(minTxid: number, maxTxid = minTxid): RememberedObject {
  const [min, max] = [minTxid as Txid, maxTxid as Txid];
  return { minTxid: min, maxTxid: max, sizeBytes: minTxid * 100, storedMs: 1_800_000_000_000 + maxTxid };
}

/** An index of level 0 with these objects, and its folder. */
function indexOf(objects: readonly RememberedObject[]): { index: ObjectIndex; folder: string } {
  const folder = tempFolder("index");
  const index = new ObjectIndex({ folder });
  index.replace(0, objects);
  return { index, folder };
}

function upTo(count: number): RememberedObject[] {
  return Array.from({ length: count }, (_, index) => objectOf(index + 1));
}

test("ObjectIndex does not know a level until the level is listed", () => {
  const index = new ObjectIndex({ folder: tempFolder("index") });
  index.add(0, objectOf(1));
  index.remove(0, () => true);
  expect(index.readOrNull(0, 0)).toBeNull();
  index.replace(0, []);
  expect([index.readOrNull(0, 0), index.readOrNull(1, 0)]).toEqual([[], null]);
});

test("ObjectIndex keeps few objects in memory, and many in one private file", () => {
  const { index, folder } = indexOf(upTo(16));
  expect(readdirSync(folder)).toEqual([]);
  index.add(0, objectOf(17));
  expect(readdirSync(folder)).toHaveLength(1);
  for (let txid = 18; txid <= 5_000; txid++) index.add(0, objectOf(txid));
  const [name] = readdirSync(folder);
  expect(readdirSync(folder)).toHaveLength(1);
  expect(statSync(join(folder, name!)).mode & 0o077).toBe(0);
  expect(index.readOrNull(0, 0)).toEqual(upTo(5_000));
  for (const from of [1, 17, 4_488, 4_489, 4_984, 4_999, 5_000, 5_001]) {
    expect(index.readOrNull(0, from)).toEqual(upTo(5_000).slice(from - 1));
  }
});

test("ObjectIndex holds what a sorted array holds, after random changes", () => {
  const random = seededRandom(5);
  const pick = (below: number): number => Math.floor(random() * below);
  const { index } = indexOf([]);
  let model: RememberedObject[] = [];
  const isSame = (a: RememberedObject, b: RememberedObject): boolean =>
    a.minTxid === b.minTxid && a.maxTxid === b.maxTxid;
  for (let step = 0; step < 3_000; step++) {
    const newest = model.at(-1)?.maxTxid ?? 0;
    const min = pick(10) === 0 ? 1 + pick(newest + 1) : newest + 1;
    const object = objectOf(min, min + pick(3));
    index.add(0, object);
    model = [...model.filter((other) => !isSame(other, object)), object];
    model.sort((a, b) => a.minTxid - b.minTxid || a.maxTxid - b.maxTxid);
    if (pick(40) > 0) continue;
    const gone = pick(newest + 1);
    index.remove(0, ({ maxTxid }) => maxTxid % 7 === gone % 7 && maxTxid <= gone);
    model = model.filter(({ maxTxid }) => maxTxid % 7 !== gone % 7 || maxTxid > gone);
    const from = pick(newest + 2);
    expect(index.readOrNull(0, from)).toEqual(model.filter(({ minTxid }) => minTxid >= from));
  }
  expect(index.readOrNull(0, 0)).toEqual(model);
});

test("ObjectIndex forgets a level with its file, and no other", () => {
  const { index, folder } = indexOf(upTo(40));
  index.replace(9, [objectOf(1)]);
  index.forget(0);
  expect([index.readOrNull(0, 0), index.readOrNull(9, 0)]).toEqual([null, [objectOf(1)]]);
  expect(readdirSync(folder)).toEqual([]);
});

const BAD_FILES: readonly (readonly [what: string, harm: (path: string) => void])[] = [
  ["is gone", (path) => rmSync(path)],
  ["is cut", (path) => truncateSync(path, 64)],
  ["is longer", (path) => writeFileSync(path, new Uint8Array(32), { flag: "a" })],
  ["holds other bytes", (path) => writeFileSync(path, new Uint8Array(statSync(path).size))],
];

test.each(BAD_FILES)("ObjectIndex does not know a level whose file %s", (_, harm) => {
  const { index, folder } = indexOf(upTo(40));
  harm(join(folder, readdirSync(folder)[0]!));
  expect(index.readOrNull(0, 0)).toBeNull();
  expect(index.readOrNull(0, 0)).toBeNull();
  index.replace(0, upTo(41));
  expect(index.readOrNull(0, 0)).toEqual(upTo(41));
});

// Regression: a record with one flipped bit named another object, another size or another time.
test("ObjectIndex does not know a level with any changed byte", () => {
  const { index, folder } = indexOf(upTo(20));
  const path = join(folder, readdirSync(folder)[0]!);
  const bytes = readFileSync(path);
  for (let offset = 0; offset < bytes.length; offset++) {
    index.replace(0, upTo(20));
    const harmed = Buffer.from(bytes);
    harmed[offset]! ^= 1 << (offset % 8);
    writeFileSync(join(folder, readdirSync(folder)[0]!), harmed);
    expect([offset, index.readOrNull(0, 0)]).toEqual([offset, null]);
  }
});

const STRANGERS: readonly (readonly [what: string, put: (path: string) => void])[] = [
  ["a link to a file like it", (path) => symlinkSync(`${path}.copy`, path)],
  ["a folder", (path) => mkdirSync(path)],
  ["a FIFO", (path) => void Bun.spawnSync(["mkfifo", path])],
];

test.each(STRANGERS)("ObjectIndex does not know a level in whose file's place is %s", (_, put) => {
  for (const use of ["read", "add", "remove"] as const) {
    const { index, folder } = indexOf(upTo(32));
    const path = join(folder, readdirSync(folder)[0]!);
    renameSync(path, `${path}.copy`);
    put(path);
    if (use === "remove") index.remove(0, ({ minTxid }) => minTxid === 3);
    if (use === "add") for (let txid = 33; txid <= 50; txid++) index.add(0, objectOf(txid));
    expect(index.readOrNull(0, 0)).toBeNull();
    index.replace(0, upTo(40));
    expect(index.readOrNull(0, 0)).toEqual(upTo(40));
  }
});

test("ObjectIndex does not know a level that cannot be written, and throws nothing", () => {
  const index = new ObjectIndex({ folder: join(tempFolder("index"), "missing") });
  index.replace(0, upTo(10));
  expect(index.readOrNull(0, 0)).toEqual(upTo(10));
  for (const object of upTo(40).slice(10)) index.add(0, object);
  expect(index.readOrNull(0, 0)).toBeNull();
  index.replace(0, upTo(40));
  expect(index.readOrNull(0, 0)).toBeNull();
});

test("the next attach sweeps the files of an ObjectIndex", () => {
  const { index, folder } = indexOf(upTo(40));
  sweepTemps(folder);
  expect(readdirSync(folder)).toEqual([]);
  expect(index.readOrNull(0, 0)).toBeNull();
});
