/** A -wal with one valid frame: an unchanged page 1 whose commit field claims any size of the database. */
import { closeSync, openSync, readSync, writeFileSync } from "node:fs";

const PAGE = 4096;
const MAGIC = 0x377f0682;
const VERSION = 3_007_000;
const SALTS = [1, 2] as const;

/** Writes the WAL beside the database at `path`, which has pages of 4,096 bytes. */
export function writeClaimingWal(path: string, claimedPages: number): void {
  const page = new Uint8Array(PAGE);
  const fd = openSync(path, "r");
  readSync(fd, page, 0, PAGE, 0);
  closeSync(fd);
  const header = words([MAGIC, VERSION, PAGE, 0, ...SALTS]);
  let sums = checksum(header, [0, 0]);
  const head = words([1, claimedPages]);
  const headerWithSums = Buffer.concat([header, words(sums)]);
  sums = checksum(page, checksum(head, sums));
  writeFileSync(`${path}-wal`, Buffer.concat([headerWithSums, head, words([...SALTS, ...sums]), page]));
}

function words(values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4);
  const view = new DataView(bytes.buffer);
  for (const [index, value] of values.entries()) view.setUint32(index * 4, value);
  return bytes;
}

/** The WAL's running checksum over little-endian words. */
function checksum(bytes: Uint8Array, [first, second]: readonly number[]): [number, number] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let a = first ?? 0;
  let b = second ?? 0;
  for (let at = 0; at < bytes.length; at += 8) {
    a = (a + view.getUint32(at, true) + b) >>> 0;
    b = (b + view.getUint32(at + 4, true) + a) >>> 0;
  }
  return [a, b];
}
