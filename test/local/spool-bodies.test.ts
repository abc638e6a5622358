/** The LTX bytes of captured files in memory: as written, bounded, and forgotten with their file. */
import { expect, test } from "bun:test";
import { CHAIN_ZERO } from "../../src/format/chain.ts";
import type { Txid } from "../../src/format/types.ts";
import { removeSpoolFile, type SpoolFile, SpoolWriter } from "../../src/local/spool.ts";
import { bodyOrNull, takeBodyOrNull } from "../../src/local/spool-bodies.ts";
import { tempFolder } from "../support/temp.ts";

const FULL_SIZE = 64 << 10;

function written(folder: string, txid: number, bytes: Uint8Array): SpoolFile {
  const writer = new SpoolWriter(folder, 0, txid as Txid, txid as Txid);
  writer.write(bytes);
  return writer.finish({ previousChain: CHAIN_ZERO });
}

test("holdBody keeps the bytes of a written file until they are taken, whatever is written next", () => {
  const folder = tempFolder("bodies");
  const first = written(folder, 2, new Uint8Array(300).fill(1));
  const second = written(folder, 3, new Uint8Array(200).fill(2));
  expect(bodyOrNull(first)).toEqual(new Uint8Array(300).fill(1));
  expect(takeBodyOrNull(first)).toEqual(new Uint8Array(300).fill(1));
  expect(takeBodyOrNull(first)).toBeNull();
  expect(takeBodyOrNull(second)).toEqual(new Uint8Array(200).fill(2));
});

test("holdBody holds 4 MB: the oldest bytes give way", () => {
  const folder = tempFolder("bodies");
  const files: SpoolFile[] = [];
  for (let txid = 2; txid < 2 + 70; txid++) files.push(written(folder, txid, new Uint8Array(FULL_SIZE)));
  const held = files.map((file) => bodyOrNull(file) !== null);
  expect(held).toEqual(files.map((_, index) => index >= 70 - 64));
  for (const file of files) takeBodyOrNull(file);
});

test("holdBody holds nothing of a larger file, and nothing of a removed one", () => {
  const folder = tempFolder("bodies");
  const large = written(folder, 2, new Uint8Array(FULL_SIZE + 1));
  expect(bodyOrNull(large)).toBeNull();
  const small = written(folder, 3, new Uint8Array(100));
  removeSpoolFile(small);
  expect(bodyOrNull(small)).toBeNull();
});
