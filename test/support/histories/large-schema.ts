/** Databases with a schema of practically unlimited size, against readers that read the whole schema. */
import { readFileSync, writeFileSync } from "node:fs";

const HEADER_SIZE = 100;
const CELLS = 400;
/** Offset of the only cell of an interior page; all pointers of the page lead to this cell. */
const CELL_OFFSET = 4000;

/**
 * Rewrites a database so that its schema contains the same leaf 160,000 times. The database has pages of 4096
 * bytes and a small schema, and no connection has it open.
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
